package till_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/till"
	"github.com/capstan-pay/capstan/models"
)

func ask(reference, key string) gateway.Request {
	return gateway.Request{Kind: models.Capture, Reference: reference, Key: key, AmountCents: 1500, CurrencyCode: "EUR"}
}

func TestPlanIsMixedAndAlwaysTheSame(t *testing.T) {
	plan, seen := till.Plan{PerMille: 100}, map[till.Fate]int{}
	for i := range 20_000 {
		reference := fmt.Sprintf("cap_%d", i)
		fate := plan.Fate(reference)
		if plan.Fate(reference) != fate {
			t.Fatalf("%s met two fates", reference)
		}
		seen[fate]++
	}
	for _, fate := range []till.Fate{till.Refused, till.Took, till.Lost, till.Unsent} {
		if seen[fate] < 350 || seen[fate] > 650 { // 500 of each
			t.Errorf("fate %d befell %d of 20000", fate, seen[fate])
		}
	}
	if (till.Plan{}).Fate("x") != till.Fine {
		t.Error("an empty plan fails something")
	}
}

// TestEachFate sends, looks and sends again, as whoever lost an answer does.
func TestEachFate(t *testing.T) {
	plan, tried := till.Plan{PerMille: 1000}, map[till.Fate]bool{}
	for i := range 100 {
		reference := fmt.Sprintf("cap_%d", i)
		fate := plan.Fate(reference)
		if tried[fate] {
			continue
		}
		tried[fate] = true
		g, r := till.New(till.Config{Plan: plan}, 1), ask(reference, "k1")
		first, look := g.Capture(t.Context(), r).Outcome, g.LookUp(t.Context(), r).Outcome
		want := map[till.Fate][2]models.Outcome{
			till.Refused: {models.OutcomeRefused, models.OutcomeNone},
			till.Took:    {models.OutcomeLost, models.OutcomeConfirmed},
			till.Lost:    {models.OutcomeLost, models.OutcomeNone},
			till.Unsent:  {models.OutcomeNotSent, models.OutcomeNone},
		}[fate]
		if first != want[0] || look != want[1] {
			t.Errorf("fate %d: %s, then %s", fate, first, look)
		}
		again := g.Capture(t.Context(), r)
		if again.Outcome != models.OutcomeConfirmed || again.GatewayTransactionID != till.TransactionID(reference) || again.AmountCents != 1500 {
			t.Errorf("fate %d, sent again: %+v", fate, again)
		}
		if s := g.Sums(); s.Booked != 1 || s.Twice != 0 {
			t.Errorf("fate %d: %+v", fate, s)
		}
	}
	if len(tried) != 4 {
		t.Errorf("only %d fates were met", len(tried))
	}
}

func TestAnotherKeyTakesTheMoneyTwice(t *testing.T) {
	g := till.New(till.Config{}, 1)
	for _, key := range []string{"a", "a", "b"} {
		g.Capture(t.Context(), ask("cap_1", key))
	}
	if s := g.Sums(); s.Booked != 1 || s.Twice != 1 {
		t.Errorf("%+v", s)
	}
}

func TestLatencyAndCallsAtOnce(t *testing.T) {
	g := till.New(till.Config{Latency: 20 * time.Millisecond}, 8)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { g.Capture(t.Context(), ask(fmt.Sprint(i), "k")) })
	}
	wg.Wait()
	if s := g.Sums(); s.Booked != 8 || s.InFlight < 1 || s.InFlight > 8 {
		t.Errorf("%+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ev := g.Capture(ctx, ask("gone", "k")); ev.Outcome != models.OutcomeLost {
		t.Errorf("%+v", ev)
	}
}
