package commercelayer

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Inspect is worker.Runner.Inspect: it asks the gateway about an operation and
// says what a claim would make of the answer now. Nothing is written.
type Inspect func(ctx context.Context, mode models.Mode, kind models.Kind, id string) (models.Evidence, models.Decision, error)

const (
	// maxInspected is how many captures one request may ask about.
	maxInspected = 100
	// inspectedAtOnce bounds the calls that one request has under way.
	inspectedAtOnce = 8
	// inspectWithin is how long a request asks before it answers for the rest that
	// they were not asked. It leaves the request time to be answered.
	inspectWithin = 20 * time.Second
)

// discrepancy is one capture in both books.
type discrepancy struct {
	Type       string                 `json:"type"`
	ID         string                 `json:"id"`
	Links      *links                 `json:"links,omitempty"`
	Attributes *discrepancyAttributes `json:"attributes,omitempty"`
	Errors     []api.ErrorObject      `json:"errors,omitempty"`
	Meta       resourceMeta           `json:"meta"`
}

type discrepancyAttributes struct {
	Ours   ourSide    `json:"ours"`
	Theirs *theirSide `json:"theirs"` // null when the gateway was not asked
	// Verdict, Rule and NextActions are null and empty when nothing is known.
	Verdict     *string  `json:"verdict"`
	Rule        *string  `json:"rule"`
	NextActions []string `json:"next_actions"`
}

type ourSide struct {
	State                string  `json:"state"`
	AmountCents          int64   `json:"amount_cents"`
	ConfirmedAmountCents *int64  `json:"confirmed_amount_cents"`
	CurrencyCode         string  `json:"currency_code"`
	GatewayReference     string  `json:"gateway_reference"`
	GatewayTransactionID *string `json:"gateway_transaction_id"`
	NeedsAttention       *string `json:"needs_attention"`
}

type theirSide struct {
	Outcome              string  `json:"outcome"`
	AmountCents          *int64  `json:"amount_cents"`
	CurrencyCode         *string `json:"currency_code"`
	GatewayTransactionID *string `json:"gateway_transaction_id"`
	Message              *string `json:"message"`
	ErrorCode            *string `json:"error_code"`
}

// discrepancies answers POST /api/discrepancies: for each capture what our book
// and the gateway's say, and what that would lead to. Nothing is done about it
// and nothing is written. One that cannot be compared has its reason and stands
// in nobody's way.
func (c *call) discrepancies() error {
	t := c.api.captureType
	document, _, err := c.document(&resourceType{name: t.name})
	if err != nil {
		return err
	}
	ids, err := identifiers(document, t.name, maxInspected)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context(), inspectWithin)
	defer cancel()
	answer := struct {
		Data []discrepancy  `json:"data"`
		Meta map[string]int `json:"meta"`
	}{Data: make([]discrepancy, len(ids))}
	var asking sync.WaitGroup
	turns := make(chan struct{}, inspectedAtOnce)
	for i, id := range ids {
		asking.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			answer.Data[i] = c.discrepancy(ctx, i, id)
		})
	}
	asking.Wait()
	if err := c.Context().Err(); err != nil {
		return err
	}
	answer.Meta = counted(answer.Data)
	api.WriteJSON(c.w, http.StatusOK, api.MediaType, answer)
	return nil
}

func counted(all []discrepancy) map[string]int {
	counts := map[string]int{"in_sync": 0, "differ": 0, "not_compared": 0}
	for _, d := range all {
		switch {
		case d.Attributes == nil || d.Attributes.Verdict == nil:
			counts["not_compared"]++
		case *d.Attributes.Verdict == string(models.InSync):
			counts["in_sync"]++
		default:
			counts["differ"]++
		}
	}
	return counts
}

func (c *call) discrepancy(ctx context.Context, i int, id string) discrepancy {
	d := discrepancy{Type: "discrepancies", ID: cut(id), Meta: resourceMeta{Mode: c.who.Mode}}
	fail := func(err error) discrepancy {
		if ctx.Err() != nil {
			err = &api.Problem{Status: http.StatusGatewayTimeout, Code: "NOT_ASKED", Title: "Not asked", Detail: "the gateway was not asked, or did not answer, within the time of one request; ask for fewer at once"}
		}
		problems := api.Problems(err)
		for _, p := range problems {
			p.Pointer = "/data/" + strconv.Itoa(i)
		}
		d.Errors = api.ErrorObjects(problems)
		return d
	}
	op, err := c.api.store.Operation(ctx, c.who.Mode, models.Capture, id)
	if err != nil {
		return fail(err)
	}
	next, err := c.nextActions([]models.Operation{op})
	if err != nil {
		return fail(err)
	}
	d.ID, d.Links = op.ID, &links{Related: c.base + "/api/" + c.api.captureType.name + "/" + op.ID}
	d.Attributes = &discrepancyAttributes{NextActions: append([]string{}, next[op.ID]...), Ours: ourSide{
		State: string(op.State), AmountCents: op.AmountCents, ConfirmedAmountCents: op.ConfirmedCents, CurrencyCode: op.CurrencyCode,
		GatewayReference: op.GatewayReference, GatewayTransactionID: orNull(op.GatewayTransactionID), NeedsAttention: orNull(op.NeedsAttention),
	}}
	if ctx.Err() != nil {
		return fail(ctx.Err())
	}
	if c.api.inspect == nil {
		return fail(&store.Refusal{Rule: "gateway_not_configured", Detail: "no gateway is configured in this process"})
	}
	ev, decision, err := c.api.inspect(ctx, c.who.Mode, models.Capture, op.ID)
	if err != nil {
		return fail(err)
	}
	d.Attributes.Theirs = &theirSide{
		Outcome: ev.Outcome.String(), CurrencyCode: orNull(ev.CurrencyCode), GatewayTransactionID: orNull(ev.GatewayTransactionID),
		Message: orNull(ev.Message), ErrorCode: orNull(ev.ErrorCode),
	}
	if ev.CurrencyCode != "" {
		d.Attributes.Theirs.AmountCents = &ev.AmountCents
	}
	if ev.Outcome == models.OutcomeNotSent || ev.Outcome == models.OutcomeLost {
		return fail(unanswered(ev))
	}
	d.Attributes.Verdict, d.Attributes.Rule = orNull(string(decision.Verdict)), orNull(decision.Rule)
	return d
}

// unanswered says why a gateway's answer compares with nothing.
func unanswered(ev models.Evidence) error {
	why := ev.Message
	if why == "" {
		why = "no answer that says anything"
	}
	return &api.Problem{Status: http.StatusBadGateway, Code: "NO_ANSWER", Title: "No answer", Detail: "the gateway was asked and could not tell: " + why}
}
