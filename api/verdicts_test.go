package api_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// flagged is a purchase whose capture took another amount than was asked for.
func (w *world) flagged(t testing.TB, method string) (purchase, string) {
	t.Helper()
	p := w.place(t, method, 1500, 1500, "capture.wrong_amount=1400:1")
	id := w.approve(t, p)
	w.run(t, models.Capture, id)
	w.get(t, "/api/captures/"+id).want(t, 200, map[string]any{"data.attributes.needs_attention": "amount_conflict"})
	return p, id
}

// verdictOf writes a verdict as an earlier version did: without mode, gateway
// and amount.
func (w *world) verdictOf(t testing.TB, verdict models.Verdict, operation, order string) string {
	t.Helper()
	id := store.NewID()
	w.sql(t, `ALTER TABLE verdicts DROP CONSTRAINT IF EXISTS verdicts_mode`)
	w.sql(t, fmt.Sprintf(`INSERT INTO verdicts (id, operation_id, kind, order_id, verdict, rule, action, outcome, actor)
		VALUES ('%s', NULLIF('%s', '')::uuid, CASE '%[2]s' WHEN '' THEN '' ELSE 'capture' END, NULLIF('%s', '')::uuid, '%s', 'planted', '', '', 'test')`, id, operation, order, verdict))
	return id
}

// finding writes a verdict about something that no order of ours explains.
func (w *world) finding(t testing.TB, mode models.Mode, slug, name string, cents int64) string {
	t.Helper()
	id := store.NewID()
	w.sql(t, fmt.Sprintf(`INSERT INTO verdicts (id, order_id, verdict, rule, action, outcome, actor, mode, payment_gateway_id, amount_cents, currency_code, finding)
		SELECT '%s', NULL, 'needs_attention', 'a capture without a row of ours', 'none', 'found', 'listing', '%s', id, %d, 'EUR', '%s' FROM payment_gateways WHERE slug = '%s'`, id, mode, cents, name, slug))
	return id
}

func (w *world) resolve(t testing.TB, token, id, trigger, meta string) reply {
	t.Helper()
	return w.send(t, token, "PATCH", "/api/verdicts/"+id, fmt.Sprintf(`{"data":{"type":"verdicts","id":%q,"attributes":{%q:true}},"meta":%s}`, id, trigger, meta))
}

// verdictIDs lists the ids of GET /api/verdicts under filters such as "status_eq=open".
func (w *world) verdictIDs(t testing.TB, token string, filters ...string) []string {
	t.Helper()
	values := url.Values{"page[size]": {"25"}, "sort": {"-created_at"}}
	for _, f := range filters {
		name, value, _ := strings.Cut(f, "=")
		values.Set("filter[q]["+name+"]", value)
	}
	r := w.send(t, token, "GET", "/api/verdicts?"+values.Encode(), "").want(t, 200, nil)
	ids := []string{}
	for i := 0; r.at(t, fmt.Sprintf("data.%d.id", i)) != nil; i++ {
		ids = append(ids, r.at(t, fmt.Sprintf("data.%d.id", i)).(string))
	}
	return ids
}

const why = `{"reason":"squared with the shop","by":"Jo Doe"}`

func TestVerdictsAreFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	method := w.method(t, "")
	p, conflicted := w.flagged(t, method)
	open := w.verdictIDs(t, reader, "status_eq=open")
	if len(open) != 1 {
		t.Fatalf("open: %v", open)
	}
	conflict := open[0]
	w.get(t, "/api/verdicts/"+conflict).want(t, 200, map[string]any{
		"data.attributes.verdict": "amount_conflict", "data.attributes.payment_gateway": "stripe", "data.attributes.amount_cents": 1500,
		"data.attributes.currency_code": "EUR", "data.attributes.formatted_amount": "€15,00", "data.attributes.status": "open", "data.attributes.resolution": nil,
		"data.attributes.needs_attention": "amount_conflict", "data.attributes.remedy": "acknowledge", "data.attributes.operation_id": conflicted, "data.attributes.order_id": p.order,
	})
	old := w.verdictOf(t, models.Forward, conflicted, p.order)
	found := w.finding(t, models.Test, "other", "other:ch_1:needs_attention", 900)
	elsewhere := w.finding(t, models.Live, "stripe-live", "stripe-live:ch_1:needs_attention", 900)
	w.get(t, "/api/verdicts/"+found).want(t, 200, map[string]any{
		"data.attributes.order_id": nil, "data.attributes.operation_id": nil, "data.attributes.payment_gateway": "other", "data.attributes.status": "open",
		"data.attributes.finding": "other:ch_1:needs_attention", "data.attributes.amount_cents": 900,
	})
	w.get(t, "/api/verdicts/"+old).want(t, 200, map[string]any{ // filled in from its operation
		"data.meta.mode": "test", "data.attributes.payment_gateway": "stripe", "data.attributes.amount_cents": 1500, "data.attributes.status": nil,
	})
	w.get(t, "/api/verdicts/"+elsewhere).want(t, 404, nil)
	hour := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	for filters, want := range map[string][]string{
		"":                                            {found, old, conflict},
		"status_eq=open":                              {found, conflict},
		"status_eq=applied":                           {},
		"verdict_eq=forward":                          {old},
		"verdict_in=forward,amount_conflict":          {old, conflict},
		"payment_gateway_eq=stripe":                   {old, conflict},
		"payment_gateway_eq=other":                    {found},
		"payment_gateway_eq=stripe-live":              {},
		"payment_gateway_eq=nowhere":                  {},
		"amount_cents_gteq=1500":                      {old, conflict},
		"amount_cents_lteq=900":                       {found},
		"amount_cents_gteq=901&amount_cents_lteq=999": {},
		"currency_code_eq=eur&verdict_eq=forward":     {old},
		"created_at_gt=" + hour:                       {},
		"created_at_lteq=" + hour:                     {found, old, conflict},
		"order_id_eq=" + p.order:                      {old, conflict},
		"operation_id_eq=" + conflicted:               {old, conflict},
		"operation_id_eq=x":                           {},
	} {
		var list []string
		if filters != "" {
			list = strings.Split(filters, "&")
		}
		if diff := cmp.Diff(want, w.verdictIDs(t, reader, list...)); diff != "" {
			t.Errorf("%q:\n%s", filters, diff)
		}
	}
	if got := w.verdictIDs(t, livery); !slices.Equal(got, []string{elsewhere}) {
		t.Errorf("of the other mode: %v", got)
	}
	for name, value := range map[string]string{
		"verdict_eq": "forwards", "verdict_in": "forward,x", "status_eq": "closed", "created_at_gt": "yesterday", "amount_cents_gteq": "1.5", "amount_eq": "1",
	} {
		w.get(t, "/api/verdicts?filter[q]["+name+"]="+value).want(t, 400, map[string]any{"errors.0.code": "FILTER_NOT_ALLOWED"})
	}
}

func TestVerdictsAreResolvedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	method := w.method(t, "")
	p, capture := w.flagged(t, method)
	conflict := w.verdictIDs(t, reader, "status_eq=open")[0]
	found := w.finding(t, models.Test, "stripe", "stripe:ch_9:needs_attention", 900)
	before := w.rows(t)
	for _, meta := range []string{`{}`, `{"reason":""}`, `{"reason":" \t"}`, `{"reason":5}`, `null`} {
		for _, trigger := range []string{"_apply", "_dismiss"} {
			w.resolve(t, operator, conflict, trigger, meta).want(t, 422, map[string]any{"errors.0.code": "VALIDATION_ERROR", "errors.0.source.pointer": "/meta/reason"})
		}
	}
	body := func(id, attributes string) string {
		return fmt.Sprintf(`{"data":{"type":"verdicts","id":%q,"attributes":%s},"meta":%s}`, id, attributes, why)
	}
	path := "/api/verdicts/" + conflict
	w.send(t, operator, "PATCH", path, body(conflict, `{"_apply":true,"_dismiss":true}`)).want(t, 422, map[string]any{"errors.0.source.pointer": "/data/attributes/_dismiss"})
	w.send(t, operator, "PATCH", path, body(conflict, `{"_apply":true,"amount":1}`)).want(t, 422, map[string]any{"errors.0.source.pointer": "/data/attributes/amount"})
	w.send(t, operator, "PATCH", path, body(conflict, `{"verdict":"in_sync"}`)).want(t, 422, map[string]any{"errors.0.meta.error": "read_only"})
	w.send(t, operator, "PATCH", path, body(conflict, `{"_apply":"yes"}`)).want(t, 422, map[string]any{"errors.0.source.pointer": "/data/attributes/_apply"})
	w.send(t, operator, "PATCH", path, body(found, `{"_apply":true}`)).want(t, 409, nil)
	w.send(t, operator, "PATCH", path, body(conflict, `{"_apply":false}`)).want(t, 200, map[string]any{"data.attributes.status": "open"})
	w.resolve(t, reader, conflict, "_apply", why).want(t, 401, nil)
	w.resolve(t, livery, conflict, "_apply", why).want(t, 404, nil)
	w.resolve(t, operator, store.NewID(), "_dismiss", why).want(t, 404, nil)
	w.resolve(t, operator, found, "_apply", why).want(t, 422, map[string]any{"errors.0.code": "NOTHING_TO_APPLY", "errors.0.source.pointer": "/data/attributes/_apply"})
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}

	w.resolve(t, operator, found, "_dismiss", why).want(t, 200, map[string]any{
		"data.attributes.status": "dismissed", "data.attributes.resolution.action": "dismissed", "data.attributes.resolution.actor": "api:operator (Jo Doe)",
		"data.attributes.resolution.reason": "squared with the shop", "data.attributes.remedy": nil,
	})
	w.resolve(t, operator, conflict, "_apply", why).want(t, 200, map[string]any{
		"data.attributes.status": "applied", "data.attributes.resolution.outcome": "acknowledged amount_conflict", "data.attributes.needs_attention": nil,
	})
	w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.needs_attention": nil, "data.attributes.state": "succeeded"})
	if history := string(w.get(t, "/api/captures/"+capture+"/events").body); !strings.Contains(history, "api:operator (Jo Doe)") || !strings.Contains(history, "squared with the shop") {
		t.Errorf("the history does not say who and why: %s", history)
	}
	for id, trigger := range map[string]string{found: "_apply", conflict: "_dismiss"} {
		w.resolve(t, operator, id, trigger, why).want(t, 422, map[string]any{"errors.0.code": "ALREADY_RESOLVED", "errors.0.source.pointer": "/data/attributes/" + trigger})
	}
	if got := w.verdictIDs(t, reader, "status_eq=open"); len(got) != 0 {
		t.Errorf("still open: %v", got)
	}
	if got := [2][]string{w.verdictIDs(t, reader, "status_eq=applied"), w.verdictIDs(t, reader, "status_eq=dismissed")}; !cmp.Equal(got, [2][]string{{conflict}, {found}}) {
		t.Errorf("resolved: %v", got)
	}
	w.sql(t, `UPDATE captures SET needs_attention = NULL`)
	settled := w.verdictOf(t, models.Fail, capture, p.order)
	w.resolve(t, operator, settled, "_apply", why).want(t, 422, map[string]any{"errors.0.code": "NOTHING_TO_APPLY"})
}

// Each verdict is applied by the action that a person has for it, under the
// same guards; a guard that says no leaves no resolution behind.
func TestVerdictsAreAppliedByTheirActions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	method := w.method(t, "")
	unresolved := func(id string) {
		t.Helper()
		w.get(t, "/api/verdicts/"+id).want(t, 200, map[string]any{"data.attributes.resolution": nil})
	}

	t.Run("forward", func(t *testing.T) {
		stuck := w.place(t, method, 1500, 1500, "charge_then_drop")
		capture := w.approve(t, stuck)
		w.run(t, models.Capture, capture)
		verdict := w.verdictOf(t, models.Forward, capture, stuck.order)
		w.resolve(t, operator, verdict, "_apply", why).want(t, 200, map[string]any{"data.attributes.status": "applied"})
		w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "succeeded"})
		// The process died after a forward and before its resolution.
		again := w.verdictOf(t, models.Forward, capture, stuck.order)
		w.resolve(t, operator, again, "_apply", why).want(t, 200, map[string]any{"data.attributes.resolution.outcome": "the capture was succeeded already"})
		if book := w.sandbox.BookOf(stuck.hold); len(book.Captures) != 1 {
			t.Errorf("the gateway booked %+v", book.Captures)
		}
	})
	t.Run("forward of what is not there", func(t *testing.T) {
		p := w.place(t, method, 1500, 1500, "")
		verdict := w.verdictOf(t, models.Forward, w.approve(t, p), p.order)
		w.resolve(t, operator, verdict, "_apply", why).want(t, 422, map[string]any{"errors.0.code": "NOT_FOUND_AT_GATEWAY", "errors.0.source.pointer": "/data/attributes/_apply"})
		unresolved(verdict)
	})
	t.Run("cancel", func(t *testing.T) {
		p := w.place(t, w.method(t, `,"capture_trigger":"authorization"`), 1500, 1500, "")
		capture, _ := w.get(t, "/api/orders/"+p.order+"/captures").at(t, "data.0.id").(string)
		w.run(t, models.Capture, capture)
		verdict := w.verdictOf(t, models.Cancel, capture, p.order)
		w.resolve(t, operator, verdict, "_apply", why).want(t, 422, map[string]any{"errors.0.code": "NO_MISMATCH"})
		unresolved(verdict)
		w.patch(t, "orders", p.order, `{"total_amount_cents":1200}`).want(t, 200, nil)
		var group sync.WaitGroup
		answers := make([]reply, 6)
		for i := range answers {
			group.Go(func() { answers[i] = w.resolve(t, operator, verdict, "_apply", why) })
		}
		group.Wait()
		won := 0
		for _, r := range answers {
			if r.status == 200 {
				won++
			} else {
				r.want(t, 422, map[string]any{"errors.0.code": "ALREADY_RESOLVED"})
			}
		}
		if won != 1 {
			t.Errorf("%d of %d applied it", won, len(answers))
		}
		w.get(t, "/api/captures/"+capture+"/refunds").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.attributes.cause": "cancel"})
	})
	t.Run("retry", func(t *testing.T) {
		p := w.place(t, method, 1500, 1500, "")
		capture := w.approve(t, p)
		w.sql(t, `UPDATE captures SET needs_attention = 'bad_request', tries = 12 WHERE id = '`+capture+`'`)
		verdict := w.verdictOf(t, models.NeedsAttention, capture, p.order)
		w.resolve(t, operator, verdict, "_apply", why).want(t, 200, map[string]any{"data.attributes.needs_attention": nil})
		w.run(t, models.Capture, capture)
		w.get(t, "/api/captures/"+capture).want(t, 200, map[string]any{"data.attributes.state": "succeeded"})
	})
	t.Run("a flag on what is still open", func(t *testing.T) {
		p := w.place(t, method, 1500, 1500, "")
		capture := w.approve(t, p)
		w.sql(t, `UPDATE captures SET needs_attention = 'duplicate' WHERE id = '`+capture+`'`)
		verdict := w.verdictOf(t, models.Duplicate, capture, p.order)
		w.resolve(t, operator, verdict, "_apply", why).want(t, 422, map[string]any{"errors.0.code": "STILL_OPEN"})
		unresolved(verdict)
		w.resolve(t, operator, verdict, "_dismiss", why).want(t, 200, nil)
	})
	t.Run("expiring", func(t *testing.T) {
		p := w.place(t, w.method(t, `,"capture_trigger":"manual"`), 1500, 1500, "")
		verdict := w.verdictOf(t, models.Expiring, "", p.order)
		w.resolve(t, operator, verdict, "_apply", why).want(t, 422, map[string]any{"errors.0.code": "ORDER_NOT_APPROVED"})
		unresolved(verdict)
		w.patch(t, "orders", p.order, `{"_approve":true}`).want(t, 200, nil)
		w.resolve(t, operator, verdict, "_apply", why).want(t, 200, nil)
		w.get(t, "/api/orders/"+p.order+"/captures").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.attributes.cause": "manual", "data.0.attributes.amount_cents": 1500})
		late := w.verdictOf(t, models.Expiring, "", p.order)
		w.resolve(t, operator, late, "_apply", why).want(t, 422, map[string]any{"errors.0.code": "NOTHING_LEFT"})
	})
}

// The discrepancy endpoint puts both books side by side and touches neither.
func TestDiscrepancies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	method := w.method(t, "")
	_, paid := w.captured(t, method)
	stuck := w.place(t, method, 1500, 1500, "charge_then_drop")
	lost := w.approve(t, stuck)
	w.run(t, models.Capture, lost)
	_, wrong := w.flagged(t, method)
	pending := w.approve(t, w.place(t, method, 700, 700, ""))
	_, gone := w.captured(t, method) // recorded here, and not booked there
	w.sql(t, `UPDATE authorizations SET gateway_transaction_id = '`+w.paymentIntent(t, 1500, "")+`' WHERE id = (SELECT authorization_id FROM captures WHERE id = '`+gone+`')`)
	w.sql(t, `UPDATE captures SET last_sent_at = last_sent_at - interval '1 hour', finished_at = finished_at - interval '1 hour', updated_at = updated_at - interval '1 hour' WHERE id = '`+gone+`'`)
	_, elsewhere := w.captured(t, method) // the gateway does not know its hold
	w.sql(t, `UPDATE authorizations SET gateway_transaction_id = 'pi_lost' WHERE id = (SELECT authorization_id FROM captures WHERE id = '`+elsewhere+`')`)

	ask := func(token string, ids ...string) reply {
		entries := make([]string, len(ids))
		for i, id := range ids {
			entries[i] = fmt.Sprintf(`{"type":"captures","id":%q}`, id)
		}
		return w.send(t, token, "POST", "/api/discrepancies", `{"data":[`+strings.Join(entries, ",")+`]}`)
	}
	before := w.rows(t)
	calls := len(w.sandbox.BookOf(stuck.hold).Captures)
	missing := store.NewID()
	ask(operator, paid, lost, wrong, pending, missing, "x", gone, elsewhere).want(t, 200, map[string]any{
		"data.0.id": paid, "data.0.type": "discrepancies", "data.0.attributes.ours.state": "succeeded", "data.0.attributes.theirs.outcome": "confirmed",
		"data.0.attributes.theirs.amount_cents": 1500, "data.0.attributes.theirs.currency_code": "EUR", "data.0.attributes.verdict": "in_sync", "data.0.errors": nil,
		"data.1.id": lost, "data.1.attributes.ours.state": "unknown", "data.1.attributes.theirs.outcome": "confirmed", "data.1.attributes.verdict": "forward",
		"data.2.id": wrong, "data.2.attributes.ours.amount_cents": 1500, "data.2.attributes.ours.confirmed_amount_cents": 1400, "data.2.attributes.theirs.amount_cents": 1400,
		"data.2.attributes.ours.needs_attention": "amount_conflict",
		"data.3.id":                              pending, "data.3.attributes.theirs.outcome": "none", "data.3.attributes.verdict": "retry",
		"data.4.id": missing, "data.4.errors.0.code": "RECORD_NOT_FOUND", "data.4.errors.0.source.pointer": "/data/4", "data.4.attributes": nil,
		"data.5.id": "x", "data.5.errors.0.code": "RECORD_NOT_FOUND",
		"data.6.id": gone, "data.6.attributes.ours.state": "succeeded", "data.6.attributes.theirs.outcome": "none", "data.6.attributes.verdict": "needs_attention",
		"data.7.id": elsewhere, "data.7.attributes.verdict": nil, "data.7.errors.0.code": "NO_ANSWER", "meta.not_compared": 3,
	})
	ask(livery, paid).want(t, 200, map[string]any{"data.0.errors.0.code": "RECORD_NOT_FOUND", "data.0.attributes": nil})
	ask(reader, paid).want(t, 401, nil)
	ask(operator).want(t, 422, map[string]any{"errors.0.source.pointer": "/data"})
	ask(operator, slices.Repeat([]string{paid}, 101)...).want(t, 422, map[string]any{"errors.0.source.pointer": "/data"})
	for body, pointer := range map[string]string{
		`{"data":[{"type":"orders","id":"x"}]}`:                                  "/data/0/type",
		`{"data":[{"type":"captures"}]}`:                                         "/data/0/id",
		`{"data":[{"type":"captures","id":"x","attributes":{"_forward":true}}]}`: "/data/0/attributes/_forward",
		`{"data":{"type":"captures","id":"x"}}`:                                  "/data",
		`{"data":[{"type":"captures","id":"x"},7]}`:                              "/data/1",
	} {
		if got := w.send(t, operator, "POST", "/api/discrepancies", body).at(t, "errors.0.source.pointer"); got != pointer {
			t.Errorf("%s: pointer %v, want %s", body, got, pointer)
		}
	}
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
	if now := len(w.sandbox.BookOf(stuck.hold).Captures); now != calls {
		t.Errorf("%d captures at the gateway, %d before", now, calls)
	}
	w.send(t, operator, "GET", "/api/discrepancies", "").want(t, 405, nil)
}

// The report says what is open, what is wrong, what was done and what needs a
// person, and nothing of the other mode.
func TestReport(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send(t, livery, "GET", "/api/report", "").want(t, 200, map[string]any{
		"data.type": "reports", "data.id": "now", "meta.mode": "live", "data.attributes.open": []any{}, "data.attributes.needs_person.count": 0,
		"data.attributes.runs.sweep": nil, "data.attributes.runs.sweep_is_late": true, "data.attributes.gateways.0.slug": "stripe-live",
	})
	method := w.method(t, "")
	w.captured(t, method)
	first, conflicted := w.flagged(t, method)
	_, dismissed := w.flagged(t, method)
	w.resolve(t, operator, w.verdictIDs(t, reader, "operation_id_eq="+dismissed)[0], "_dismiss", why).want(t, 200, nil)
	stuck := w.place(t, method, 700, 700, "charge_then_drop")
	w.run(t, models.Capture, w.approve(t, stuck))
	forwarded := w.place(t, method, 800, 800, "charge_then_drop")
	capture := w.approve(t, forwarded)
	w.run(t, models.Capture, capture)
	w.patch(t, "captures", capture, `{"_forward":true}`).want(t, 200, nil)
	found := w.finding(t, models.Test, "other", "other:ch_1:needs_attention", 900)
	w.finding(t, models.Live, "stripe-live", "stripe-live:ch_1:needs_attention", 901)
	soon := w.place(t, method, 600, 600, "")
	warning := w.verdictOf(t, models.Expiring, "", soon.order)
	w.sql(t, `INSERT INTO order_checks (order_id, due_at, deadline) VALUES ('`+soon.order+`', now() + interval '1 hour', now() + interval '20 hours')
		ON CONFLICT (order_id) DO UPDATE SET deadline = excluded.deadline`)
	w.sql(t, `INSERT INTO reconciliations (id, source, started_at, finished_at, counts) VALUES (gen_random_uuid(), 'schedule', now() - interval '2 seconds', now(), '{"republish":1}')`)
	w.sql(t, `INSERT INTO audits (id, scope, started_at, finished_at, broken, results) VALUES
		(gen_random_uuid(), 'full', now() - interval '2 days', now() - interval '2 days', 9, '[{"id":"I1","rule":"x","checked":1,"broken":["gone"],"broken_count":9}]'),
		(gen_random_uuid(), 'full', now() - interval '1 hour', now() - interval '1 hour', 1,
		 '[{"id":"I13","rule":"sums fold","checked":3,"broken":["a","b"],"broken_count":2},{"id":"I14","rule":"x","checked":3,"broken":[],"broken_count":0}]')`)
	w.sql(t, `UPDATE payment_gateways SET paused_at = now(), paused_reason = 'credentials refused' WHERE slug = 'other'`)
	before := w.rows(t)
	r := w.get(t, "/api/report").want(t, 200, map[string]any{
		"meta.mode":                              "test",
		"data.attributes.open.0.payment_gateway": "stripe", "data.attributes.open.0.kind": "capture", "data.attributes.open.0.state": "unknown",
		"data.attributes.open.0.count": 1, "data.attributes.open.0.amounts.0.formatted_amount": "€7,00", "data.attributes.open.1": nil,
		"data.attributes.wrong.flags.0.reason": "amount_conflict", "data.attributes.wrong.flags.0.count": 2, "data.attributes.wrong.flags.0.amounts.0.amount_cents": 3000,
		"data.attributes.wrong.flags.0.first.0.id": conflicted, "data.attributes.wrong.flags.0.first.0.link": w.url + "/api/captures/" + conflicted,
		"data.attributes.wrong.findings.0.payment_gateway": "other", "data.attributes.wrong.findings.0.first.0.id": found, "data.attributes.wrong.findings.1": nil,
		"data.attributes.wrong.invariants.0.id": "I13", "data.attributes.wrong.invariants.0.count": 2, "data.attributes.wrong.invariants.0.scope": "full", "data.attributes.wrong.invariants.1": nil,
		"data.attributes.done.dismissed": 1, "data.attributes.done.applied": 0,
		"data.attributes.needs_person.count":      3,
		"data.attributes.needs_person.first.0.id": warning, "data.attributes.needs_person.first.0.type": "verdicts", "data.attributes.needs_person.first.0.reason": "expiring",
		"data.attributes.needs_person.first.0.order_id": soon.order, "data.attributes.needs_person.first.0.next_actions.0": "capture",
		"data.attributes.needs_person.first.1.id": found,
		"data.attributes.needs_person.first.2.id": conflicted, "data.attributes.needs_person.first.2.order_id": first.order, "data.attributes.needs_person.first.2.reason": "amount_conflict",
		"data.attributes.needs_person.first.2.formatted_amount": "€15,00", "data.attributes.needs_person.first.2.verdict_ids.0": w.verdictIDs(t, reader, "operation_id_eq="+conflicted)[0],
		"data.attributes.gateways.0.slug": "other", "data.attributes.gateways.0.paused_reason": "credentials refused", "data.attributes.gateways.1.slug": "stripe", "data.attributes.gateways.2": nil,
		"data.attributes.runs.sweep_is_late": false, "data.attributes.runs.sweep.counts.republish": 1, "data.attributes.runs.audits.0.broken": 1,
	})
	if body := string(r.body); !strings.Contains(body, `{"kind":"capture","verdict":"forward","count":1,"operations":1,"amounts":[{"currency_code":"EUR","amount_cents":800,`) || strings.Contains(body, `"amount_cents":901,`) {
		t.Errorf("what was done: %s", r.body)
	}
	if diff := cmp.Diff(before, w.rows(t)); diff != "" {
		t.Errorf("something was written:\n%s", diff)
	}
	w.get(t, "/api/report?include=x").want(t, 400, nil)
	w.get(t, "/api/report?page[size]=3").want(t, 400, nil)
}
