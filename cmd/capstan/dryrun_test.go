package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// TestDryRunChangesNothing: on a ledger full of trouble, with a gateway that is
// asked about all of it, the whole database is the same before and after, schema,
// sequences and rows.
func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	tr := newTrouble(t)
	tr.make(t)
	before, booked := tr.dump(t), tr.booked()
	asked := len(tr.sandbox.Book().Requests)

	out, status := capstan(t, tr.env, "reconcile", "--dry-run", "--json")
	var report store.SweepReport
	if err := json.Unmarshal([]byte(out), &report); err != nil || status != 0 {
		t.Fatalf("reconcile --dry-run: status %d, %v\n%s", status, err, out)
	}
	for verdict, n := range map[models.Verdict]int{
		models.Forward: 2, models.Retry: 4, models.AmountConflict: 2, models.Duplicate: 1, models.Cancel: 1, models.Expiring: 1,
	} {
		if report.Counts[verdict] != n {
			t.Errorf("%d findings are %s, want %d: %v", report.Counts[verdict], verdict, n, report.Counts)
		}
	}
	if !report.DryRun || report.ID != "" {
		t.Errorf("report = %+v, want that of a dry run", report)
	}
	if now := len(tr.sandbox.Book().Requests); now == asked {
		t.Error("the gateway was not asked")
	}
	tr.unchanged(t, before, booked)
}

// TestDiscrepanciesChangeNothing: so it is when somebody asks over HTTP what the
// two books say about every capture.
func TestDiscrepanciesChangeNothing(t *testing.T) {
	t.Parallel()
	tr := newTrouble(t)
	tr.make(t)
	addr := address(t)
	env := maps.Clone(tr.env)
	env["REDIS_URL"], env["CAPSTAN_LISTEN"], env["CAPSTAN_ADMIN_LISTEN"] = devstacktest.NewRedis(t), addr, address(t)
	start(t, env, "api")
	ready(t, addr)
	before, booked := tr.dump(t), tr.booked()

	var ids []map[string]string
	for _, op := range tr.captures(t) {
		ids = append(ids, map[string]string{"type": "captures", "id": op.ID})
	}
	var answers []resource
	if err := call(t.Context(), config.Remote{URL: "http://" + addr, Token: productionToken}, http.MethodPost, "/api/discrepancies", ids, &answers); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, a := range answers {
		got[text(a.Attributes["verdict"])]++
	}
	want := map[string]int{"in_sync": 2, "forward": 2, "retry": 3, "amount_conflict": 2, "duplicate": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("verdicts: %s", diff)
	}
	tr.unchanged(t, before, booked)
}

// trouble is a ledger and a gateway that disagree in many ways.
type trouble struct {
	env     map[string]string
	store   *store.Store
	db      *sql.DB
	sandbox *sandbox.Server
	account models.PaymentGateway
	// early captures when the hold comes, late when the order is approved.
	early, late models.PaymentMethod
}

func newTrouble(t *testing.T) *trouble {
	t.Helper()
	book, err := sandbox.New(sandbox.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = book.Close() })
	server := httptest.NewServer(book.Handler())
	t.Cleanup(server.Close)
	tr := &trouble{sandbox: book, env: map[string]string{
		"DATABASE_URL": devstacktest.NewDatabase(t, migrateAt), "REDIS_URL": "redis://127.0.0.1:1", "CAPSTAN_API_TOKEN": productionToken,
		"STRIPE_SECRET_KEY": "sk_test_trouble", "STRIPE_BASE_URL": server.URL,
	}}
	if tr.store, err = store.Open(t.Context(), tr.env["DATABASE_URL"], store.Options{MaxConns: 2}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.store.Close() })
	if tr.db, err = sql.Open("pgx", tr.env["DATABASE_URL"]); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.db.Close() })
	if tr.account, err = tr.store.EnsureGateway(t.Context(), stripeAccount, "stripe", models.Test); err != nil {
		t.Fatal(err)
	}
	tr.early, tr.late = tr.method(t, models.TriggerAuthorization), tr.method(t, models.TriggerApproval)
	return tr
}

func (tr *trouble) method(t *testing.T, on models.Trigger) models.PaymentMethod {
	t.Helper()
	m, err := tr.store.CreatePaymentMethod(t.Context(), models.PaymentMethod{
		Mode: models.Test, PaymentGatewayID: tr.account.ID, Name: string(on), PaymentSourceType: "stripe_payments", CurrencyCode: "EUR",
		Policy: models.Policy{AutoCapture: true, CaptureTrigger: on},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// make puts an example of everything that goes wrong into ledger and book.
func (tr *trouble) make(t *testing.T) {
	t.Helper()
	tr.sale(t, tr.late, "") // lost: its task is nowhere
	for _, how := range []struct {
		fault   string // what the gateway does with the capture; "-" is that it never arrives
		foreign bool   // somebody else takes the hold
		lost    bool   // the answer is recorded as lost; else the worker died
	}{
		{"", false, false}, {"", false, true}, {"-", false, false}, {"-", false, true}, {"wrong_amount", false, true}, {"wrong_currency", false, true}, {"-", true, true},
	} {
		op, hold := tr.sale(t, tr.late, strings.Trim(how.fault, "-"))
		c := tr.claim(t, op)
		if how.lost {
			tr.record(t, c, models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeLost})
		}
		reference := op.GatewayReference
		if how.foreign {
			reference = "somebody else"
		}
		if how.fault != "-" || how.foreign {
			tr.ask(t, "/v1/payment_intents/"+hold+"/capture", url.Values{"amount_to_capture": {"1500"}, "metadata[capstan_reference]": {reference}})
		}
	}
	for _, cancelled := range []bool{true, false} { // captured, and then the order changed
		op, hold := tr.sale(t, tr.early, "")
		tr.ask(t, "/v1/payment_intents/"+hold+"/capture", url.Values{"amount_to_capture": {"1500"}, "metadata[capstan_reference]": {op.GatewayReference}})
		tr.record(t, tr.claim(t, op), models.Evidence{
			Source: models.FromAnswer, Outcome: models.OutcomeConfirmed, AmountCents: 1500, CurrencyCode: "EUR", GatewayTransactionID: hold,
		})
		tr.in(t, func(ctx context.Context, tx store.Tx) (err error) {
			if cancelled {
				_, err = tr.store.CancelOrder(ctx, tx, models.Test, op.OrderID, time.Now(), "shop")
			} else {
				_, err = tr.store.ChangeTotal(ctx, tx, models.Test, op.OrderID, 900, time.Now(), 0, "shop")
			}
			return err
		})
	}
	tr.hold(t, tr.late, time.Now().Add(time.Minute)) // ends before anybody approves
	if _, err := tr.store.Receive(t.Context(), "stripe", "evt_1", "charge.captured", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	tr.exec(t, `UPDATE captures SET lease_until = lease_until - interval '2 hours', next_at = next_at - interval '2 hours', last_sent_at = last_sent_at - interval '2 hours'`)
	tr.exec(t, `UPDATE work SET due_at = due_at - interval '2 hours', published_at = now() - interval '2 hours'`)
	tr.exec(t, `UPDATE orders SET total_changed_at = total_changed_at - interval '2 hours'`)
	tr.exec(t, `UPDATE authorizations SET capture_before = capture_before - interval '2 hours'`)
	tr.exec(t, `UPDATE order_checks SET due_at = now() - interval '1 hour'`)
}

// sale is a hold at the gateway, its order, approved if the method waits for
// that, and the capture.
func (tr *trouble) sale(t *testing.T, m models.PaymentMethod, fault string) (op models.Operation, hold string) {
	t.Helper()
	orderID, hold, made := tr.register(t, m, fault, nil)
	if m.CaptureTrigger == models.TriggerApproval {
		answers, err := tr.store.ApproveAll(t.Context(), nil, models.Test, []string{orderID}, "shop")
		if err != nil || answers[0].Err != nil {
			t.Fatal(err, answers)
		}
		made = answers[0].Operations
	}
	if len(made) != 1 {
		t.Fatalf("made %+v, want one capture", made)
	}
	return made[0], hold
}

func (tr *trouble) captures(t *testing.T) []models.Operation {
	t.Helper()
	ops, _, err := tr.store.Operations(t.Context(), models.Capture, store.Filter{Mode: models.Test}, store.Page{Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

func (tr *trouble) hold(t *testing.T, m models.PaymentMethod, ends time.Time) {
	t.Helper()
	tr.register(t, m, "", &ends)
}

func (tr *trouble) register(t *testing.T, m models.PaymentMethod, fault string, ends *time.Time) (orderID, hold string, made []models.Operation) {
	t.Helper()
	form := url.Values{"amount": {"1500"}, "currency": {"eur"}, "capture_method": {"manual"}, "confirm": {"true"}}
	if fault != "" {
		form.Set("metadata[fault]", fault)
	}
	var intent struct{ ID string }
	if err := json.Unmarshal([]byte(tr.ask(t, "/v1/payment_intents", form)), &intent); err != nil {
		t.Fatal(err)
	}
	o, _, err := tr.store.CreateOrder(t.Context(), models.Order{Mode: models.Test, PaymentMethodID: m.ID, CurrencyCode: "EUR", TotalAmountCents: 1500})
	if err != nil {
		t.Fatal(err)
	}
	tr.in(t, func(ctx context.Context, tx store.Tx) error {
		_, ops, _, err := tr.store.RegisterHold(ctx, tx, models.Authorization{
			Mode: models.Test, OrderID: o.ID, PaymentGatewayID: tr.account.ID, GatewayTransactionID: intent.ID, CurrencyCode: "EUR", AmountCents: 1500, CaptureBefore: ends,
		}, time.Now(), "shop")
		made = ops
		return err
	})
	return o.ID, intent.ID, made
}

func (tr *trouble) claim(t *testing.T, op models.Operation) store.Claim {
	t.Helper()
	claims, err := tr.store.ClaimAll(t.Context(), op.Kind, []string{op.ID}, "ghost")
	if err != nil || len(claims) != 1 {
		t.Fatalf("claims = %+v, %v", claims, err)
	}
	return claims[0]
}

func (tr *trouble) record(t *testing.T, c store.Claim, ev models.Evidence) {
	t.Helper()
	d := models.Judge(c.Operation, ev, c.Facts(models.Tempo{}, 0, true))
	if err := tr.store.Record(t.Context(), store.Outcome{Claim: c, Evidence: ev, Decision: d, Worker: "ghost"}); err != nil {
		t.Fatal(err)
	}
}

func (tr *trouble) in(t *testing.T, fn func(ctx context.Context, tx store.Tx) error) {
	t.Helper()
	if err := tr.store.InTx(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func (tr *trouble) exec(t *testing.T, query string) {
	t.Helper()
	if _, err := tr.db.ExecContext(t.Context(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// ask calls the gateway without a network between.
func (tr *trouble) ask(t *testing.T, path string, form url.Values) string {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	req.Header.Set("Authorization", "Bearer sk_test_trouble")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res := httptest.NewRecorder()
	tr.sandbox.Handler().ServeHTTP(res, req)
	if res.Code != http.StatusOK {
		t.Fatalf("POST %s: status %s %s", path, strconv.Itoa(res.Code), res.Body)
	}
	return res.Body.String()
}

// booked is all that the gateway moved.
func (tr *trouble) booked() [3][]sandbox.Booking {
	b := tr.sandbox.Book()
	return [3][]sandbox.Booking{b.Captures, b.Refunds, b.Cancels}
}

// unchanged compares the database and the book with what they were.
func (tr *trouble) unchanged(t *testing.T, before []string, booked [3][]sandbox.Booking) {
	t.Helper()
	if diff := cmp.Diff(before, tr.dump(t)); diff != "" {
		t.Errorf("the database changed:\n%s", diff)
	}
	if diff := cmp.Diff(booked, tr.booked()); diff != "" {
		t.Errorf("the gateway's book changed:\n%s", diff)
	}
}

// dump is the whole database as pg_dump writes it, schema, sequences and rows,
// line by line. Where rows lie in their tables is nobody's business.
func (tr *trouble) dump(t *testing.T) []string {
	t.Helper()
	var bin string
	if err := tr.db.QueryRowContext(t.Context(), `SELECT setting FROM pg_config WHERE name = 'BINDIR'`).Scan(&bin); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "pg_dump"), "--dbname", tr.env["DATABASE_URL"])
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	lines := strings.Split(string(out), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { // a random word, to keep a hostile dump from running commands
		return strings.HasPrefix(l, `\restrict `) || strings.HasPrefix(l, `\unrestrict `)
	})
	slices.Sort(lines)
	return lines
}
