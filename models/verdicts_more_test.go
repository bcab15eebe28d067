package models_test

import (
	"time"

	"github.com/capstan-pay/capstan/models"
)

// every calls fn with every combination of answers.
func every(asked []*question, fn func(pick []int)) {
	pick := make([]int, len(asked))
	for {
		fn(pick)
		q := 0
		for ; q < len(pick); q++ {
			if pick[q]++; pick[q] < len(asked[q].answers) {
				break
			}
			pick[q] = 0
		}
		if q == len(pick) {
			return
		}
	}
}

// ask makes a question whose answers are acted upon elsewhere.
func ask(name string, answers ...string) *question { return &question{name: name, answers: answers} }

func (e *entry) picked(pick []int) {
	for q, i := range pick {
		e.seen[q] |= 1 << i
	}
}

// unsent tries every situation of JudgeUnsent.
func (es *entries) unsent() {
	qs := []*question{
		ask("kind", texts(models.Kinds)...), ask("state", "pending"), ask("cause", "not adopted", "adopted from a list"),
		ask("closing", "the order stands", "the order is cancelled, or about to be"), ask("hold ended", "the hold lives", "the hold has ended"),
		ask("order", "the order was changed outside Capstan", "the order is as it was"),
		ask("its capture", "its capture stands, if it is a refund", "its capture has gone back already", "its capture is flagged as taken back in part"),
	}
	every(qs, func(p []int) {
		o := models.Operation{Kind: models.Kinds[p[0]], State: models.Pending, AmountCents: 1500}
		if p[2] == 1 {
			o.Cause = models.CauseAdopted
		}
		d := models.JudgeUnsent(o, models.Unsent{Closing: p[3] == 1, HoldEnded: p[4] == 1, SameOrder: p[5] == 1, CaptureGone: p[6] == 1, CaptureDoubted: p[6] == 2})
		e := es.entry("JudgeUnsent", models.Ruling{Verdict: d.Verdict, Name: d.Name, Rule: d.Rule}, qs)
		e.picked(p)
		e.decided(es.t, o, d)
	})
}

// overdueQuestions are what Overdue asks; overdueOf makes the answers.
func overdueQuestions() []*question {
	return []*question{
		ask("state", texts(models.States)...), ask("flag", "not flagged", "flagged", "flagged, and a look was asked for"),
		ask("paused", "its gateway account works", "its gateway account is paused"),
		ask("published", "not published", "published just now", "published over a minute ago"),
		ask("due", "due later", "due just now", "due over ten seconds ago"),
		ask("lease", "the lease runs", "the lease is over"),
	}
}

func overdueOf(p []int) (models.Operation, models.Publication) {
	o := models.Operation{Kind: models.Capture, State: models.States[p[0]], LookFirst: p[1] == 2}
	if p[1] > 0 {
		o.NeedsAttention = models.FlagBadRequest
	}
	work := models.Publication{Paused: p[2] == 1, DueAt: noon.Add([]time.Duration{time.Hour, -time.Second, -time.Hour}[p[4]])}
	if p[3] > 0 {
		work.PublishedAt = ptr(noon.Add([]time.Duration{0, -time.Second, -time.Hour}[p[3]]))
	}
	if o.State == models.Capturing {
		o.LeaseUntil = ptr(noon.Add([]time.Duration{time.Second, -time.Second}[p[5]]))
	}
	return o, work
}

// overdue tries every situation of Overdue.
func (es *entries) overdue() {
	qs := overdueQuestions()
	every(qs, func(p []int) {
		o, work := overdueOf(p)
		d := models.Overdue(o, work, models.Tempo{}, noon)
		e := es.entry("Overdue", models.Ruling{Verdict: d.Verdict, Name: d.Name, Rule: d.Rule}, qs)
		e.picked(p)
		if d.Verdict == models.Republish {
			e.effects.add("published again")
		}
		e.money.add("no")
		if d.Verdict.CallsPerson() {
			for _, a := range models.NextActions(o) {
				e.next.add(a)
			}
		}
	})
}

// reviewed tries every situation of ReviewOrder that the table tells apart.
func (es *entries) reviewed() {
	statuses := []models.OrderStatus{models.OrderPending, models.OrderPlaced, models.OrderEditing, models.OrderApproved, models.OrderCancelled}
	qs := []*question{
		ask("order", "the order is pending", "the order is placed", "the order is being edited", "the order is approved", "the order is cancelled"),
		ask("total", "the total is as captured", "the total changed just now", "the total changed long ago"),
		ask("capture", "nothing captured", "captured and succeeded", "its capture waits for a time after the hold's end", "captured, and taken back in part or refunded without us"),
		ask("under way", "no refund or void under way", "a refund under way"),
		ask("hold", "no other hold", "a free hold without an end", "a hold that ends in two days", "a hold that ends within a day", "a hold past its end"),
		ask("last chance", "no last chance by policy", "a last chance by policy"),
		ask("difference", "differences are shown", "differences are refunded by policy"),
	}
	day := int64(24 * 3600)
	every(qs, func(p []int) {
		o := models.Order{ID: "order", Status: statuses[p[0]], TotalAmountCents: 1500, CurrencyCode: "EUR"}
		var ops []models.Operation
		var holds []models.Authorization
		hold := models.Authorization{ID: "hold", AmountCents: 900, CurrencyCode: "EUR"}
		if p[4] >= 2 {
			hold.CaptureBefore = ptr(noon.Add([]time.Duration{47 * time.Hour, 23 * time.Hour, -time.Second}[p[4]-2]))
		}
		switch p[2] {
		case 1, 3:
			ops = append(ops, models.Operation{
				NeedsAttention: []string{"", models.FlagPartlyReversed}[p[2]/2],
				ID:             "capture", Kind: models.Capture, State: models.Succeeded, AmountCents: 1500, ConfirmedCents: ptr(int64(1500)), CurrencyCode: "EUR", OrderTotalCents: 1500,
			})
			o.CapturedCents = 1500
		case 2:
			ops = append(ops, models.Operation{ID: "waiting", Kind: models.Capture, State: models.Pending, NotBefore: noon.Add(240 * time.Hour), AuthorizationID: "hold", AmountCents: 900})
			o.LiveOperations, o.LiveCents, hold.LiveOperationID, hold.RequestedCents = 1, 900, ptr("waiting"), 900
		}
		if p[1] > 0 {
			o.TotalAmountCents, o.TotalChangedAt = 1200, ptr(noon.Add([]time.Duration{0, -time.Second, -time.Hour}[p[1]]))
		}
		o.LiveOperations += p[3]
		if p[4] > 0 {
			holds = append(holds, hold)
		}
		policy := models.Policy{AutoCapture: true, CaptureTrigger: models.TriggerApproval, RefundDifference: p[6] == 1}
		if p[5] == 1 {
			policy.LastChanceSeconds = &day
		}
		r := models.ReviewOrder(o, ops, holds, policy, models.Tempo{}, noon, time.Minute)
		for _, ruling := range r.Rulings() {
			e := es.entry("ReviewOrder", ruling, qs)
			e.picked(p)
			e.reviewDoes()
		}
	})
}

// reviewDoes is what a sweep does about each thing that a review finds.
func (e *entry) reviewDoes() {
	effect, money, flag, next := "", "no", "", []string{models.ActNewAuthorization}
	switch e.Name {
	case "cancel_capture", "difference_returned":
		effect, money, next = "a refund is made", "**back**", nil
	case "refund_withheld":
		effect, next = "told, once", []string{models.ActAcknowledge, models.ActContactGateway}
	case "cancel_hold":
		effect, next = "a void is made", nil
	case "difference_shown":
		effect, flag, next = "flagged where it stands", models.FlagAboveTotal, []string{models.ActRefund, models.ActAcknowledge, models.ActContactGateway}
	case "hold_ends_soon":
		effect, next = "told, at 48 hours and at 24", []string{models.ActReauthorize, models.ActNewAuthorization}
	case "hold_expired":
		effect = "the hold is closed"
	case "hastened":
		effect, money, next = "its time is now", "**yes**", nil
	case "hold_is_free", "last_chance":
		effect, money, next = "a capture is made, if the policy wants it", "**yes**", nil
	}
	e.effects.add(effect)
	e.money.add(money)
	e.flags.add(flag)
	for _, a := range next {
		e.next.add(a)
	}
}

// compared tries every situation of Compare that the table tells apart.
func (es *entries) compared() {
	kinds := []models.MovementKind{
		models.MovedCaptured, models.MovedRefunded, models.MovedVoided, models.MovedTakenBack, models.MovedReinstated, models.MovedFailed, "no such kind",
	}
	qs := []*question{
		ask("line", "captured", "refunded", "voided or expired", "taken back", "reinstated", "a refund that came back", "something unknown"),
		ask("hold", "a hold of ours", "no hold of ours"), ask("closed", "the hold is open here", "the hold is closed here"),
		ask("name", "under a name in our book", "under a name of ours that the book lacks", "under a name that is not ours", "under no name"),
		ask("state", append([]string{"no row"}, texts(models.States)...)...),
		ask("capture", "its capture succeeded", "its capture is open", "its capture is claimed", "no capture"),
		ask("amount", "the same amount", "another amount or currency"),
		ask("when", "about when it was recorded", "long after it was recorded"),
	}
	states := append([]models.State{""}, models.States...)
	every(qs, func(p []int) {
		kind := models.Capture
		if p[0] == 1 || p[0] == 5 {
			kind = models.Refund
		}
		m := models.Movement{ID: "line", Kind: kinds[p[0]], Hold: "pi_1", AmountCents: 1500 - 100*int64(p[6]), CurrencyCode: "EUR", At: noon.Add(24 * time.Hour * time.Duration(p[7]))}
		hold := &models.Authorization{ID: "hold", GatewayTransactionID: "pi_1", AmountCents: 1500, CurrencyCode: "EUR", CaptureSequence: 1, RefundSequence: 1, VoidSequence: 1}
		if p[2] == 1 {
			hold.ClosedAt = &noon
		}
		if p[1] == 1 {
			hold = nil
		}
		m.Reference = []string{"ours", models.GatewayReference("stripe", "pi_1", kind, 2), "not ours", ""}[p[3]]
		ops := listedRow(kind, states[p[4]], p[5])
		c := models.Compare("stripe", m, hold, ops)
		if again := models.Again(c); again != c {
			e := es.entry("Compare", models.Ruling{Verdict: again.Verdict, Name: again.Name, Rule: again.Rule}, qs)
			e.picked(p)
			e.compareDoes(again)
		}
		e := es.entry("Compare", models.Ruling{Verdict: c.Verdict, Name: c.Name, Rule: c.Rule}, qs)
		e.picked(p)
		e.compareDoes(c)
	})
}

// listedRow is our book beside a line: a row in a state, and with a refund the
// capture that it returned.
func listedRow(kind models.Kind, state models.State, capture int) []models.Operation {
	row := func(id string, kind models.Kind, state models.State) models.Operation {
		o := models.Operation{
			ID: id, Kind: kind, State: state, Sequence: 1, GatewayReference: id, AmountCents: 1500, CurrencyCode: "EUR", FinishedAt: &noon, SentVersion: ptr(int64(1)),
		}
		if state == models.Succeeded || state == models.Reset || state == models.Reversed {
			o.ConfirmedCents = ptr(int64(1500))
		}
		return o
	}
	var ops []models.Operation
	if state != "" {
		ops = append(ops, row("ours", kind, state))
	}
	if kind == models.Refund && capture < 3 {
		ops = append(ops, row("its capture", models.Capture, []models.State{models.Succeeded, models.Unknown, models.Capturing}[capture]))
	}
	return ops
}

func (e *entry) compareDoes(c models.Comparison) {
	e.effects.add(map[models.CompareAction]string{
		models.CompareLook: "looked up at the gateway, then judged", models.CompareObserve: "judged as it stands",
		models.CompareAdopt: "a row is made if the gateway confirms our name, and looked up", models.CompareFlag: "flagged where it stands",
	}[c.Action])
	e.money.add("no")
	e.flags.add(c.Flag)
	switch {
	case !c.Verdict.CallsPerson() || c.Action == models.CompareLook || c.Action == models.CompareObserve:
	case c.Operation != nil && c.Flag != "":
		o := *c.Operation
		o.NeedsAttention = c.Flag
		for _, a := range models.NextActions(o) {
			e.next.add(a)
		}
	default:
		e.next.add(models.ActContactGateway)
	}
}
