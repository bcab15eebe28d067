package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Options says what to start and where. The zero value starts Postgres and Redis
// in a temporary directory.
type Options struct {
	// Dir is the data directory; it is made if needed and keeps its data from one
	// stack to the next. Empty: a temporary directory, removed by Stop.
	Dir string
	// Ephemeral puts the data into a fresh directory below Dir, removed by Stop.
	// Data that Dir holds already is neither used nor touched.
	Ephemeral bool

	// DatabaseURL and RedisURL, if set, are used as given and not tried; that
	// server is then not started, and StopPostgres, StopRedis, … refuse.
	DatabaseURL string
	RedisURL    string

	// NoPostgres and NoRedis leave that server out.
	NoPostgres bool
	NoRedis    bool

	// AllowInProcessRedis permits an imitation of Redis inside this process where
	// no Redis is installed. It keeps nothing and is slower. Never for tests.
	AllowInProcessRedis bool

	// PGBin is the directory to look for Postgres' binaries in first; empty is
	// $PG_BIN.
	PGBin string
	// Search replaces how binaries are found, for tests.
	Search Search

	Log *slog.Logger // nil = silent
}

// Stack is a running pair of servers. Its methods may be called from several
// goroutines; one start or stop runs at a time.
type Stack struct {
	// DatabaseURL and RedisURL stay the same when a server is stopped and started.
	DatabaseURL string
	RedisURL    string
	// PostgresFrom and RedisFrom say in words where each server came from.
	PostgresFrom string
	RedisFrom    string
	// Dir is where the data is; it may differ from Options.Dir, see Start.
	Dir string

	log    *slog.Logger
	failed chan error

	mu       sync.Mutex
	account  account
	lock     *os.File
	remove   bool // Dir goes with Stop
	postgres *server
	binaries postgresBinaries // of postgres
	redis    *server
	inProc   *inProcessRedis
	stopped  bool
}

var errStopped = errors.New("the stack was stopped")

// Start starts what o asks for and returns when both servers answer. ctx bounds
// the start only. After an error nothing is left running.
//
// When the caller is root, the servers run as the user postgres or nobody. A data
// directory which that user cannot reach (below /root, say) is then replaced by
// one under the temporary directory, always the same one for the same Dir, and
// the log says so.
//
// Errors wrap ErrNotInstalled (with the line that installs what is missing) or
// ErrInUse (another process has its stack in Dir) where one of them is the cause.
func Start(ctx context.Context, o Options) (*Stack, error) {
	if o.PGBin != "" {
		o.Search.Getenv = func(string) string { return o.PGBin }
	}
	s := &Stack{log: o.Log, failed: make(chan error, 2)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	wantPostgres := !o.NoPostgres && o.DatabaseURL == ""
	wantRedis := !o.NoRedis && o.RedisURL == ""
	if o.DatabaseURL != "" {
		s.DatabaseURL, s.PostgresFrom = o.DatabaseURL, "DATABASE_URL"
	}
	if o.RedisURL != "" {
		s.RedisURL, s.RedisFrom = o.RedisURL, "REDIS_URL"
	}
	if !wantPostgres && !wantRedis {
		return s, nil
	}
	if err := s.start(ctx, o, wantPostgres, wantRedis); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context, o Options, wantPostgres, wantRedis bool) error {
	var err error
	if s.account, err = serverAccount(); err != nil {
		return err
	}
	found, err := find(ctx, o, s.account, wantPostgres, wantRedis)
	if err != nil {
		return err
	}
	if err := s.takeDir(ctx, o); err != nil {
		return err
	}
	if wantPostgres {
		bin, err := matchCluster(ctx, o, s.Dir, s.account, found.postgres)
		if err != nil {
			return err
		}
		found.postgres = bin
	}

	g, gctx := errgroup.WithContext(ctx)
	if wantPostgres {
		g.Go(func() error { return s.firstPostgres(gctx, found.postgres) })
	}
	if wantRedis {
		g.Go(func() error { return s.firstRedis(gctx, found.redis) })
	}
	return g.Wait()
}

// binaries is what find found; an empty redis path means in process.
type binaries struct {
	postgres postgresBinaries
	redis    redisBinary
}

// find looks for everything before anything is started, so that one message can
// name all that is missing.
func find(ctx context.Context, o Options, acc account, wantPostgres, wantRedis bool) (binaries, error) {
	var found binaries
	var errPostgres, errRedis error
	if !canStart {
		errPostgres, errRedis = ErrNotInstalled, ErrNotInstalled
	}
	if wantPostgres && canStart {
		found.postgres, errPostgres = o.Search.postgres(ctx, acc, 0)
	}
	if wantRedis && canStart {
		found.redis, errRedis = o.Search.redis(ctx, acc)
	}
	if !wantPostgres {
		errPostgres = nil
	}
	if !wantRedis || (o.AllowInProcessRedis && errors.Is(errRedis, ErrNotInstalled)) {
		errRedis = nil
	}
	err := errors.Join(errPostgres, errRedis)
	if err == nil || ctx.Err() != nil {
		return found, err
	}
	if !canStart {
		return found, fmt.Errorf("start Postgres and Redis on this platform: %w; give running ones with DATABASE_URL and REDIS_URL", err)
	}
	return found, fmt.Errorf("%w\nRun this line, or give running servers with DATABASE_URL and REDIS_URL:\n    %s", err, o.Search.InstallLine())
}

// Failed delivers an error when a server ended that nobody stopped.
func (s *Stack) Failed() <-chan error { return s.failed }

// Stop stops what was started, Redis and Postgres at once, and removes the
// temporary data. A server that has not ended when ctx does is killed, and the
// error says so. The second call does nothing.
func (s *Stack) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true

	fast, term := sigFast, sigTerm
	if s.remove {
		// Nobody will read these files again: skip the last checkpoint.
		fast, term = sigImmediate, sigKill
	}
	var g errgroup.Group
	if s.redis != nil {
		g.Go(func() error { return s.redis.stop(ctx, term) })
	}
	if s.inProc != nil {
		s.inProc.stop()
	}
	var errPostgres error
	if s.postgres != nil {
		errPostgres = s.postgres.stop(ctx, fast)
	}
	return errors.Join(errPostgres, g.Wait(), s.leaveDir())
}

// StopMode is how Postgres is stopped.
type StopMode string

// The two ways that matter to a fault test.
const (
	// Fast rolls open transactions back and writes a checkpoint.
	Fast StopMode = "fast"
	// Immediate ends every process at once, as a crash does: the next start
	// recovers from the write-ahead log, and every acknowledged commit is there.
	Immediate StopMode = "immediate"
)

// StopPostgres stops Postgres; its data and its address stay.
func (s *Stack) StopPostgres(ctx context.Context, mode StopMode) error {
	signal := sigFast
	if mode == Immediate {
		signal = sigImmediate
	}
	return s.with("Postgres", func() *server { return s.postgres }, func(p *server) error { return p.stop(ctx, signal) })
}

// StartPostgres starts Postgres again after StopPostgres, at the same address.
func (s *Stack) StartPostgres(ctx context.Context) error {
	return s.with("Postgres", func() *server { return s.postgres }, func(p *server) error { return p.start(ctx) })
}

// StopRedis stops Redis. With lose, it is killed and its files are removed: the
// next StartRedis begins with an empty Redis. Without, everything it has
// acknowledged is written out first. The address stays.
func (s *Stack) StopRedis(ctx context.Context, lose bool) error {
	return s.with("Redis", func() *server { return s.redis }, func(r *server) error {
		if !lose {
			return r.stop(ctx, sigTerm)
		}
		if err := r.stop(ctx, sigKill); err != nil {
			return err
		}
		return emptyRedisDir(s.Dir)
	})
}

// StartRedis starts Redis again after StopRedis, at the same address.
func (s *Stack) StartRedis(ctx context.Context) error {
	return s.with("Redis", func() *server { return s.redis }, func(r *server) error { return r.start(ctx) })
}

// PauseRedis makes Redis hang: connections stay open and nothing is answered,
// until ResumeRedis. Stop works on a paused Redis too.
func (s *Stack) PauseRedis() error {
	return s.with("Redis", func() *server { return s.redis }, func(r *server) error { return r.signal(sigPause) })
}

// ResumeRedis ends PauseRedis.
func (s *Stack) ResumeRedis() error {
	return s.with("Redis", func() *server { return s.redis }, func(r *server) error { return r.signal(sigResume) })
}

func (s *Stack) with(name string, pick func() *server, do func(*server) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errStopped
	}
	srv := pick()
	if srv == nil {
		return fmt.Errorf("%s is not a child of this stack", name)
	}
	return do(srv)
}
