package api_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// sql runs a statement behind the API's back.
func (w *world) execute(t testing.TB, statement string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

// number reads one number behind the API's back.
func (w *world) number(t testing.TB, query string, args ...any) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// crash is what a process leaves that died after its effect and before its answer
// was kept: the row has no answer, and its lease is over.
func (w *world) crash(t testing.TB, key string) {
	t.Helper()
	w.execute(t, `UPDATE api_requests SET finished_at = NULL, status = NULL, headers = NULL, body = NULL, lease_until = now() - interval '1 s' WHERE key = $1`, key)
}

func refund(cents int) string {
	return fmt.Sprintf(`{"_refund":true,"_refund_amount_cents":%d}`, cents)
}

// TestSameKeyAtOnce: fifty times the same refund of a part, at once. There is one
// refund, and everyone who was answered was told of it.
func TestSameKeyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, capture := w.captured(t, w.method(t, ""))
	path, body := "/api/captures/"+capture, patchBody("captures", capture, refund(100))
	ask := func() reply {
		return w.send(t, operator, http.MethodPatch, path, body, "Idempotency-Key", "one refund")
	}

	replies := make([]reply, 50)
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() { replies[i] = ask() })
	}
	all.Wait()
	first, told := 0, map[string]int{}
	for _, r := range replies {
		switch {
		case r.status == http.StatusConflict:
			r.want(t, http.StatusConflict, map[string]any{"errors.0.code": "IDEMPOTENCY_KEY_IN_USE"})
			if r.header.Get("Retry-After") == "" {
				t.Error("409 without Retry-After")
			}
		default:
			r.want(t, http.StatusOK, nil)
			told[string(r.body)]++
			if r.header.Get("Idempotency-Replayed") == "" {
				first++
			}
		}
	}
	if first != 1 || len(told) != 1 {
		t.Errorf("%d first answers and %d different ones, want 1 of each", first, len(told))
	}
	if r := ask().want(t, http.StatusOK, nil); r.header.Get("Idempotency-Replayed") != "true" || told[string(r.body)] == 0 {
		t.Errorf("afterwards: %v, %s", r.header, r.body)
	}
	w.get(t, "/api/captures/"+capture+"/refunds").want(t, http.StatusOK, map[string]any{"meta.record_count": 1, "data.0.attributes.amount_cents": 100})
}

// TestCrashBeforeTheAnswer: the effect was committed, the answer was not kept. The
// request runs again, makes nothing a second time, and is answered rightly.
func TestCrashBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	method := w.method(t, "")
	p, capture := w.captured(t, method)
	byHand := w.place(t, w.method(t, `,"capture_trigger":"manual"`), 3000, 1500, "") // a second run would find the other hold
	w.post(t, "authorizations", fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q}`, w.paymentIntent(t, 1500, "")), to("order", "orders", byHand.order)).want(t, http.StatusCreated, nil)
	waiting := w.place(t, method, 1500, 1500, "")
	released := w.place(t, method, 1500, 1500, "")
	part := w.place(t, w.method(t, `,"capture_trigger":"manual"`), 1500, 1500, "")
	for _, one := range []struct {
		name, method, path, body string
		status                   int
		count                    string
	}{
		{"a part is refunded", "PATCH", "/api/captures/" + capture, patchBody("captures", capture, refund(100)), 200, `SELECT count(*) FROM refunds`},
		{"another part is refunded", "PATCH", "/api/captures/" + capture, patchBody("captures", capture, refund(100)), 200, `SELECT count(*) FROM refunds`},
		{"the rest is refunded", "PATCH", "/api/captures/" + capture, patchBody("captures", capture, `{"_refund":true}`), 200, `SELECT count(*) FROM refunds`},
		{"an order is made", "POST", "/api/orders", `{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":5},"relationships":` + to("payment_method", "payment_methods", method) + `}}`, 201, `SELECT count(*) FROM orders`},
		{"a method is made", "POST", "/api/payment_methods", `{"data":{"type":"payment_methods","attributes":{"name":"Card","payment_source_type":"stripe_payments","currency_code":"EUR"}}}`, 201, `SELECT count(*) FROM payment_methods`},
		{"an order is approved", "PATCH", "/api/orders/" + waiting.order, patchBody("orders", waiting.order, `{"_approve":true}`), 200, `SELECT count(*) FROM captures`},
		{"a hold is voided", "PATCH", "/api/authorizations/" + released.authorization, patchBody("authorizations", released.authorization, `{"_void":true}`), 200, `SELECT count(*) FROM voids`},
		{"a capture by hand", "POST", "/api/captures", `{"data":{"type":"captures","relationships":` + to("order", "orders", byHand.order) + `}}`, 201, `SELECT count(*) FROM captures`},
		{"a part is captured", "PATCH", "/api/authorizations/" + part.authorization, patchBody("authorizations", part.authorization, `{"_capture":true,"_capture_amount_cents":500}`), 200, `SELECT count(*) FROM captures`},
		{"a reference is written", "PATCH", "/api/orders/" + p.order, patchBody("orders", p.order, `{"reference":"r"}`), 200, `SELECT count(*) FROM orders`},
	} {
		before := w.number(t, one.count)
		ask := func() reply { return w.send(t, admin, one.method, one.path, one.body, "Idempotency-Key", one.name) }
		first := ask().want(t, one.status, nil)
		made := w.number(t, one.count)
		if made > before+1 {
			t.Errorf("%s: %d rows more", one.name, made-before)
		}
		w.crash(t, one.name)
		second := ask()
		if second.status != one.status || second.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: the second answer is %d, %v: %s", one.name, second.status, second.header, second.body)
			continue
		}
		if a, b := first.id(t), second.id(t); a != b {
			t.Errorf("%s: first about %s, then about %s", one.name, a, b)
		}
		if again := w.number(t, one.count); again != made {
			t.Errorf("%s: %d rows after the second run, %d after the first", one.name, again, made)
		}
		third := ask().want(t, one.status, nil)
		if diff := cmp.Diff(string(second.body), string(third.body)); diff != "" || third.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("%s: the kept answer differs: %s", one.name, diff)
		}
	}
}

// TestTwoRunsAtOnce: a run that was thought dead still works while the request runs
// again. Both make the same refund.
func TestTwoRunsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, capture := w.captured(t, w.method(t, ""))
	const runs = 8
	made := make([]string, runs)
	var all sync.WaitGroup
	for i := range runs {
		all.Go(func() {
			ctx := store.WithRequest(t.Context(), store.Request{ID: "0190a000-0000-7000-8000-000000000001", Tries: i + 1})
			p, err := w.enqueuer.Do(ctx, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
				return w.enqueuer.Refund(ctx, tx, models.Test, capture, 100, "test")
			})
			if err != nil {
				t.Error(err)
				return
			}
			made[i] = p.Operations[0].ID
		})
	}
	all.Wait()
	slices.Sort(made)
	if ids := slices.Compact(made); len(ids) != 1 || w.number(t, `SELECT count(*) FROM refunds`) != 1 {
		t.Errorf("%d runs made %v", runs, ids)
	}
}

// TestAnotherRunChoosesAnother: what a request takes is chosen by what is left, which
// its first run changed. A second run gets what the first one made; one run makes
// as many as it asks for.
func TestAnotherRunChoosesAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.place(t, w.method(t, `,"capture_trigger":"manual"`), 3000, 1500, "")
	other := w.post(t, "authorizations", fmt.Sprintf(`{"amount_cents":1500,"gateway_transaction_id":%q}`, w.paymentIntent(t, 1500, "")), to("order", "orders", p.order)).
		want(t, http.StatusCreated, nil).id(t)
	capture := func(run int, hold string) string {
		t.Helper()
		ctx := store.WithRequest(t.Context(), store.Request{ID: "0190a000-0000-7000-8000-000000000002", Tries: run})
		p, err := w.enqueuer.Do(ctx, func(ctx context.Context, tx store.Tx) (enqueuer.Published, error) {
			return w.enqueuer.Capture(ctx, tx, models.Test, hold, 0, "test", models.Labels{})
		})
		if err != nil {
			t.Fatal(err)
		}
		return p.Operations[0].ID
	}
	first := capture(2, p.authorization)
	if again, late := capture(3, other), capture(1, other); again != first || late != first {
		t.Errorf("first %s, then %s and %s", first, again, late)
	}
	if second := capture(2, other); second == first || w.number(t, `SELECT count(*) FROM captures`) != 2 {
		t.Errorf("the same run made %s and %s", first, second)
	}
}

// TestKeys: what a key is, whose it is, and what it is compared with.
func TestKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	method := w.method(t, "")
	order := func(cents int) string {
		return fmt.Sprintf(`{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":%d},"relationships":%s}}`, cents, to("payment_method", "payment_methods", method))
	}
	post := func(token, path, body string, headers ...string) reply {
		return w.send(t, token, http.MethodPost, path, body, append([]string{"Idempotency-Key", "k"}, headers...)...)
	}
	first := post(admin, "/api/orders", order(5)).want(t, http.StatusCreated, nil)
	replayed := post(admin, "/api/orders", order(5)).want(t, http.StatusCreated, nil)
	if first.id(t) != replayed.id(t) || replayed.header.Get("Idempotency-Replayed") != "true" || replayed.header.Get("Content-Type") != first.header.Get("Content-Type") ||
		replayed.header.Get("Location") != first.header.Get("Location") || replayed.header.Get("X-Request-Id") == first.header.Get("X-Request-Id") {
		t.Errorf("first %v, then %v", first.header, replayed.header)
	}
	for name, other := range map[string]reply{
		"body":       post(admin, "/api/orders", order(6)),
		"path":       post(admin, "/api/captures", order(5)),
		"query":      post(admin, "/api/orders?include=captures", order(5)),
		"media type": post(admin, "/api/orders", order(5), "Content-Type", "application/json"),
		"method":     w.send(t, admin, http.MethodPatch, "/api/orders/"+first.id(t), order(5), "Idempotency-Key", "k"),
	} {
		if other.status != http.StatusUnprocessableEntity || other.at(t, "errors.0.code") != "IDEMPOTENCY_KEY_REUSED" || other.at(t, "errors.0.source.header") != "Idempotency-Key" {
			t.Errorf("another %s: %d %s", name, other.status, other.body)
		}
	}
	if other := post(operator, "/api/orders", order(5)); other.header.Get("Idempotency-Replayed") != "" {
		t.Errorf("another caller's answer was given: %d %s", other.status, other.body)
	}
	post(livery, "/api/orders", order(5)).want(t, http.StatusNotFound, nil) // the method is of the other mode
	for name, key := range map[string]string{"long": strings.Repeat("k", 256), "empty": " ", "not ASCII": "ü"} {
		if r := post(admin, "/api/orders", order(5), "Idempotency-Key", key); name != "empty" {
			r.want(t, http.StatusBadRequest, map[string]any{"errors.0.code": "IDEMPOTENCY_KEY"})
		}
	}
	post(admin, "/api/orders", order(7), "Idempotency-Key", strings.Repeat("k", 255)).want(t, http.StatusCreated, nil)

	// A refusal of the request itself is kept; one of the moment is not.
	post(admin, "/api/orders", order(-1), "Idempotency-Key", "bad").want(t, http.StatusUnprocessableEntity, nil)
	if r := post(admin, "/api/orders", order(-1), "Idempotency-Key", "bad").want(t, http.StatusUnprocessableEntity, nil); r.header.Get("Idempotency-Replayed") != "true" {
		t.Error("a refusal was not kept")
	}

	// In progress, until its lease is over.
	w.sql(t, `UPDATE api_requests SET finished_at = NULL, status = NULL, lease_until = now() + interval '1 hour' WHERE key = 'k' AND caller = 'static:admin'`)
	if r := post(admin, "/api/orders", order(5)).want(t, http.StatusConflict, map[string]any{"errors.0.code": "IDEMPOTENCY_KEY_IN_USE"}); r.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}

	// After a day the key is free, and another's.
	w.sql(t, `UPDATE api_requests SET expires_at = now() - interval '1 s', lease_until = now() - interval '1 s' WHERE key = 'k'`)
	if n, err := w.store.PruneRequests(t.Context(), true); err != nil || n < 1 {
		t.Errorf("dry run: %d, %v", n, err)
	}
	fresh := post(admin, "/api/orders", order(9)).want(t, http.StatusCreated, nil)
	if fresh.id(t) == first.id(t) {
		t.Error("the old order was answered under a key that is over")
	}
	w.sql(t, `UPDATE api_requests SET expires_at = now() - interval '1 s', lease_until = now() - interval '1 s'`)
	w.sql(t, `UPDATE api_effects SET created_at = now() - interval '2 h'`)
	if n, err := w.store.PruneRequests(t.Context(), false); err != nil || n < 3 || w.number(t, `SELECT (SELECT count(*) FROM api_requests) + (SELECT count(*) FROM api_effects)`) != 0 {
		t.Errorf("removed %d, %v", n, err)
	}
}

// TestFailuresAreNotKept: what failed on our side is tried anew under its key.
func TestFailuresAreNotKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	method := w.method(t, "")
	post := func() reply {
		return w.send(t, admin, http.MethodPost, "/api/orders", `{"data":{"type":"orders","attributes":{"currency_code":"EUR","total_amount_cents":5},"relationships":`+to("payment_method", "payment_methods", method)+`}}`,
			"Idempotency-Key", "k")
	}
	w.sql(t, `ALTER TABLE orders RENAME TO away`)
	if r := post(); r.status < 500 {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	w.sql(t, `ALTER TABLE away RENAME TO orders`)
	if r := post().want(t, http.StatusCreated, nil); r.header.Get("Idempotency-Replayed") != "" {
		t.Error("a failure was kept")
	}
}
