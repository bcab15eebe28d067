package gatewaytest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// maxRounds bounds the loop; the longest schedule of declines needs the most.
const maxRounds = 60

// driver takes one operation to its end as the workers do, without the pauses.
type driver struct {
	harness Harness
	request gateway.Request
	timeout time.Duration

	op    models.Operation
	steps []string
}

// end is what the driver came to.
type end struct {
	models.Evidence
	State models.State
	Flag  string
}

func (d *driver) run(t *testing.T) end {
	t.Helper()
	r := d.request
	d.op = models.Operation{
		Kind: r.Kind, State: models.Capturing, AmountCents: r.AmountCents, CurrencyCode: r.CurrencyCode, GatewayReference: r.Reference,
	}
	sent := false
	for range maxRounds {
		if sent {
			send, e := d.look(t)
			if e != nil {
				return *e
			}
			if !send {
				continue
			}
		}
		sent = true
		ev := d.call(t, "send", d.operation())
		if e, over := d.apply(ev, models.Judge(d.op, ev, d.facts(false))); over {
			return e
		}
		if ev.Class == models.ClassInProgress { // the workers pause; so does this
			waitFor(t, "the fake to settle", func() bool { return d.harness.Settled(r.Hold) })
		}
	}
	t.Fatalf("no end after %d rounds\n%s", maxRounds, d.trace())
	return end{}
}

// look asks what became of it: the gateway, or where it cannot be asked, what it
// told by itself. It reports whether to send, or how it ended.
func (d *driver) look(t *testing.T) (send bool, ended *end) {
	r := d.request
	if d.op.GatewayTransactionID != "" && d.harness.Told != nil {
		return false, d.wait(t)
	}
	settled := d.harness.Settled(r.Hold)
	ev := d.call(t, "look up", d.harness.Gateway.LookUp)
	dec := models.Judge(d.op, ev, d.facts(settled))
	if dec.Send {
		return true, nil
	}
	if e, over := d.apply(ev, dec); over {
		return false, &e
	}
	if ev.Outcome == models.OutcomeNone && !settled {
		waitFor(t, "the fake to settle", func() bool { return d.harness.Settled(r.Hold) })
	}
	return false, nil
}

// wait is for what the provider tells by itself about what it accepted.
func (d *driver) wait(t *testing.T) *end {
	var ended *end
	heard := 0
	waitFor(t, "the provider to tell what became of it\n"+d.trace(), func() bool {
		told := d.harness.Told(t, d.request)
		for ; heard < len(told) && ended == nil; heard++ {
			ev := told[heard]
			ev.Source = models.FromWebhook
			d.steps = append(d.steps, "told: "+string(ev.JSON()))
			op, f := d.op, d.facts(false)
			op.State, f.Fenced = models.Submitted, false
			if e, over := d.apply(ev, models.Judge(op, ev, f)); over {
				ended = &e
			}
		}
		return ended != nil
	})
	return ended
}

func (d *driver) operation() func(context.Context, gateway.Request) models.Evidence {
	switch d.request.Kind {
	case models.Refund:
		return d.harness.Gateway.Refund
	case models.Void:
		return d.harness.Gateway.Void
	}
	return d.harness.Gateway.Capture
}

func (d *driver) call(t *testing.T, what string, f func(context.Context, gateway.Request) models.Evidence) models.Evidence {
	ctx, cancel := context.WithTimeout(t.Context(), d.timeout)
	defer cancel()
	r := d.request
	r.Key = models.IdempotencyKey(r.Reference, d.op.KeyEpoch)
	ev := f(ctx, r)
	d.steps = append(d.steps, fmt.Sprintf("%s e%d: %s", what, d.op.KeyEpoch, ev.JSON()))
	return ev
}

func (d *driver) facts(conclusive bool) models.Facts {
	caps := d.harness.Gateway.Capabilities()
	return models.Facts{
		Repeats: caps.RepeatIsLookUp, KeyProtects: caps.RepeatIsLookUp,
		Now: time.Unix(1, 0), Fenced: true, MaySend: true, NoneConclusive: conclusive,
		ReplaysErrors: caps.ReplaysErrors, HoldLeftConfirmed: d.request.HoldCents,
	}
}

// apply does to the operation what the store would do, and leaves it claimed.
func (d *driver) apply(ev models.Evidence, dec models.Decision) (end, bool) {
	d.steps = append(d.steps, fmt.Sprintf("  -> %s %s (%s)", dec.Event, dec.Flag, dec.Rule))
	d.op.Replayed = dec.Replayed
	if ev.GatewayTransactionID != "" {
		d.op.GatewayTransactionID = ev.GatewayTransactionID
	}
	if dec.RotateKey {
		d.op.KeyEpoch++
	}
	if dec.CountTry {
		d.op.Tries++
	}
	if dec.CountLook {
		d.op.LookUps++
	}
	e := end{Evidence: ev, Flag: dec.Flag}
	switch {
	case dec.Event == models.Confirmed:
		e.State = models.Succeeded
	case dec.Event == models.Refused:
		e.State = models.Failed
	case dec.Flag == models.FlagCurrency, dec.Flag == models.FlagForeign, dec.Flag == models.FlagBadRequest && ev.Source == models.FromLookUp:
		e.State = models.Unknown // a person decides
	default:
		return end{}, false
	}
	return e, true
}

func (d *driver) trace() string { return strings.Join(d.steps, "\n") }

// waitFor waits on a condition; the test's own deadline is the limit.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
