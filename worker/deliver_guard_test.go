package worker_test

import (
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/worker"
)

// TestWebhookStaysOutside: unless somebody said otherwise a webhook is sent to no
// address that is not public, whatever its URL looks like.
func TestWebhookStaysOutside(t *testing.T) {
	t.Parallel()
	r := &receiver{}
	w := listening(t, r)
	p := w.order(t, "")
	w.runs(t, w.runner(t, staff{}), p, "the capture succeeds", func(o models.Operation) bool { return o.State == models.Succeeded })
	var id, there string
	if err := w.db.QueryRow(`SELECT d.id, h.callback_url FROM deliveries AS d JOIN webhooks AS h ON h.id = d.webhook_id`).Scan(&id, &there); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{there, strings.Replace(there, "http:", "https:", 1), "https://localhost/", "https://169.254.169.254/latest/meta-data/", "https://[::1]/", "file:///etc/passwd"} {
		w.exec(t, `UPDATE webhooks SET callback_url = $1`, url)
		w.exec(t, `UPDATE deliveries SET due_at = now() - interval '1 second', last_error = ''`)
		_ = worker.NewDeliverer(w.store, secret(rawSecret), time.Now).Deliver(t.Context(), id) // its error is when to come again
		if n := w.count(t, `SELECT count(*) FROM deliveries WHERE last_error LIKE '%this address is not called%' AND delivered_at IS NULL`); n != 1 {
			t.Errorf("%s: it was not refused", url)
		}
	}
	if n := len(r.letters()); n != 0 {
		t.Errorf("%d letters came", n)
	}
	w.exec(t, `UPDATE webhooks SET callback_url = $1`, there)
	w.exec(t, `UPDATE deliveries SET due_at = now() - interval '1 second'`)
	if err := worker.NewDeliverer(w.store, secret(rawSecret), time.Now).Anywhere().Deliver(t.Context(), id); err != nil || len(r.letters()) != 1 {
		t.Errorf("where it may go anywhere: %v, %d letters", err, len(r.letters()))
	}
}
