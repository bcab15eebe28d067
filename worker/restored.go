package worker

import (
	"context"
	"errors"
	"time"

	"github.com/capstan-pay/capstan/store"
)

// lookFirstFor is how long everything is looked up first after a restore: as
// long as a gateway may still answer for a key of the time that was lost, and
// a sweep more.
const lookFirstFor = 25 * time.Hour

// noticeRestore begins the look-first mode when this database was restored, or
// a standby promoted, since it was looked at last. It comes before the first
// claim of a process, and again with each sweep: a database may be replaced
// under a running worker.
func (s *Server) noticeRestore(ctx context.Context) error {
	r := s.c.Runner
	found, err := r.store.NoticeRestore(ctx, r.tempo.Of(lookFirstFor), r.name)
	switch {
	case errors.Is(err, store.ErrOriginHidden):
		s.hidden.Do(func() {
			s.c.Log.WarnContext(ctx, "a restored database cannot be noticed here; after a restore run: capstan reconcile --look-first", "error", err)
		})
		return nil
	case err != nil:
		return err
	case found == nil:
		return nil
	}
	for _, g := range found.Accounts {
		s.c.Log.WarnContext(ctx, "this database was restored, or its standby was promoted: whatever it believes was never sent is looked up first. "+
			"After an ordinary failover nothing is lost by that but one call for each capture; end it with: capstan reconcile --look-first-off",
			"gateway", g.Slug, "until", g.LookFirstUntil, "before", found.Before.String(), "now", found.Now.String())
	}
	return nil
}
