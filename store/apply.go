package store

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/models"
)

// Move is one step of one operation, decided by [models.Judge] on the row as it
// is given in Op.
type Move struct {
	Op       models.Operation
	Decision models.Decision
	Evidence models.Evidence
	// Actor is who moves it: a worker's name, "sweep", "webhook:stripe", a person.
	Actor  string
	Reason string
	// Attempt is the version of the claim whose call this closes; 0 for none.
	Attempt int64
	// LogVerdict writes a verdict row. Action says what was done about it.
	LogVerdict       bool
	Action           string
	ReconciliationID string
	// Leaves: its task ends with its batch. What stays open is published anew,
	// as a task of its own.
	Leaves bool
	// LoweredTo, with the event lowered, is the new amount; OrderVersion and
	// OrderTotal are what the operation is adjusted to.
	LoweredTo    int64
	OrderVersion *int64
	OrderTotal   *int64
}

// moveRow is a Move as the statement reads it. What a confirmation needs stands
// in columns; the rest is empty most of the time, and costs nothing then.
type moveRow struct {
	ID, OrderID, AuthorizationID string
	Version                      int64
	Event                        models.Event
	From, To                     models.State
	WasLive, IsLive, Sent        bool
	Actor, Reason, Evidence      string
	Outcome                      string
	Reserved, Attempt            int64
	Amount                       *int64
	Currency                     string
	GatewayTransactionID         string
	RequestID                    string
	Status                       int64
	Rest                         moveRest
}

// moveRest is what few moves have. An empty member is left out.
type moveRest struct {
	CaptureID        *string        `json:"capture_id,omitempty"`
	Annotates        bool           `json:"annotates,omitempty"`
	Wait             int64          `json:"wait,omitempty"` // microseconds
	Defer            bool           `json:"defer,omitempty"`
	Rotate           bool           `json:"rotate,omitempty"`
	Replayed         bool           `json:"replayed,omitempty"`
	Try              int            `json:"try,omitempty"`
	Look             int            `json:"look,omitempty"`
	Unsent           int            `json:"unsent,omitempty"`
	UnsentProof      bool           `json:"unsent_proof,omitempty"`
	Flag             string         `json:"flag,omitempty"`
	ClearFlag        bool           `json:"clear_flag,omitempty"`
	Lowered          int64          `json:"lowered,omitempty"`
	OrderVersion     *int64         `json:"order_version,omitempty"`
	OrderTotal       *int64         `json:"order_total,omitempty"`
	Message          string         `json:"message,omitempty"`
	ErrorCode        string         `json:"error_code,omitempty"`
	ErrorDetail      string         `json:"error_detail,omitempty"`
	Token            string         `json:"token,omitempty"`
	AssertedBy       string         `json:"asserted_by,omitempty"`
	Mechanism        string         `json:"mechanism,omitempty"`
	Metadata         string         `json:"metadata,omitempty"` // a JSON object
	HoldClose        string         `json:"hold_close,omitempty"`
	Leaves           bool           `json:"leaves,omitempty"`
	Verdict          models.Verdict `json:"verdict,omitempty"`
	Rule             string         `json:"rule,omitempty"`
	Action           string         `json:"action,omitempty"`
	VerdictID        *string        `json:"verdict_id,omitempty"`
	ReconciliationID *string        `json:"reconciliation_id,omitempty"`
}

//go:embed apply.sql
var applySQL string

// applyParts are the places where the kinds differ.
type applyParts struct {
	room         string // what a late success may still reserve
	captureFacts string // what a refund must know of its capture,
	captureJoin  string // where that is
	captureLock  string // and its lock
	capturesDone string // what a refund does to its capture
}

var plainParts = applyParts{captureFacts: "NULL AS capture_state", capturesDone: "SELECT 1 WHERE false"}

var applyStatements = func() map[models.Kind]string {
	capture, void := plainParts, plainParts
	capture.room = "greatest(0, least(o.amount_cents, m.hold_cents - m.hold_requested))"
	void.room = "0"
	refund := applyParts{
		room:         "greatest(0, least(o.amount_cents, m.capture_confirmed - m.capture_refund_requested))",
		captureFacts: "c.state AS capture_state, COALESCE(c.confirmed_cents, 0) AS capture_confirmed, c.refund_requested_cents AS capture_refund_requested",
		captureJoin:  "JOIN captures AS c ON c.id = m.capture_id",
		captureLock:  ", c",
		capturesDone: `UPDATE captures AS c
    SET refund_requested_cents = c.refund_requested_cents + e.requested, refunded_cents = c.refunded_cents + e.confirmed, updated_at = now()
    FROM (SELECT capture_id, sum(refund_requested) AS requested, sum(confirmed) AS confirmed FROM effect GROUP BY capture_id) AS e
    WHERE c.id = e.capture_id AND (e.requested <> 0 OR e.confirmed <> 0)`,
	}
	statements := map[models.Kind]string{}
	for kind, p := range map[models.Kind]applyParts{models.Capture: capture, models.Refund: refund, models.Void: void} {
		statements[kind] = strings.NewReplacer("?table", tables[kind], "?room", p.room, "?capture_facts", p.captureFacts, "?capture_join", p.captureJoin,
			"?capture_lock", p.captureLock, "?captures_done", p.capturesDone).Replace(stripComments(applySQL))
	}
	return statements
}()

// Apply makes one move and returns the operation's new version, or ErrStale
// when the row is no longer as the move was decided on.
func (s *Store) Apply(ctx context.Context, m Move) (int64, error) {
	moved, err := s.ApplyAll(ctx, []Move{m})
	if err != nil {
		return 0, err
	}
	version, ok := moved[m.Op.ID]
	if !ok {
		return 0, fmt.Errorf("%s %s at version %d: %w", m.Op.Kind, m.Op.ID, m.Op.Version, ErrStale)
	}
	return version, nil
}

// ApplyAll makes moves of one kind, of different operations, in one commit, and
// returns the new version of each that matched. A move that is missing had lost
// its fence: nothing of it was written.
func (s *Store) ApplyAll(ctx context.Context, moves []Move) (map[string]int64, error) {
	return s.applyAll(ctx, s.patient, moves)
}

func (s *Store) applyAll(ctx context.Context, on *pinned, moves []Move) (map[string]int64, error) {
	if len(moves) == 0 {
		return nil, nil
	}
	plain := moves[0].Op.Kind == models.Capture && !slices.ContainsFunc(moves, func(m Move) bool { return m.Decision.Then != "" })
	var moved map[string]int64
	if plain { // one statement is its own transaction
		err := s.retry(ctx, func() (err error) {
			moved, err = s.applyBy(ctx, on.run, nil, moves)
			return err
		})
		return moved, err
	}
	err := s.InTx(ctx, func(ctx context.Context, tx Tx) (err error) {
		moved, err = s.apply(ctx, tx, moves)
		return err
	})
	return moved, err
}

// apply makes moves in a transaction.
func (s *Store) apply(ctx context.Context, tx Tx, moves []Move) (map[string]int64, error) {
	return s.applyBy(ctx, func(ctx context.Context, dest any, sql string, args lists) error {
		return s.query(ctx, tx, dest, sql, args.inline()...)
	}, tx, moves)
}

// running runs one statement, somewhere.
type running func(ctx context.Context, dest any, sql string, args lists) error

// applyBy is the one place that moves operations. tx, which run is within, may
// be nil only for moves of captures without a second event.
func (s *Store) applyBy(ctx context.Context, run running, tx Tx, moves []Move) (map[string]int64, error) {
	rows := make([]moveRow, 0, len(moves))
	for _, m := range moves {
		row, err := m.row(m.Decision.Event)
		if err != nil {
			return nil, fmt.Errorf("move %s %s: %w", m.Op.Kind, m.Op.ID, err)
		}
		rows = append(rows, row)
	}
	moved, err := s.applyRows(ctx, run, moves[0].Op.Kind, rows)
	if err != nil {
		return nil, err
	}
	for _, m := range moves {
		version, ok := moved[m.Op.ID]
		if !ok {
			continue
		}
		if moved[m.Op.ID], err = s.follow(ctx, tx, m, version); err != nil {
			return nil, err
		}
	}
	return moved, nil
}

// follow makes the second step of a move, in the same transaction: the event
// named in Then, and the reset of a capture whose cancel went through.
func (s *Store) follow(ctx context.Context, tx Tx, m Move, version int64) (int64, error) {
	if m.Decision.Then != "" {
		next := m
		to, err := m.Op.State.Next(m.Op.Kind, m.Decision.Event)
		if err != nil {
			return 0, err
		}
		next.Op.State, next.Op.Version = to, version
		next.Decision.Event, next.Decision.Then = m.Decision.Then, ""
		next.Attempt, next.LogVerdict = 0, false
		moved, err := s.apply(ctx, tx, []Move{next})
		if err != nil {
			return 0, err
		}
		version = moved[m.Op.ID]
	}
	if m.Op.Kind == models.Refund && m.Op.Cause == models.CauseCancel && m.Decision.Event == models.Confirmed {
		return version, s.reset(ctx, tx, m)
	}
	return version, nil
}

// reset ends a capture that a cancel gave back in full.
func (s *Store) reset(ctx context.Context, tx Tx, refund Move) error {
	capture, err := s.operation(ctx, tx, models.Capture, *refund.Op.CaptureID, " FOR UPDATE")
	if err != nil {
		return err
	}
	if capture.State != models.Succeeded || capture.RefundedCents < *capture.ConfirmedCents {
		return nil // the gateway gave back less: flagged on the refund, and the capture stands
	}
	_, err = s.apply(ctx, tx, []Move{{
		Op: capture, Decision: models.Decision{Event: models.Returned}, Actor: refund.Actor, Reason: "given back by " + refund.Op.Number,
	}})
	return err
}

func (s *Store) applyRows(ctx context.Context, run running, kind models.Kind, rows []moveRow) (map[string]int64, error) {
	slices.SortFunc(rows, func(a, b moveRow) int { return strings.Compare(a.ID, b.ID) })
	for i := 1; i < len(rows); i++ {
		if rows[i].ID == rows[i-1].ID {
			return nil, fmt.Errorf("record %d %ss: %s is among them twice; make its steps one after the other", len(rows), kind, rows[i].ID)
		}
	}
	lists, err := columnsOf(rows)
	if err != nil {
		return nil, fmt.Errorf("encode %d moves: %w", len(rows), err)
	}
	var done []struct {
		ID      string       `bun:"id"`
		Version int64        `bun:"version"`
		State   models.State `bun:"state"`
	}
	if err := run(ctx, &done, applyStatements[kind], lists); err != nil {
		return nil, fmt.Errorf("record %d %ss: %w", len(rows), kind, err)
	}
	moved := make(map[string]int64, len(done))
	for _, d := range done {
		moved[d.ID] = d.Version
	}
	for _, r := range rows {
		if version, ok := moved[r.ID]; ok {
			s.onMove(Moved{Kind: kind, ID: r.ID, Event: r.Event, State: r.To, Version: version, Actor: r.Actor, Reason: r.Reason, Verdict: r.kept()})
		}
	}
	return moved, nil
}

// kept is the verdict that is written beside the move, if one is.
func (r moveRow) kept() models.Verdict {
	return r.Rest.Verdict
}

// row turns a move into what the statement reads. It refuses an edge that the
// transition table does not have; the database would, too.
func (m Move) row(event models.Event) (moveRow, error) {
	to, err := m.Op.State.Next(m.Op.Kind, event)
	if err != nil {
		return moveRow{}, err
	}
	o, d, ev := m.Op, m.Decision, m.Evidence
	r := moveRow{
		ID: o.ID, Version: o.Version, OrderID: o.OrderID, AuthorizationID: o.AuthorizationID,
		Event: event, From: o.State, To: to, WasLive: o.State.Live(), IsLive: to.Live(),
		Actor: clean(m.Actor), Reason: clean(m.Reason), Outcome: ev.Outcome.String(), Reserved: o.ReservedCents, Attempt: m.Attempt,
		Sent:     ev.Outcome != models.OutcomeNotSent && ev.Source == models.FromAnswer,
		Currency: o.CurrencyCode, GatewayTransactionID: clean(ev.GatewayTransactionID), RequestID: clean(ev.RequestID), Status: int64(ev.Status),
		Rest: moveRest{
			CaptureID: o.CaptureID, Annotates: event.Annotates(), Wait: d.Wait.Microseconds(), Defer: d.Defer, Rotate: d.RotateKey, Replayed: d.Replayed,
			Try: count(d.CountTry), Look: count(d.CountLook), Unsent: count(d.CountUnsent),
			UnsentProof: ev.Outcome == models.OutcomeNotSent && ev.Source == models.FromAnswer,
			Flag:        d.Flag, ClearFlag: d.ClearFlag, OrderVersion: m.OrderVersion, OrderTotal: m.OrderTotal,
			Message: clean(ev.Message), ErrorCode: clean(ev.ErrorCode), ErrorDetail: clean(ev.ErrorDetail), Token: clean(ev.Token), Metadata: flat(ev.Metadata),
			Leaves: m.Leaves && to.Live(),
		},
	}
	if ev.Source == models.FromOperator {
		r.Rest.AssertedBy, r.Rest.Mechanism = clean(ev.By), ev.Mechanism
	}
	if ev.Source != "" {
		r.Evidence = string(cleanEvidence(ev).JSON())
	}
	if r.Reason == "" {
		r.Reason = clean(d.Rule)
	}
	switch event {
	case models.Confirmed:
		r.Amount, r.Currency = &ev.AmountCents, ev.CurrencyCode
		if ev.Outcome == models.OutcomeTakenBack { // what it took, before it went back
			r.Amount = &ev.TookCents
		}
	case models.Lowered:
		r.Amount, r.Rest.Lowered = &m.LoweredTo, o.AmountCents-m.LoweredTo
	case models.Refused:
		r.Rest.HoldClose = holdClose(o, ev, d)
		if r.Rest.HoldClose == models.ClosedExpired && r.Rest.ErrorCode == "" {
			r.Rest.ErrorCode = models.ErrorHoldEnded
		}
	}
	if m.LogVerdict {
		id := NewID()
		r.Rest.VerdictID, r.Rest.Verdict, r.Rest.Rule, r.Rest.Action = &id, d.Verdict, clean(d.Rule), m.Action
		if m.ReconciliationID != "" {
			r.Rest.ReconciliationID = &m.ReconciliationID
		}
	}
	return r, nil
}

// holdClose says whether a refusal ends the hold, and why.
func holdClose(o models.Operation, ev models.Evidence, d models.Decision) string {
	switch {
	case o.Kind == models.Refund:
		return ""
	case ev.HoldGone:
		return models.ClosedGone
	case ev.Outcome == models.OutcomeNone && d.Verdict == models.Fail:
		return models.ClosedExpired
	}
	return ""
}

// clean drops what Postgres cannot store in text: a gateway's words are hostile input.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "�"), "\x00", "")
}

// cleanEvidence cleans the words of evidence before they become JSON, where a
// NUL would be an escape that jsonb refuses.
func cleanEvidence(ev models.Evidence) models.Evidence {
	for _, s := range []*string{
		&ev.CurrencyCode, &ev.GatewayTransactionID, &ev.RequestID, &ev.Message, &ev.ErrorCode, &ev.ErrorDetail, &ev.Token, &ev.NextAction, &ev.By,
	} {
		*s = clean(*s)
	}
	ev.Metadata = flat(ev.Metadata)
	return ev
}

// maxMetadata bounds what a gateway has kept with an operation, in bytes.
const maxMetadata = 2 << 10

// flat reads a gateway's metadata, or what of it is words, numbers and truths. What
// could keep an outcome from being recorded is left out.
func flat(text string) string {
	if text == "" || len(text) > maxMetadata {
		return ""
	}
	var all, out = map[string]any{}, map[string]any{}
	if json.Unmarshal([]byte(text), &all) != nil {
		return ""
	}
	for name, v := range all {
		switch v := v.(type) {
		case string:
			out[clean(name)] = clean(v)
		case bool, float64:
			out[clean(name)] = v
		}
	}
	written, err := json.Marshal(out)
	if err != nil || len(out) == 0 {
		return ""
	}
	return string(written)
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Outcome is what a worker learned inside a claim.
type Outcome struct {
	Claim    Claim
	Evidence models.Evidence
	Decision models.Decision
	Worker   string
	// LogVerdict: the claim looked, so its comparison is kept.
	LogVerdict bool
}

// Move is the outcome as a step under the claim's fence.
func (o Outcome) Move() Move {
	return Move{
		Op: o.Claim.Operation, Decision: o.Decision, Evidence: o.Evidence, Actor: o.Worker, Attempt: o.Claim.Version,
		LogVerdict: o.LogVerdict, Action: string(o.Decision.Event), Leaves: o.Claim.InBatch,
	}
}

// Record writes what a claim learned. When the claim has lost its fence, the
// attempt is closed all the same and the evidence applied as if a stranger had
// brought it: proof is never dropped.
//
// If the process dies before this commits, the lease runs out and the next
// claim looks the operation up.
func (s *Store) Record(ctx context.Context, o Outcome) error {
	_, err := s.Apply(ctx, o.Move())
	if !errors.Is(err, ErrStale) {
		return err
	}
	return s.RecordFenced(ctx, o)
}

// RecordFenced closes the attempt of a claim that was overtaken, and applies
// its evidence from outside.
func (s *Store) RecordFenced(ctx context.Context, o Outcome) error {
	c, ev := o.Claim, o.Evidence
	_, err := s.exec(ctx, nil, `INSERT INTO attempt_results (operation_id, version, outcome, status, error_code, request_id, fenced)
		VALUES (?, ?, ?, ?, ?, ?, true) ON CONFLICT DO NOTHING`,
		c.ID, c.Version, ev.Outcome.String(), ev.Status, clean(ev.ErrorCode), clean(ev.RequestID))
	if err != nil {
		return fmt.Errorf("close attempt %d of %s %s: %w", c.Version, c.Kind, c.ID, err)
	}
	_, err = s.Observe(ctx, Observation{Kind: c.Kind, ID: c.ID, Evidence: ev, Actor: o.Worker})
	return err
}

// Release gives a claim back as not sent, after wait.
func (s *Store) Release(ctx context.Context, c Claim, worker, why string, wait time.Duration) error {
	return s.Record(ctx, c.released(worker, why, wait))
}

// released is the outcome of a claim that made no call.
func (c Claim) released(worker, why string, wait time.Duration) Outcome {
	ev := models.Evidence{Source: models.FromAnswer, Outcome: models.OutcomeNotSent, Message: why}
	d := models.Decision{Event: models.NotSent, Wait: wait, CountUnsent: true, Replayed: c.Replayed, Rule: why}
	if c.Look { // it may have been sent by an earlier claim: still unknown
		ev.Source = models.FromLookUp
		d.Event = models.Lost
	}
	return Outcome{Claim: c, Evidence: ev, Decision: d, Worker: worker}
}
