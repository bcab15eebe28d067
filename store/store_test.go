package store_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/uptrace/bun/schema"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

func TestMain(m *testing.M) {
	// bun's search for the plurals of the models' names, which no statement uses, is
	// a tenth of the time of a short test.
	schema.SetTableNameInflector(func(name string) string { return name })
	os.Exit(devstacktest.Main(m))
}

func open(t *testing.T) *store.Store {
	t.Helper()
	return openAt(t, migrated(t), models.Tempo{})
}

func openAt(t *testing.T, url string, tempo models.Tempo) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), url, store.Options{Tempo: tempo})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func migrated(t testing.TB) string {
	t.Helper()
	return devstacktest.NewDatabase(t, func(ctx context.Context, url string) error {
		s, err := store.Open(ctx, url, store.Options{})
		if err != nil {
			return err
		}
		defer s.Close()
		_, err = s.Migrate(ctx)
		return err
	})
}

// shop is an account with a method, ready for orders.
type shop struct {
	*store.Store
	gateway models.PaymentGateway
	method  models.PaymentMethod
}

func newShop(t testing.TB, s *store.Store, p models.Policy) shop {
	t.Helper()
	g, err := s.EnsureGateway(t.Context(), "stripe", "stripe", models.Test)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.CreatePaymentMethod(t.Context(), models.PaymentMethod{
		Mode: models.Test, PaymentGatewayID: g.ID, Name: "card", PaymentSourceType: "stripe_payments", CurrencyCode: "EUR", Policy: p,
	})
	if err != nil {
		t.Fatal(err)
	}
	return shop{s, g, m}
}

var onApproval = models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval}

func (s shop) order(t *testing.T, total int64) models.Order {
	t.Helper()
	o, _, err := s.CreateOrder(t.Context(), models.Order{Mode: models.Test, PaymentMethodID: s.method.ID, CurrencyCode: "EUR", TotalAmountCents: total})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (s shop) hold(t *testing.T, orderID string, amount int64) models.Authorization {
	t.Helper()
	var hold models.Authorization
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		hold, _, _, err = s.RegisterHold(ctx, tx, models.Authorization{
			Mode: models.Test, OrderID: orderID, PaymentGatewayID: s.gateway.ID, GatewayTransactionID: "pi_" + store.NewID(),
			CurrencyCode: "EUR", AmountCents: amount,
		}, time.Now(), "test")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hold
}

func (s shop) approve(t *testing.T, orderID string) []models.Operation {
	t.Helper()
	var made []models.Operation
	err := s.InTx(t.Context(), func(ctx context.Context, tx store.Tx) (err error) {
		_, made, err = s.Approve(ctx, tx, models.Test, orderID, "test")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// approved is an order of 1,500 EUR cents with one pending capture.
func (s shop) approved(t *testing.T) (models.Order, models.Operation) {
	t.Helper()
	o := s.order(t, 1500)
	s.hold(t, o.ID, 1500)
	made := s.approve(t, o.ID)
	if len(made) != 1 {
		t.Fatalf("approval made %d captures, want 1", len(made))
	}
	return o, made[0]
}

func (s shop) claim(t *testing.T, op models.Operation) store.Claim {
	t.Helper()
	claims, err := s.ClaimAll(t.Context(), op.Kind, []string{op.ID}, "worker")
	if err != nil {
		t.Fatal(err)
	}
	if len(claims) != 1 {
		t.Fatalf("claimed %d, want 1: %v", len(claims), s.WhyNot(t.Context(), op.Kind, op.ID, "worker"))
	}
	return claims[0]
}

func (s shop) record(t *testing.T, c store.Claim, ev models.Evidence) models.Decision {
	t.Helper()
	d := models.Judge(c.Operation, ev, c.Facts(s.Tempo(), 0, true))
	if err := s.Record(t.Context(), store.Outcome{Claim: c, Evidence: ev, Decision: d, Worker: "worker"}); err != nil {
		t.Fatal(err)
	}
	return d
}

func (s shop) reread(t *testing.T, op models.Operation) models.Operation {
	t.Helper()
	got, err := s.Operation(t.Context(), models.Test, op.Kind, op.ID)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (s shop) orderNow(t *testing.T, id string) models.Order {
	t.Helper()
	o, err := s.Store.Order(t.Context(), models.Test, id)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func confirmed(op models.Operation) models.Evidence {
	return models.Evidence{
		Source: models.FromAnswer, Outcome: models.OutcomeConfirmed, AmountCents: op.AmountCents, CurrencyCode: op.CurrencyCode,
		GatewayTransactionID: "tx_" + op.ID, Message: "ok",
	}
}

func TestApprovedOrderIsCaptured(t *testing.T) {
	t.Parallel()
	s := newShop(t, open(t), onApproval)
	o, op := s.approved(t)
	c := s.claim(t, op)
	if c.Look || !c.MaySend || c.Hold == "" || c.Account != "stripe" {
		t.Fatalf("claim = %+v", c)
	}
	s.record(t, c, confirmed(op))
	if got := s.reread(t, op); got.State != models.Succeeded || *got.ConfirmedCents != 1500 || got.Version != 3 {
		t.Fatalf("capture = %+v", got)
	}
	if got := s.orderNow(t, o.ID); got.PaymentStatus != models.Paid || got.LiveOperations != 0 || got.LiveCents != 0 {
		t.Fatalf("order = %+v", got)
	}
}
