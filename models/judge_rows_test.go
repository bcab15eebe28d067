package models_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/models"
)

// judged is the part of a decision that money depends on.
type judged struct {
	event, then models.Event
	send        bool
	flag        string
	clear       bool
	verdict     models.Verdict
	try         bool
	rotate      bool
}

// row is one sentence of the design. op and facts change a capture of 1,500 EUR
// that a claim holds, was sent once, and may be sent again.
type row struct {
	sentence string
	op       func(*models.Operation)
	ev       models.Evidence
	facts    func(*models.Facts)
	want     judged
}

func (r row) run(t *testing.T) {
	o := models.Operation{Kind: models.Capture, State: models.Capturing, AmountCents: 1500, CurrencyCode: "EUR", SentVersion: ptr(int64(2))}
	f := models.Facts{Now: noon, Fenced: true, MaySend: true, NoneConclusive: true, HoldLeftConfirmed: 1500, ReplaysErrors: true}
	if r.op != nil {
		r.op(&o)
	}
	if r.facts != nil {
		r.facts(&f)
	}
	d := models.Judge(o, r.ev, f)
	got := judged{d.Event, d.Then, d.Send, d.Flag, d.ClearFlag, d.Verdict, d.CountTry, d.RotateKey}
	if diff := cmp.Diff(r.want, got, cmp.AllowUnexported(judged{})); diff != "" {
		t.Errorf("%s (-want +got):\n%s", d.Rule, diff)
	}
}

func runRows(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.sentence, r.run)
	}
}

// said is evidence of an outcome with the right amount and currency.
func said(by models.Source, o models.Outcome) models.Evidence {
	return models.Evidence{Source: by, Outcome: o, AmountCents: 1500, CurrencyCode: "EUR", GatewayTransactionID: "tx_1"}
}

func with(ev models.Evidence, change func(*models.Evidence)) models.Evidence {
	change(&ev)
	return ev
}

func in(s models.State) func(*models.Operation) {
	return func(o *models.Operation) {
		o.State = s
		if s == models.Succeeded || s == models.Reset || s == models.Reversed {
			o.ConfirmedCents, o.GatewayTransactionID = ptr(int64(1500)), "tx_1"
		}
	}
}

func outside(f *models.Facts) { f.Fenced = false }

func TestAnswersInsideAClaim(t *testing.T) {
	runRows(t, []row{
		{"an answer that is proof succeeds", nil, said(models.FromAnswer, models.OutcomeConfirmed), nil,
			judged{event: models.Confirmed, clear: true, verdict: models.InSync}},
		{"a look-up that finds it is a forward", nil, said(models.FromLookUp, models.OutcomeConfirmed), nil,
			judged{event: models.Confirmed, clear: true, verdict: models.Forward}},
		{"a time-out is never a failure and never a success", nil, said(models.FromAnswer, models.OutcomeLost), nil,
			judged{event: models.Lost, verdict: models.Wait, try: true}},
		{"an answer that is not proof is unknown", nil, models.Evidence{Source: models.FromAnswer}, nil,
			judged{event: models.Lost, verdict: models.Wait, try: true}},
		{"a permanent refusal fails", nil, said(models.FromAnswer, models.OutcomeRefused), nil,
			judged{event: models.Refused, clear: true, verdict: models.Fail}},
		{"an asynchronous gateway tells later", nil, said(models.FromAnswer, models.OutcomeAccepted), nil,
			judged{event: models.Accepted, verdict: models.Wait}},
		{"what was not sent is no try", nil, said(models.FromAnswer, models.OutcomeNotSent), nil,
			judged{event: models.NotSent, verdict: models.Retry}},
		{"throttling is no try", nil, with(said(models.FromAnswer, models.OutcomeNotSent), func(e *models.Evidence) { e.Class = models.ClassThrottled }), nil,
			judged{event: models.NotSent, verdict: models.Retry}},
		{"a key in use is no try", nil, with(said(models.FromAnswer, models.OutcomeLost), func(e *models.Evidence) { e.Class = models.ClassInProgress }), nil,
			judged{event: models.Lost, verdict: models.Wait}},
		{"a look-up that did not leave says nothing about the send before", nil, said(models.FromLookUp, models.OutcomeNotSent), nil,
			judged{event: models.Lost, verdict: models.Wait}},
		{"an answer that nothing is there proves nothing", nil, said(models.FromAnswer, models.OutcomeNone), nil,
			judged{event: models.Lost, verdict: models.Wait, try: true}},
		{"our own bug is looked up, parked and never looped", nil,
			with(said(models.FromAnswer, models.OutcomeLost), func(e *models.Evidence) { e.Class = models.ClassBadRequest }), nil,
			judged{event: models.Lost, flag: models.FlagBadRequest, verdict: models.NeedsAttention, try: true}},
		{"a configuration error fails no capture", nil,
			with(said(models.FromAnswer, models.OutcomeNotSent), func(e *models.Evidence) { e.Class = models.ClassConfig }), nil,
			judged{event: models.NotSent, verdict: models.Retry}},
		{"a configuration error with working credentials parks the row", nil,
			with(said(models.FromAnswer, models.OutcomeNotSent), func(e *models.Evidence) { e.Class = models.ClassConfig }),
			func(f *models.Facts) { f.CredentialsWork = true },
			judged{event: models.NotSent, flag: models.FlagConfig, verdict: models.NeedsAttention}},
		{"sent too often without proof calls a person", func(o *models.Operation) { o.Tries = models.MaxTries - 1 }, said(models.FromAnswer, models.OutcomeLost), nil,
			judged{event: models.Lost, flag: models.FlagTries, verdict: models.NeedsAttention, try: true}},
		{"a claim that the row does not have moves nothing", in(models.Unknown), said(models.FromAnswer, models.OutcomeConfirmed), nil,
			judged{verdict: models.NeedsAttention}},
	})
}

func TestMoneyThatDoesNotFit(t *testing.T) {
	amount := func(cents int64) models.Evidence {
		return with(said(models.FromAnswer, models.OutcomeConfirmed), func(e *models.Evidence) { e.AmountCents = cents })
	}
	dollars := with(said(models.FromLookUp, models.OutcomeConfirmed), func(e *models.Evidence) { e.CurrencyCode = "USD" })
	foreign := with(said(models.FromLookUp, models.OutcomeConfirmed), func(e *models.Evidence) { e.Foreign = true })
	runRows(t, []row{
		{"a wrong amount succeeds as the gateway says, flagged", nil, amount(1400), nil,
			judged{event: models.Confirmed, flag: models.FlagAmount, verdict: models.AmountConflict}},
		{"more than the hold succeeds as the gateway says, flagged", nil, amount(1600), nil,
			judged{event: models.Confirmed, flag: models.FlagOverCaptured, verdict: models.AmountConflict}},
		{"a right amount beyond what the hold has left is flagged", nil, amount(1500), func(f *models.Facts) { f.HoldLeftConfirmed = 1000 },
			judged{event: models.Confirmed, flag: models.FlagOverCaptured, verdict: models.AmountConflict}},
		{"a wrong currency stays unknown, flagged", nil, dollars, nil,
			judged{event: models.Lost, flag: models.FlagCurrency, verdict: models.AmountConflict}},
		{"a hold taken under another reference stays unknown, flagged", nil, foreign, nil,
			judged{event: models.Lost, flag: models.FlagForeign, verdict: models.Duplicate}},
		{"a capture of nothing is no proof", nil, amount(0), nil,
			judged{event: models.Lost, flag: models.FlagAmount, verdict: models.AmountConflict}},
		{"a negative amount is no proof", nil, amount(-1500), nil,
			judged{event: models.Lost, flag: models.FlagAmount, verdict: models.AmountConflict}},
		{"a void that released nothing is done, flagged", func(o *models.Operation) { o.Kind = models.Void }, amount(0), nil,
			judged{event: models.Confirmed, flag: models.FlagAmount, verdict: models.AmountConflict}},
		{"a refund is not measured against the hold", func(o *models.Operation) { o.Kind = models.Refund }, amount(1500),
			func(f *models.Facts) { f.HoldLeftConfirmed = 0 },
			judged{event: models.Confirmed, clear: true, verdict: models.InSync}},
		{"a wrong currency from outside breaks no fence", nil, dollars, outside,
			judged{event: models.Flagged, flag: models.FlagCurrency, verdict: models.AmountConflict}},
		{"told again it is not flagged again", func(o *models.Operation) { o.NeedsAttention = models.FlagCurrency }, dollars, outside,
			judged{verdict: models.AmountConflict}},
		{"proof ends a flag", func(o *models.Operation) { o.NeedsAttention = models.FlagUnknown }, said(models.FromLookUp, models.OutcomeConfirmed), nil,
			judged{event: models.Confirmed, clear: true, verdict: models.Forward}},
	})
}

func TestDeclines(t *testing.T) {
	declined := said(models.FromAnswer, models.OutcomeDeclined)
	found := said(models.FromLookUp, models.OutcomeDeclined)
	accepted := found
	accepted.Answered = true
	runRows(t, []row{
		{"a soft decline waits for its schedule", nil, declined, nil,
			judged{event: models.NotSent, verdict: models.Retry, try: true}},
		{"the last decline fails", func(o *models.Operation) { o.Tries = 8 }, declined, nil,
			judged{event: models.Refused, verdict: models.Fail, try: true}},
		{"a decline on a hold that ended fails", nil, declined, func(f *models.Facts) { f.HoldEnded = true },
			judged{event: models.Refused, verdict: models.Fail, try: true}},
		{"a declined refund needs no hold", func(o *models.Operation) { o.Kind = models.Refund }, declined, func(f *models.Facts) { f.HoldEnded = true },
			judged{event: models.NotSent, verdict: models.Retry, try: true}},
		{"a new key only after a look-up says declined", func(o *models.Operation) { o.Replayed = true }, found, nil,
			judged{event: models.NotSent, rotate: true, verdict: models.Retry}},
		{"a look-up's decline is final however fresh it is", nil, found, func(f *models.Facts) { f.NoneConclusive = false },
			judged{send: true, verdict: models.Retry}},
		{"what was accepted and then declined waits like a declined answer", nil, accepted, nil,
			judged{event: models.NotSent, verdict: models.Retry, try: true}},
		{"and after its pause takes a new key", func(o *models.Operation) { o.Replayed = true }, accepted, nil,
			judged{event: models.NotSent, rotate: true, verdict: models.Retry}},
		{"the last one fails", func(o *models.Operation) { o.Tries = 8 }, accepted, nil,
			judged{event: models.Refused, verdict: models.Fail, try: true}},
		{"of a cancelled order it is withdrawn at once", nil, accepted, func(f *models.Facts) { f.Closing = true },
			judged{event: models.NotSent, then: models.Withdrawn, verdict: models.Cancel, clear: true}},
		{"a gateway that caches no errors keeps its key", func(o *models.Operation) { o.Replayed = true }, found, func(f *models.Facts) { f.ReplaysErrors = false },
			judged{send: true, verdict: models.Retry}},
	})
}

func TestNothingThere(t *testing.T) {
	none := said(models.FromLookUp, models.OutcomeNone)
	runRows(t, []row{
		{"conclusively nothing there: sent again in the same claim", nil, none, nil,
			judged{send: true, verdict: models.Retry}},
		{"not there yet: a call may still land", nil, none, func(f *models.Facts) { f.NoneConclusive = false },
			judged{event: models.Lost, verdict: models.Wait}},
		{"a conclusive none on a cancelled order is cancelled", nil, none, func(f *models.Facts) { f.Closing = true },
			judged{event: models.NotSent, then: models.Withdrawn, clear: true, verdict: models.Cancel}},
		{"a refund for a cancelled order is sent", func(o *models.Operation) { o.Kind = models.Refund }, none, func(f *models.Facts) { f.Closing, f.HoldEnded = true, true },
			judged{send: true, verdict: models.Retry}},
		{"nothing taken and the hold gone fails", nil, none, func(f *models.Facts) { f.HoldEnded = true },
			judged{event: models.Refused, clear: true, verdict: models.Fail}},
		{"a void of a hold that ended fails", func(o *models.Operation) { o.Kind = models.Void }, none, func(f *models.Facts) { f.HoldEnded = true },
			judged{event: models.Refused, clear: true, verdict: models.Fail}},
		{"too many tries wait for a person", func(o *models.Operation) { o.Tries = models.MaxTries }, none, nil,
			judged{event: models.NotSent, flag: models.FlagTries, verdict: models.NeedsAttention}},
		{"a key that only repeats its error is rotated", func(o *models.Operation) { o.Replayed = true }, none, nil,
			judged{event: models.NotSent, rotate: true, verdict: models.Retry}},
		{"a rotation settles the doubt, too", func(o *models.Operation) { o.Replayed, o.NeedsAttention = true, models.FlagUnknown }, none, nil,
			judged{event: models.NotSent, rotate: true, clear: true, verdict: models.Retry}},
		{"the doubt that was flagged is settled", func(o *models.Operation) { o.NeedsAttention = models.FlagUnknown }, none, func(f *models.Facts) { f.MaySend = false },
			judged{event: models.NotSent, clear: true, verdict: models.Retry}},
		{"a hint brings no delayed capture and no next try forward", func(o *models.Operation) { o.NotBefore = noon.Add(time.Hour) }, none, nil,
			judged{event: models.NotSent, verdict: models.Wait}},
		{"what is due is sent", func(o *models.Operation) { o.NotBefore = noon }, none, nil,
			judged{send: true, verdict: models.Retry}},
		{"another flag stops the send", func(o *models.Operation) { o.NeedsAttention = models.FlagBadRequest }, none, func(f *models.Facts) { f.MaySend = false },
			judged{event: models.NotSent, verdict: models.Wait}},
	})
}

func TestUnknownTooLong(t *testing.T) {
	since := func(ago time.Duration) func(*models.Operation) {
		return func(o *models.Operation) { o.UnknownSince = ptr(noon.Add(-ago)) }
	}
	looked := said(models.FromLookUp, models.OutcomeLost)
	runRows(t, []row{
		{"a quarter of an hour without proof calls a person", since(15 * time.Minute), looked, nil,
			judged{event: models.Lost, flag: models.FlagUnknown, verdict: models.NeedsAttention}},
		{"a second less does not", since(15*time.Minute - time.Second), looked, nil,
			judged{event: models.Lost, verdict: models.Wait}},
		{"another flag is not overwritten", func(o *models.Operation) { since(time.Hour)(o); o.NeedsAttention = models.FlagCurrency }, looked, nil,
			judged{event: models.Lost, verdict: models.Wait}},
		{"nor when the look did not leave", since(time.Hour), said(models.FromLookUp, models.OutcomeNotSent), nil,
			judged{event: models.Lost, flag: models.FlagUnknown, verdict: models.NeedsAttention}},
		{"nor when nothing is there yet", since(time.Hour), said(models.FromLookUp, models.OutcomeNone), func(f *models.Facts) { f.NoneConclusive = false },
			judged{event: models.Lost, flag: models.FlagUnknown, verdict: models.NeedsAttention}},
	})
}

func TestEvidenceFromOutside(t *testing.T) {
	hook := said(models.FromWebhook, models.OutcomeConfirmed)
	refused := said(models.FromWebhook, models.OutcomeRefused)
	second := with(hook, func(e *models.Evidence) { e.GatewayTransactionID = "tx_2" })
	less := with(hook, func(e *models.Evidence) { e.AmountCents = 1400 })
	dollars := with(hook, func(e *models.Evidence) { e.CurrencyCode = "USD" })
	late := judged{event: models.Confirmed, flag: models.FlagLateSuccess, verdict: models.LateSuccess}
	sync := judged{verdict: models.InSync}
	runRows(t, []row{
		{"proof succeeds while a call is under way", nil, hook, outside, judged{event: models.Confirmed, clear: true, verdict: models.InSync}},
		{"proof settles what was unknown", in(models.Unknown), hook, outside, judged{event: models.Confirmed, clear: true, verdict: models.InSync}},
		{"proof settles what was submitted", in(models.Submitted), hook, outside, judged{event: models.Confirmed, clear: true, verdict: models.InSync}},
		{"what was not sent is looked up, not believed", in(models.Pending), hook, outside, judged{event: models.Hinted, verdict: models.Wait}},
		{"the same again is in sync", in(models.Succeeded), hook, outside, sync},
		{"the same transaction of a reset row is in sync", in(models.Reset), hook, outside, sync},
		{"another transaction of a succeeded row is a duplicate", in(models.Succeeded), second, outside,
			judged{event: models.Flagged, flag: models.FlagDuplicate, verdict: models.Duplicate}},
		{"another transaction of a reset row is a duplicate", in(models.Reset), second, outside,
			judged{event: models.Flagged, flag: models.FlagDuplicate, verdict: models.Duplicate}},
		{"another amount afterwards calls a person", in(models.Succeeded), less, outside,
			judged{event: models.Flagged, flag: models.FlagAmount, verdict: models.AmountConflict}},
		{"another currency afterwards calls a person", in(models.Succeeded), dollars, outside,
			judged{event: models.Flagged, flag: models.FlagCurrency, verdict: models.AmountConflict}},
		{"a late success of a failed row is recorded and flagged", in(models.Failed), hook, outside, late},
		{"a late success of a cancelled row is recorded and flagged", in(models.Cancelled), hook, outside, late},
		{"a late success with another amount says so", in(models.Failed), less, outside,
			judged{event: models.Confirmed, flag: models.FlagAmount, verdict: models.LateSuccess}},
		{"a late success in another currency is not booked", in(models.Failed), dollars, outside,
			judged{event: models.Flagged, flag: models.FlagCurrency, verdict: models.AmountConflict}},
		{"a success told after the reversal is not believed", in(models.Reversed), hook, outside,
			judged{event: models.Flagged, flag: models.FlagReversed, verdict: models.NeedsAttention}},
		{"a look-up after the reversal is", in(models.Reversed), said(models.FromLookUp, models.OutcomeConfirmed), outside, late},
		{"less than was refunded before calls a person", func(o *models.Operation) { in(models.Reversed)(o); o.RefundRequestedCents = 1501 },
			said(models.FromLookUp, models.OutcomeConfirmed), outside, judged{event: models.Flagged, flag: models.FlagAmount, verdict: models.AmountConflict}},
		{"a refusal settles what was unknown", in(models.Unknown), refused, outside, judged{event: models.Refused, clear: true, verdict: models.Fail}},
		{"a refusal of what was not sent is looked up", in(models.Pending), refused, outside, judged{event: models.Hinted, verdict: models.Wait}},
		{"a refusal does not end a call under way", nil, refused, outside, judged{verdict: models.Wait}},
		{"a refusal after the success is ignored from a webhook", in(models.Succeeded), refused, outside, sync},
		{"and calls a person from a look-up", in(models.Succeeded), said(models.FromLookUp, models.OutcomeRefused), outside,
			judged{event: models.Flagged, flag: models.FlagNotBooked, verdict: models.NeedsAttention}},
		{"a refusal of what failed is nothing new", in(models.Failed), refused, outside, sync},
		{"a webhook without proof asks for a look", in(models.Unknown), said(models.FromWebhook, models.OutcomeAccepted), outside,
			judged{event: models.Hinted, verdict: models.Wait}},
		{"or waits for the claim that is under way", nil, said(models.FromWebhook, models.OutcomeAccepted), outside,
			judged{verdict: models.Wait}},
		{"a refund that failed after all calls a person", func(o *models.Operation) { in(models.Succeeded)(o); o.Kind = models.Refund }, refused, outside,
			judged{event: models.TakenBack, flag: models.FlagReversed, verdict: models.NeedsAttention}},
		{"of what has ended it asks nothing", in(models.Failed), said(models.FromWebhook, models.OutcomeAccepted), outside, sync},
		{"a lost answer that lost its fence proves nothing", in(models.Unknown), said(models.FromAnswer, models.OutcomeLost), outside, sync},
		{"a not-sent that lost its fence proves nothing", in(models.Unknown), said(models.FromAnswer, models.OutcomeNotSent), outside, sync},
	})
}

func TestTakenBack(t *testing.T) {
	hook, line, found := said(models.FromWebhook, models.OutcomeTakenBack), said(models.FromListing, models.OutcomeTakenBack), said(models.FromLookUp, models.OutcomeTakenBack)
	less := with(line, func(e *models.Evidence) { e.AmountCents = 500 })
	reversed := judged{event: models.TakenBack, flag: models.FlagReversed, verdict: models.NeedsAttention}
	look := judged{event: models.Hinted, verdict: models.Wait}
	calls := func(flag string, v models.Verdict) judged {
		return judged{event: models.Flagged, flag: flag, verdict: v}
	}
	refund := func(s models.State) func(*models.Operation) {
		return func(o *models.Operation) { in(s)(o); o.Kind = models.Refund }
	}
	took := func(cents, back int64) models.Evidence {
		return with(found, func(e *models.Evidence) { e.TookCents, e.AmountCents = cents, back })
	}
	both := judged{event: models.Confirmed, then: models.TakenBack, flag: models.FlagReversed, verdict: models.NeedsAttention}
	runRows(t, []row{
		{"a claim records both steps, too", nil, took(1500, 1500), nil, both},
		{"with what was taken, if that is another amount", nil, took(1400, 1400), nil, both},
		{"of a part only the first", nil, took(1500, 1400), nil, judged{event: models.Confirmed, flag: models.FlagPartlyReversed, verdict: models.AmountConflict}},
		{"and of somebody else's nothing", nil, with(took(1500, 1500), func(e *models.Evidence) { e.Foreign = true }), nil,
			judged{event: models.Lost, flag: models.FlagReversed, verdict: models.NeedsAttention}},
		{"a chargeback told by a webhook reverses the capture", in(models.Succeeded), hook, outside, reversed},
		{"or listed", in(models.Succeeded), line, outside, reversed},
		{"or found", in(models.Succeeded), found, outside, reversed},
		{"a refund that came back is reversed", refund(models.Succeeded), line, outside, reversed},
		{"a part of it only calls a person", in(models.Succeeded), less, outside, calls(models.FlagPartlyReversed, models.AmountConflict)},
		{"the part that was not refunded is all of it", func(o *models.Operation) { in(models.Succeeded)(o); o.RefundedCents = 1000 }, less, outside, reversed},
		{"a refund under way gave nothing back yet", func(o *models.Operation) { in(models.Succeeded)(o); o.RefundRequestedCents = 1000 }, less, outside,
			calls(models.FlagPartlyReversed, models.AmountConflict)},
		{"our own answer does not prove it", in(models.Succeeded), said(models.FromAnswer, models.OutcomeTakenBack), outside, calls(models.FlagReversed, models.NeedsAttention)},
		{"nor a person", in(models.Succeeded), said(models.FromOperator, models.OutcomeTakenBack), outside, calls(models.FlagReversed, models.NeedsAttention)},
		{"nor a message without an amount", in(models.Succeeded), with(hook, func(e *models.Evidence) { e.AmountCents = 0 }), outside, calls(models.FlagReversed, models.NeedsAttention)},
		{"nor a line without a transaction", in(models.Succeeded), with(line, func(e *models.Evidence) { e.GatewayTransactionID = "" }), outside,
			calls(models.FlagReversed, models.NeedsAttention)},
		{"another transaction is not ours", in(models.Succeeded), with(hook, func(e *models.Evidence) { e.GatewayTransactionID = "tx_2" }), outside,
			calls(models.FlagDuplicate, models.Duplicate)},
		{"another currency is not the same money", in(models.Succeeded), with(hook, func(e *models.Evidence) { e.CurrencyCode = "USD" }), outside,
			calls(models.FlagCurrency, models.AmountConflict)},
		{"after a cancel the money went out twice", in(models.Reset), hook, outside, calls(models.FlagReversed, models.NeedsAttention)},
		{"told again it is nothing new", in(models.Reversed), hook, outside, judged{verdict: models.InSync}},
		{"of what was given up it changes nothing", in(models.Failed), hook, outside, judged{verdict: models.InSync}},
		{"a look that finds it taken back calls a person", in(models.Failed), found, outside, calls(models.FlagReversed, models.NeedsAttention)},
		{"and records both steps when it says what was taken", in(models.Failed), took(1500, 1500), outside,
			judged{event: models.Confirmed, then: models.TakenBack, flag: models.FlagReversed, verdict: models.NeedsAttention}},
		{"of what was withdrawn, too", in(models.Cancelled), took(1500, 1600), outside,
			judged{event: models.Confirmed, then: models.TakenBack, flag: models.FlagReversed, verdict: models.NeedsAttention}},
		{"a part leaves the rest", in(models.Failed), took(1500, 1400), outside,
			judged{event: models.Confirmed, flag: models.FlagPartlyReversed, verdict: models.AmountConflict}},
		{"what was not sent is looked up", in(models.Pending), hook, outside, look},
		{"what is unknown is looked up", in(models.Unknown), line, outside, look},
		{"what is submitted is looked up", in(models.Submitted), found, outside, look},
		{"a claim learns it by itself", nil, hook, outside, judged{verdict: models.Wait}},
		{"inside a claim it is no success and no failure", nil, found, nil,
			judged{event: models.Lost, flag: models.FlagReversed, verdict: models.NeedsAttention}},
		{"a refund that came back before it was recorded has failed", func(o *models.Operation) { o.Kind = models.Refund }, found, nil,
			judged{event: models.Refused, clear: true, verdict: models.Fail}},
		{"a part of one has not", func(o *models.Operation) { o.Kind = models.Refund }, with(found, func(e *models.Evidence) { e.AmountCents = 500 }), nil,
			judged{event: models.Lost, flag: models.FlagReversed, verdict: models.NeedsAttention}},
		{"an answer of our own call that says so proves nothing", nil, said(models.FromAnswer, models.OutcomeTakenBack), nil,
			judged{event: models.Lost, verdict: models.Wait, try: true}},
	})
}

func TestListings(t *testing.T) {
	line := said(models.FromListing, models.OutcomeConfirmed)
	nameless := with(line, func(e *models.Evidence) { e.GatewayTransactionID = "" })
	foreign := with(line, func(e *models.Evidence) { e.Foreign = true })
	adopted := func(o *models.Operation) { o.Cause = models.CauseAdopted }
	runRows(t, []row{
		{"a line settles what was unknown", in(models.Unknown), line, outside, judged{event: models.Confirmed, clear: true, verdict: models.Forward}},
		{"a line without a transaction asks for a look", in(models.Unknown), nameless, outside, judged{event: models.Hinted, verdict: models.Wait}},
		{"unless a claim looks anyway", nil, nameless, outside, judged{verdict: models.Wait}},
		{"it brings back nothing that was given up", in(models.Failed), nameless, outside,
			judged{event: models.Flagged, flag: models.FlagLateSuccess, verdict: models.NeedsAttention}},
		{"a whole line does", in(models.Failed), line, outside, judged{event: models.Confirmed, flag: models.FlagLateSuccess, verdict: models.LateSuccess}},
		{"a chargeback that was won stands again", in(models.Reversed), line, outside, judged{event: models.Confirmed, flag: models.FlagLateSuccess, verdict: models.LateSuccess}},
		{"a part of it calls a person", in(models.Reversed), with(line, func(e *models.Evidence) { e.AmountCents = 500 }), outside,
			judged{event: models.Flagged, flag: models.FlagAmount, verdict: models.AmountConflict}},
		{"another transaction is no reinstatement", in(models.Reversed), with(line, func(e *models.Evidence) { e.GatewayTransactionID = "tx_2" }), outside,
			judged{event: models.Flagged, flag: models.FlagDuplicate, verdict: models.Duplicate}},
		{"what is not in a list is not proven absent", nil, said(models.FromListing, models.OutcomeNone), nil, judged{event: models.Lost, verdict: models.Wait}},
		{"a decline in a list allows no send", nil, said(models.FromListing, models.OutcomeDeclined), nil, judged{event: models.Lost, verdict: models.Wait}},
		{"a refusal in a list asks for a look", in(models.Unknown), said(models.FromListing, models.OutcomeRefused), outside, judged{event: models.Hinted, verdict: models.Wait}},
		{"another reference is not ours", nil, foreign, nil, judged{event: models.Lost, flag: models.FlagForeign, verdict: models.Duplicate}},
		{"but what was adopted has another by nature", adopted, foreign, nil, judged{event: models.Confirmed, clear: true, verdict: models.Forward}},
		{"which a look-up alone does not prove", adopted, with(foreign, func(e *models.Evidence) { e.Source = models.FromLookUp }), nil,
			judged{event: models.Lost, flag: models.FlagForeign, verdict: models.Duplicate}},
		{"what was adopted and is not there is never sent", adopted, said(models.FromLookUp, models.OutcomeNone), nil,
			judged{event: models.NotSent, then: models.Withdrawn, flag: models.FlagNotThere, verdict: models.NeedsAttention}},
	})
}

func TestRecordedAndNotBooked(t *testing.T) {
	none := said(models.FromLookUp, models.OutcomeNone)
	flagged := judged{event: models.Flagged, flag: models.FlagNotBooked, verdict: models.NeedsAttention}
	inconclusive := func(f *models.Facts) { f.Fenced, f.NoneConclusive = false, false }
	sync := judged{verdict: models.InSync}
	runRows(t, []row{
		{"a success that a conclusive look does not find calls a person", in(models.Succeeded), none, outside, flagged},
		{"a refund's, too", func(o *models.Operation) { in(models.Succeeded)(o); o.Kind = models.Refund }, none, outside, flagged},
		{"once", func(o *models.Operation) { in(models.Succeeded)(o); o.NeedsAttention = models.FlagNotBooked }, none, outside, judged{verdict: models.NeedsAttention}},
		{"not from a look that proves nothing", in(models.Succeeded), none, inconclusive, sync},
		{"not from a list", in(models.Succeeded), said(models.FromListing, models.OutcomeNone), outside, sync},
		{"not of what is there under another reference", func(o *models.Operation) { in(models.Succeeded)(o); o.Cause = models.CauseAdopted }, none, outside, sync},
		{"nor of what was given back", in(models.Reset), none, outside, sync},
	})
}

func TestUnresolved(t *testing.T) {
	const month = 30 * 24 * time.Hour
	open := func(ago time.Duration, flag string) func(*models.Operation) {
		return func(o *models.Operation) { o.UnknownSince, o.NeedsAttention = ptr(noon.Add(-ago)), flag }
	}
	looked := said(models.FromLookUp, models.OutcomeLost)
	stronger := judged{event: models.Lost, flag: models.FlagUnresolved, verdict: models.NeedsAttention}
	runRows(t, []row{
		{"after thirty days a person is called again", open(month, models.FlagUnknown), looked, nil, stronger},
		{"also one who was never called", open(month, ""), looked, nil, stronger},
		{"a second before that not yet", open(month-time.Second, models.FlagUnknown), looked, nil, judged{event: models.Lost, verdict: models.Wait}},
		{"once", open(2*month, models.FlagUnresolved), looked, nil, judged{event: models.Lost, verdict: models.Wait}},
		{"another flag stays", open(month, models.FlagCurrency), looked, nil, judged{event: models.Lost, verdict: models.Wait}},
		{"what a gateway never decides is flagged, too", func(o *models.Operation) { o.LookUps, o.LastSentAt = 6, ptr(noon.Add(-month)) }, said(models.FromLookUp, models.OutcomeAccepted), nil,
			judged{event: models.Accepted, flag: models.FlagUnresolved, verdict: models.NeedsAttention}},
		{"a conclusive none settles even that", open(month, models.FlagUnresolved), said(models.FromLookUp, models.OutcomeNone), func(f *models.Facts) { f.MaySend = false },
			judged{event: models.NotSent, clear: true, verdict: models.Retry}},
		{"and proof ends it", open(month, models.FlagUnresolved), said(models.FromLookUp, models.OutcomeConfirmed), nil,
			judged{event: models.Confirmed, clear: true, verdict: models.Forward}},
	})
}
