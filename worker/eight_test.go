package worker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// The ways in which a capture gets stuck, and what its repair looks like.
var plights = []struct {
	name   string
	answer *models.Outcome // recorded under the claim; nil leaves it claimed, or unclaimed
	claim  bool            // a worker that is gone had claimed it to send
	booked bool            // the gateway booked it
	hinted bool            // told of by a webhook while it waits
	silent bool            // Redis was never told of it
	repair models.Verdict  // the verdict that moved it; empty when it only had to be run
	sends  int             // claims to send, the lost worker's included
	looks  int
}{
	{name: "its task is lost", sends: 1},
	{name: "no task was ever made", silent: true, sends: 1},
	{name: "its lease ran out before the gateway booked", claim: true, repair: models.Retry, sends: 2, looks: 1},
	{name: "its lease ran out after the gateway booked", claim: true, booked: true, repair: models.Forward, sends: 1, looks: 1},
	{name: "unknown, and not there", claim: true, answer: outcome(models.OutcomeLost), repair: models.Retry, sends: 2, looks: 1},
	{name: "unknown, and there", claim: true, answer: outcome(models.OutcomeLost), booked: true, repair: models.Forward, sends: 1, looks: 1},
	{name: "submitted, and not there", claim: true, answer: outcome(models.OutcomeAccepted), repair: models.Retry, sends: 2, looks: 1},
	{name: "submitted, and there", claim: true, answer: outcome(models.OutcomeAccepted), booked: true, repair: models.Forward, sends: 1, looks: 1},
	{name: "never sent by this ledger, and there", booked: true, hinted: true, silent: true, repair: models.Forward, looks: 1},
}

func outcome(o models.Outcome) *models.Outcome { return &o }

// TestEightReconcilersRepairOnce: eight workers, each with a relay and a sweep of
// its own, on a thousand captures that are stuck in every way there is. The
// lease that keeps sweeps apart is taken away from them all the time, so that
// they do run at once. Each capture is repaired once, and paid once.
func TestEightReconcilersRepairOnce(t *testing.T) {
	t.Parallel()
	n := 135
	if *prove {
		n = 1000
	}
	// At real time nothing that is under way is taken for stuck.
	w := newWorld(t, setup{tempo: &models.Tempo{}})
	began := time.Now()
	bought := w.sell(t, n)
	for i := range plights {
		w.strand(t, i, every9th(bought, i))
	}
	w.exec(t, `UPDATE work SET due_at = now() - interval '1 hour', published_at = published_at - interval '1 hour'`)
	stuck := w.count(t, `SELECT count(*) FROM work WHERE published_at IS NOT NULL`)
	made := time.Since(began)

	began = time.Now()
	w.eightReconcilers(t)
	took := time.Since(began)
	const overlaps = `SELECT count(DISTINCT a.id) FROM reconciliations AS a JOIN reconciliations AS b ON b.id <> a.id AND b.started_at < a.finished_at AND a.started_at < b.finished_at`
	t.Logf("%d captures, %d of them for the sweep, made in %s; repaired in %s by 8 workers; %d sweeps ran, %d of them while another did",
		n, stuck, made.Round(time.Millisecond), took.Round(time.Millisecond), w.count(t, `SELECT count(*) FROM reconciliations`), w.count(t, overlaps))

	w.checkRepaired(t, bought)
	if got := w.count(t, `SELECT count(*) FROM verdicts WHERE verdict = 'republish'`); got != stuck {
		t.Errorf("%d rows were published again, want each of %d once", got, stuck)
	}
	w.audit(t)
}

func every9th(bought []purchase, from int) []purchase {
	var some []purchase
	for i := from; i < len(bought); i += len(plights) {
		some = append(some, bought[i])
	}
	return some
}

// sell makes n approved orders of different amounts, with their holds and
// captures, that nobody was told of.
func (w *world) sell(t *testing.T, n int) []purchase {
	t.Helper()
	var orders, auths, holds []string
	var cents []int64
	for i := range n {
		cents = append(cents, total+int64(i))
		holds = append(holds, w.authorizeQuietly(t, cents[i]))
		orders, auths = append(orders, store.NewID()), append(auths, store.NewID())
	}
	w.exec(t, `WITH made AS (
			INSERT INTO orders (id, mode, payment_method_id, currency_code, total_amount_cents, status, fulfillment_status, held_cents, transactions)
			SELECT m.id, 'test', $1, 'EUR', m.cents, 'placed', 'unfulfilled', m.cents, 1 FROM unnest($2::uuid[], $3::bigint[]) AS m (id, cents) RETURNING id, number
		) INSERT INTO authorizations (id, mode, number, order_id, payment_gateway_id, gateway_transaction_id, currency_code, amount_cents)
		SELECT m.id, 'test', made.number || '/T/001', made.id, $4, m.hold, 'EUR', m.cents
		FROM unnest($2::uuid[], $3::bigint[], $5::uuid[], $6::text[]) AS m (order_id, cents, id, hold) JOIN made ON made.id = m.order_id`,
		w.method.ID, orders, cents, w.gateway.ID, auths, holds)
	approvals, err := w.store.ApproveAll(t.Context(), nil, models.Test, orders, "shop")
	if err != nil {
		t.Fatal(err)
	}
	bought := make([]purchase, n)
	for i, a := range approvals {
		if a.Err != nil || len(a.Operations) != 1 {
			t.Fatalf("approval = %+v, want one capture", a)
		}
		bought[i] = purchase{orderID: orders[i], authID: auths[i], hold: holds[i], op: a.Operations[0]}
	}
	return bought
}

// strand leaves captures in one of the plights.
func (w *world) strand(t *testing.T, plight int, stuck []purchase) {
	t.Helper()
	p := plights[plight]
	ids := make([]string, len(stuck))
	for i, s := range stuck {
		ids[i] = s.op.ID
	}
	if !p.silent {
		w.exec(t, `UPDATE work SET published_at = now() WHERE operation_id = ANY ($1::uuid[])`, ids)
	}
	if p.claim {
		w.lose(t, ids, p.answer)
	}
	for _, s := range stuck {
		if p.booked {
			form := url.Values{"amount_to_capture": {strconv.FormatInt(s.op.AmountCents, 10)}, "metadata[capstan_reference]": {s.op.GatewayReference}}
			w.ask(t, "/v1/payment_intents/"+s.hold+"/capture", s.op.IdempotencyKey(), form)
		}
		if p.hinted {
			_, err := w.store.Observe(t.Context(), store.Observation{Kind: models.Capture, ID: s.op.ID, Actor: "webhook:stripe", Evidence: models.Evidence{Source: models.FromWebhook}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// lose claims captures for a worker that is gone since an hour, with the answer
// it recorded, if it did.
func (w *world) lose(t *testing.T, ids []string, answer *models.Outcome) {
	t.Helper()
	claims, err := w.store.ClaimAll(t.Context(), models.Capture, ids, "ghost")
	if err != nil || len(claims) != len(ids) {
		t.Fatalf("claimed %d of %d: %v", len(claims), len(ids), err)
	}
	if answer != nil {
		for _, c := range claims {
			ev := models.Evidence{Source: models.FromAnswer, Outcome: *answer}
			err := w.store.Record(t.Context(), store.Outcome{Claim: c, Evidence: ev, Decision: models.Judge(c.Operation, ev, c.Facts(models.Tempo{}, 0, true)), Worker: "ghost"})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	w.exec(t, `UPDATE captures SET lease_until = lease_until - interval '1 hour', next_at = next_at - interval '1 hour', last_sent_at = now() - interval '1 hour'
		WHERE id = ANY ($1::uuid[])`, ids)
}

// eightReconcilers runs them until nothing is open.
func (w *world) eightReconcilers(t *testing.T) {
	t.Helper()
	shared := openWide(t, w.databaseURL, w.store.Tempo())
	var stops []func()
	for i := range 8 {
		stops = append(stops, w.start(t, staff{name: fmt.Sprintf("worker-%d", i), store: shared, servers: 1, tasks: 4}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var sweeps sync.WaitGroup
	for i := range 8 {
		sweeps.Go(func() {
			for ctx.Err() == nil {
				_, err := shared.RunSweep(ctx, store.Sweep{Owner: fmt.Sprintf("sweep-%d", i), Source: "test", CancelAfter: time.Hour})
				if err != nil && !errors.Is(err, store.ErrSweeping) && ctx.Err() == nil {
					t.Errorf("sweep %d: %v", i, err)
				}
				wait(ctx, 20*time.Millisecond)
			}
		})
	}
	sweeps.Go(func() {
		for ctx.Err() == nil {
			if _, err := w.db.ExecContext(ctx, `DELETE FROM leases WHERE name = 'sweep'`); err != nil && ctx.Err() == nil {
				t.Errorf("take the lease away: %v", err)
			}
			wait(ctx, 5*time.Millisecond)
		}
	})
	w.settle(t)
	cancel()
	sweeps.Wait()
	for _, stop := range stops { // what is under way is over, so that a second booking would be seen
		stop()
	}
}

// openWide opens a store that eight workers can share without waiting for each other.
func openWide(t *testing.T, url string, at models.Tempo) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{Tempo: at, MaxConns: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// repaired is what became of one stuck capture.
type repaired struct {
	State     models.State
	Confirmed int64
	Flag      string
	Payment   models.PaymentStatus
	Booked    []int64 // amounts under its reference
	Asked     int     // capture calls that reached the gateway for its hold
	Sends     int
	Looks     int
	Moved     string // the verdicts that moved it
}

// checkRepaired compares each purchase with what its plight asks for.
func (w *world) checkRepaired(t *testing.T, bought []purchase) {
	t.Helper()
	book := w.sandbox.Book()
	for _, v := range book.Violations {
		t.Errorf("the gateway refused to be robbed: %+v", v)
	}
	if len(book.Captures) != len(bought) || len(book.Refunds)+len(book.Cancels) != 0 {
		t.Errorf("the gateway booked %d captures, %d refunds and %d releases, want %d captures", len(book.Captures), len(book.Refunds), len(book.Cancels), len(bought))
	}
	found := w.repairs(t, book)
	wrong := 0
	for i, p := range bought {
		plight := plights[i%len(plights)]
		want := repaired{
			State: models.Succeeded, Confirmed: p.op.AmountCents, Payment: models.Paid, Booked: []int64{p.op.AmountCents}, Asked: 1,
			Sends: plight.sends, Looks: plight.looks, Moved: string(plight.repair),
		}
		if diff := cmp.Diff(want, found[p.op.ID]); diff != "" {
			if wrong++; wrong <= 10 {
				t.Errorf("%s: %s", plight.name, diff)
			}
		}
	}
	if wrong > 10 {
		t.Errorf("and %d others", wrong-10)
	}
	if n := w.count(t, `SELECT count(*) FROM (SELECT 1 FROM (SELECT operation_id, version FROM attempts UNION ALL SELECT operation_id, version FROM events) AS s
		GROUP BY operation_id, version HAVING count(*) > 1) AS twice`); n != 0 {
		t.Errorf("%d versions of an operation were taken twice", n)
	}
}

// repairs reads what became of every capture, from the ledger and the book.
func (w *world) repairs(t *testing.T, book sandbox.Snapshot) map[string]repaired {
	t.Helper()
	booked, asked := map[string][]int64{}, map[string]int{}
	for _, b := range book.Captures {
		booked[b.Reference] = append(booked[b.Reference], b.Amount)
	}
	for _, r := range book.Requests {
		if r.Call == "capture" {
			asked[r.Hold]++
		}
	}
	rows, err := w.db.QueryContext(t.Context(), `SELECT o.id, o.state, COALESCE(o.confirmed_cents, 0), COALESCE(o.needs_attention, ''), r.payment_status,
			o.gateway_reference, a.gateway_transaction_id,
			(SELECT count(*) FROM attempts AS s WHERE s.operation_id = o.id AND s.call = 'send'),
			(SELECT count(*) FROM attempts AS s WHERE s.operation_id = o.id AND s.call = 'look_up'),
			(SELECT COALESCE(string_agg(v.verdict, ' ' ORDER BY v.created_at), '') FROM verdicts AS v WHERE v.operation_id = o.id AND v.verdict <> 'republish')
		FROM captures AS o JOIN orders AS r ON r.id = o.order_id JOIN authorizations AS a ON a.id = o.authorization_id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	found := map[string]repaired{}
	for rows.Next() {
		var id, reference, hold string
		var r repaired
		if err := rows.Scan(&id, &r.State, &r.Confirmed, &r.Flag, &r.Payment, &reference, &hold, &r.Sends, &r.Looks, &r.Moved); err != nil {
			t.Fatal(err)
		}
		r.Booked, r.Asked = slices.Clone(booked[reference]), asked[hold]
		found[id] = r
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// ask calls the sandbox without a network between.
func (w *world) ask(t *testing.T, path, key string, form url.Values) string {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	req.Header.Set("Authorization", "Bearer sk_test_key")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res := httptest.NewRecorder()
	w.sandbox.Handler().ServeHTTP(res, req)
	if res.Code != http.StatusOK {
		t.Fatalf("POST %s: status %d %s", path, res.Code, res.Body)
	}
	return res.Body.String()
}

// authorizeQuietly makes a hold without a network between.
func (w *world) authorizeQuietly(t *testing.T, cents int64) string {
	t.Helper()
	body := w.ask(t, "/v1/payment_intents", "", url.Values{"amount": {strconv.FormatInt(cents, 10)}, "currency": {"eur"}, "capture_method": {"manual"}, "confirm": {"true"}})
	_, id, _ := strings.Cut(body, `"id":"`)
	id, _, ok := strings.Cut(id, `"`)
	if !ok || !strings.HasPrefix(id, "pi_") {
		t.Fatalf("the hold is %s", body)
	}
	return id
}
