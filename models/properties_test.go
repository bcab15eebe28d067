package models_test

import (
	"slices"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// breaks names the rule that a decision breaks, or is empty.
func (s *situation) breaks(d *models.Decision) string {
	for _, rule := range rules {
		if broken := rule(s, d); broken != "" {
			return broken
		}
	}
	return ""
}

var rules = []func(*situation, *models.Decision) string{
	(*situation).legal, (*situation).sends, (*situation).succeeds, (*situation).stands, (*situation).fails, (*situation).unproven,
	(*situation).outside, (*situation).keys, (*situation).flags, (*situation).calls, (*situation).looks,
}

// absent: a look-up's conclusive "there is no such operation", or a final
// decline that it found.
func (s *situation) absent() bool {
	if !s.f.Fenced || s.o.State != models.Capturing || s.ev.Source != models.FromLookUp {
		return false
	}
	return s.ev.Outcome == models.OutcomeDeclined || s.ev.Outcome == models.OutcomeNone && s.f.NoneConclusive
}

// askedBySending: the gateway has no look-up, the claim has nothing proven yet,
// and the key makes a second arrival of the same call harmless.
func (s *situation) askedBySending() bool {
	return s.f.Fenced && s.o.State == models.Capturing && s.f.Repeats && s.f.KeyProtects
}

func (s *situation) needsHold() bool { return s.o.Kind != models.Refund }

// whole: a line of a list that is as good as a look-up.
func (s *situation) whole() bool { return s.ev.GatewayTransactionID != "" && s.ev.AmountCents > 0 }

// gateway: the gateway itself says so, whether asked or not.
func (s *situation) gateway() bool {
	return s.ev.Source == models.FromLookUp || s.ev.Source == models.FromWebhook || s.ev.Source == models.FromListing && s.whole()
}

func (s *situation) otherTransaction() bool {
	return s.o.GatewayTransactionID == "tx_1" && s.ev.GatewayTransactionID == "tx_2"
}

func (s *situation) legal(d *models.Decision) string {
	if d.Verdict == "" || d.Rule == "" || d.Name == "" {
		return "a decision without a verdict, a name or a rule explains nothing"
	}
	if d.Event == "" {
		if d.Then != "" {
			return "a second event without a first"
		}
		if s.f.Fenced && s.o.State == models.Capturing && !d.Send {
			return "a claim that neither ends nor sends"
		}
		return ""
	}
	if s.f.Fenced && s.o.State != models.Capturing {
		return "a claim moved a row that it cannot hold"
	}
	if s.f.Fenced && (d.Event.Annotates() || d.Then.Annotates()) {
		return "a claim must end, and an annotation does not end it"
	}
	to, err := s.o.State.Next(s.o.Kind, d.Event)
	if err != nil {
		return err.Error()
	}
	if d.Then != "" {
		if _, err := to.Next(s.o.Kind, d.Then); err != nil {
			return err.Error()
		}
	}
	return ""
}

func (s *situation) sends(d *models.Decision) string {
	switch {
	case !d.Send:
		return ""
	case d.Event != "" || d.RotateKey:
		return "sends and moves at once"
	case !s.absent() && !(s.askedBySending() && s.ev.Outcome == models.OutcomeUnasked && s.ev.Source == models.FromLookUp):
		return "sends without a conclusive none from a look-up inside a claim, and without a key that protects"
	case !s.absent() && (s.f.ByHand || s.o.GatewayTransactionID != ""):
		return "repeats what was accepted, or what a person does"
	case !s.f.MaySend:
		return "sends though something stands against it"
	case s.o.Kind == models.Capture && s.f.Closing:
		return "captures for a cancelled order"
	case s.o.Kind == models.Refund && s.f.CaptureGone:
		return "returns what the gateway took back"
	case s.needsHold() && s.f.HoldEnded:
		return "sends on a hold that has ended"
	case s.o.Tries >= models.MaxTries:
		return "sends too often"
	case s.o.NeedsAttention != "":
		return "sends what waits for a person"
	case s.o.NotBefore.After(s.f.Now):
		return "sends before its time"
	case s.f.ReplaysErrors && s.o.Replayed && s.absent():
		return "sends under a key that only repeats its error"
	case s.o.Cause == models.CauseAdopted:
		return "sends what happened without us"
	}
	return ""
}

func (s *situation) succeeds(d *models.Decision) string {
	adopted := s.o.Cause == models.CauseAdopted && s.ev.Source == models.FromListing
	if took := s.ev.TookCents; d.Event == models.Confirmed && s.ev.Outcome == models.OutcomeTakenBack {
		whole := s.ev.AmountCents >= took-s.o.RefundedCents && d.Then == models.TakenBack && d.Flag == models.FlagReversed
		part := s.ev.AmountCents < took-s.o.RefundedCents && d.Then == "" && d.Flag == models.FlagPartlyReversed
		if s.o.Kind != models.Capture || took <= 0 || s.ev.AmountCents <= 0 || s.ev.Source != models.FromLookUp || s.ev.Foreign || s.ev.CurrencyCode != s.o.CurrencyCode ||
			!whole && !part || s.o.State != models.Capturing && s.o.State != models.Failed && s.o.State != models.Cancelled {
			return "books what was taken back as if it stood"
		}
		return ""
	}
	switch {
	case d.Event != models.Confirmed:
		return ""
	case s.ev.Outcome != models.OutcomeConfirmed:
		return "succeeds without proof"
	case s.ev.CurrencyCode != s.o.CurrencyCode:
		return "books another currency"
	case s.ev.AmountCents < 0 || s.ev.AmountCents == 0 && s.o.Kind != models.Void:
		return "books no amount"
	case s.ev.Foreign && !(adopted && s.ev.GatewayTransactionID != ""):
		return "books somebody else's operation"
	case s.ev.Source == models.FromListing && !s.f.Fenced && !s.whole():
		return "believes a line that names no transaction or amount"
	case s.ev.AmountCents != s.o.AmountCents && d.Flag == "":
		return "books another amount without calling a person"
	case !s.o.State.Live() && d.Flag == "":
		return "changes its mind without calling a person"
	case s.o.State == models.Pending || s.o.State == models.Succeeded || s.o.State == models.Reset:
		return "books from " + string(s.o.State)
	case s.o.State == models.Reversed && (s.ev.Source == models.FromWebhook || s.ev.Source == models.FromAnswer || s.otherTransaction()):
		return "believes a late word after a reversal"
	case s.o.State == models.Reversed && s.ev.AmountCents < s.o.RefundRequestedCents:
		return "stands again with less than was refunded"
	}
	return ""
}

// stands: a success goes back only when the gateway proves that it took all of
// it back, and money that was given back stays given back.
func (s *situation) stands(d *models.Decision) string {
	if d.Event == "" || d.Event == models.Flagged {
		return ""
	}
	if s.o.State == models.Reset {
		return "moves what was given back"
	}
	if d.Event == models.TakenBack {
		left := int64(1500) - s.o.RefundedCents
		refused := s.ev.Outcome == models.OutcomeRefused && s.ev.Source == models.FromWebhook && s.o.Kind == models.Refund
		taken := s.ev.Outcome == models.OutcomeTakenBack && s.gateway() && s.o.Kind != models.Void && !s.otherTransaction() &&
			s.ev.CurrencyCode == s.o.CurrencyCode && s.ev.AmountCents >= left && s.ev.AmountCents > 0
		if s.o.State != models.Succeeded || d.Flag != models.FlagReversed || !taken && !refused {
			return "reverses without proof, in part, or silently"
		}
		return ""
	}
	if s.o.State == models.Succeeded {
		return "a success regresses"
	}
	return ""
}

func (s *situation) fails(d *models.Decision) string {
	if d.Event != models.Refused {
		return ""
	}
	ended := s.needsHold() && s.f.HoldEnded
	switch {
	case s.ev.Outcome == models.OutcomeRefused && (s.f.Fenced || s.ev.Source != models.FromListing):
		return ""
	case s.absent() && ended:
		return ""
	case s.f.Fenced && s.ev.Outcome == models.OutcomeDeclined && (!s.wasAsked() || s.news()) && (ended || s.o.Tries >= 8):
		return ""
	case s.f.Fenced && s.o.Kind == models.Refund && s.ev.Outcome == models.OutcomeTakenBack && s.wasAsked() && !s.ev.Foreign &&
		s.ev.AmountCents >= s.o.AmountCents && s.ev.CurrencyCode == s.o.CurrencyCode:
		return "" // the refund came back
	}
	return "fails without a final word"
}

// news: a look-up found that what was accepted has been declined since.
func (s *situation) news() bool {
	return s.ev.Source == models.FromLookUp && s.ev.Outcome == models.OutcomeDeclined && s.ev.Answered && !s.o.Replayed && s.f.ReplaysErrors
}

func (s *situation) wasAsked() bool {
	return s.ev.Source == models.FromLookUp || s.ev.Source == models.FromListing
}

// unproven: what proves nothing ends nothing, and only proof of no effect goes
// back to pending.
func (s *situation) unproven(d *models.Decision) string {
	if s.ev.Outcome == models.OutcomeLost && d.Event != "" && d.Event != models.Lost && d.Event != models.Hinted {
		return "a lost answer is neither a failure nor a success"
	}
	if d.Then == models.Withdrawn && !(s.absent() && (s.f.Closing && s.o.Kind == models.Capture || s.f.CaptureGone && s.o.Kind == models.Refund || s.o.Cause == models.CauseAdopted)) {
		return "withdraws what may have taken effect, or is wanted"
	}
	if d.Event != models.NotSent || s.absent() {
		return ""
	}
	if s.f.Fenced && !s.wasAsked() && (s.ev.Outcome == models.OutcomeNotSent || s.ev.Outcome == models.OutcomeDeclined) {
		return ""
	}
	return "back to pending without proof of no effect"
}

func (s *situation) outside(d *models.Decision) string {
	if s.f.Fenced {
		return ""
	}
	if d.Send || d.RotateKey || d.CountTry || d.CountLook || d.CountUnsent || d.Then != "" && !(d.Event == models.Confirmed && d.Then == models.TakenBack) {
		return "evidence from outside a claim acts as if it had one"
	}
	if s.ev.Source == models.FromOperator && s.o.State == models.Capturing && d.Event != "" {
		return "a person's word breaks a claim under way, which may be sending"
	}
	switch d.Event {
	case "", models.Flagged, models.Confirmed, models.TakenBack: // proof was checked above
	case models.Hinted:
		if !s.o.State.Live() || s.o.State == models.Capturing {
			return "a hint on what is claimed, or has ended"
		}
	case models.Refused:
		if s.o.State != models.Submitted && s.o.State != models.Unknown {
			return "a refusal from outside moves " + string(s.o.State)
		}
	default:
		return "evidence from outside a claim moves without proof"
	}
	return ""
}

func (s *situation) keys(d *models.Decision) string {
	if d.RotateKey && (!s.absent() || !s.f.ReplaysErrors || !s.o.Replayed || d.Event != models.NotSent || d.Replayed) {
		return "a new key without proof that the old one had no effect"
	}
	return ""
}

func (s *situation) flags(d *models.Decision) string {
	settled := d.Event == models.Confirmed || d.Event == models.Refused || s.absent() && d.Event == models.NotSent
	switch {
	case d.Flag != "" && d.ClearFlag:
		return "raises and clears a flag at once"
	case d.ClearFlag && !settled:
		return "clears a flag without proof"
	case d.Flag != "" && d.Event == "":
		return "a flag that no step carries"
	case d.Flag != "" && !slices.Contains(models.Flags, d.Flag):
		return "a flag that nobody knows"
	case d.Flag == models.FlagNotBooked && s.o.Manual():
		return "says that its gateway has not booked what a person did beside it"
	case d.Flag == models.FlagNotBooked && (s.ev.Source != models.FromLookUp || s.ev.Outcome != models.OutcomeRefused && !(s.ev.Outcome == models.OutcomeNone && s.f.NoneConclusive)):
		return "says not booked without proof"
	case d.Flag != "" && !d.Verdict.CallsPerson():
		return "a flag whose verdict calls nobody"
	case d.Verdict.CallsPerson() && d.Flag == "" && d.Event != "":
		return "a verdict that calls a person, and no flag"
	}
	return ""
}

// calls: what does not fit never passes in silence.
func (s *situation) calls(d *models.Decision) string {
	if d.Verdict.CallsPerson() || s.f.Fenced && s.ev.Source != models.FromLookUp && s.ev.Source != models.FromListing {
		return ""
	}
	known := s.o.State == models.Succeeded || s.o.State == models.Reset
	switch s.ev.Outcome {
	case models.OutcomeConfirmed:
		amount := s.ev.AmountCents != 0 && s.ev.AmountCents != s.o.AmountCents
		currency := s.ev.CurrencyCode != "" && s.ev.CurrencyCode != s.o.CurrencyCode
		looks := d.Verdict == models.Wait && s.o.State.Live() // it is looked at again before anything is believed
		if (amount || currency || known && s.otherTransaction()) && !looks {
			return "another amount, currency or transaction, and nobody is called"
		}
	case models.OutcomeTakenBack:
		if known {
			return "money was taken back, and nobody is called"
		}
		if s.f.Fenced && s.o.Kind != models.Refund {
			return "money was taken back unrecorded, and nobody is called"
		}
	case models.OutcomeNone:
		if s.o.State == models.Succeeded && s.ev.Source == models.FromLookUp && s.f.NoneConclusive && s.o.Cause != models.CauseAdopted && !s.o.Manual() {
			return "recorded here, not booked there, and nobody is called"
		}
	}
	return ""
}

// looks: what stays open is looked at again, never in a loop and never less
// than weekly, and a person knows of it in time.
func (s *situation) looks(d *models.Decision) string {
	if d.Event != models.Lost && d.Event != models.Accepted {
		return ""
	}
	flagged := d.Flag
	if flagged == "" {
		flagged = s.o.NeedsAttention
	}
	unknown := time.Duration(0)
	if s.o.UnknownSince != nil {
		unknown = s.f.Now.Sub(*s.o.UnknownSince)
	}
	switch {
	case d.Wait <= 0 || d.Wait > 7*24*time.Hour:
		return "a look without a pause is a loop, one that never comes is a loss"
	case d.Event == models.Lost && unknown >= 15*time.Minute && flagged == "" && !(s.askedBySending() && s.f.MaySend):
		return "a quarter of an hour without proof, and nobody is called"
	case unknown >= 30*24*time.Hour && (flagged == "" || flagged == models.FlagUnknown):
		return "thirty days without proof, and nobody is called again"
	}
	return ""
}
