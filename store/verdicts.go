package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/models"
)

// VerdictRow is one verdict as it was written. What verdicts from before a
// column was there do not say is filled in from their order and operation.
type VerdictRow struct {
	ID               string          `bun:"id" json:"id"`
	ReconciliationID *string         `bun:"reconciliation_id" json:"reconciliation_id,omitempty"`
	OperationID      *string         `bun:"operation_id" json:"operation_id,omitempty"`
	Kind             models.Kind     `bun:"kind" json:"kind,omitempty"`
	OrderID          *string         `bun:"order_id" json:"order_id,omitempty"`
	Verdict          models.Verdict  `bun:"verdict" json:"verdict"`
	Rule             string          `bun:"rule" json:"rule"`
	Action           string          `bun:"action" json:"action"`
	Outcome          string          `bun:"outcome" json:"outcome"`
	Actor            string          `bun:"actor" json:"actor"`
	Ours             json.RawMessage `bun:"ours,type:jsonb" json:"ours"`
	Theirs           json.RawMessage `bun:"theirs,type:jsonb" json:"theirs"`
	CreatedAt        time.Time       `bun:"created_at" json:"created_at"`
	Mode             models.Mode     `bun:"mode" json:"mode"`
	// Gateway is the account's slug; empty when it is not known.
	Gateway          string  `bun:"gateway" json:"gateway,omitempty"`
	PaymentGatewayID *string `bun:"payment_gateway_id" json:"payment_gateway_id,omitempty"`
	// AmountCents is what the verdict is about: the operation's amount, or the
	// gateway's where our book has none.
	AmountCents  *int64  `bun:"amount_cents" json:"amount_cents,omitempty"`
	CurrencyCode string  `bun:"currency_code" json:"currency_code,omitempty"`
	Finding      *string `bun:"finding" json:"finding,omitempty"`
	// Flag is why the operation waits for a person right now.
	Flag string `bun:"flag" json:"flag,omitempty"`
	// Open: it calls for a person, and nobody has applied or dismissed it.
	Open bool `bun:"open" json:"open"`
	Resolution
}

// Status is where a verdict stands: open, applied, dismissed, or "" for one that
// calls for nobody.
func (v VerdictRow) Status() VerdictStatus {
	if v.ResolvedAt != nil {
		return VerdictStatus(v.Resolved)
	}
	if v.Open {
		return VerdictOpen
	}
	return ""
}

// VerdictStatus is what became of a verdict.
type VerdictStatus string

// The statuses. Open is what the view open_verdicts lists.
const (
	VerdictOpen      VerdictStatus = "open"
	VerdictApplied   VerdictStatus = "applied"
	VerdictDismissed VerdictStatus = "dismissed"
)

// VerdictStatuses lists them.
var VerdictStatuses = []VerdictStatus{VerdictOpen, VerdictApplied, VerdictDismissed}

// VerdictFilter selects verdicts. Empty members select all.
type VerdictFilter struct {
	Mode             models.Mode
	ID               string
	OrderID          string
	OperationID      string
	ReconciliationID string
	// Verdicts are alternatives.
	Verdicts []models.Verdict
	// Gateway is an account's slug.
	Gateway string
	Status  VerdictStatus
	// After and From bound the time of writing from below, exclusive and
	// inclusive; Before and Until from above.
	After, From, Before, Until *time.Time
	// AtLeast and AtMost bound the amount in minor units, of whatever currency.
	AtLeast, AtMost *int64
	CurrencyCode    string
	Newest          bool
}

// CountLimit is how many verdicts are counted at most. A list that tells more
// than that has at least so many.
const CountLimit = 10_000

// What rows from before the column have instead. Scalar subqueries, since they
// are read for such rows alone, and no plan can begin with them.
const (
	verdictMode     = `(v.mode = ? OR v.mode IS NULL AND (SELECT r.mode FROM orders AS r WHERE r.id = v.order_id) = ?)`
	verdictGateway  = `COALESCE(v.payment_gateway_id, (SELECT o.payment_gateway_id FROM operations AS o WHERE o.id = v.operation_id))`
	verdictAmount   = `COALESCE(v.amount_cents, (SELECT o.amount_cents FROM operations AS o WHERE o.id = v.operation_id))`
	verdictCurrency = `COALESCE(v.currency_code, (SELECT o.currency_code FROM operations AS o WHERE o.id = v.operation_id))`
)

// arm is one part of a list of verdicts.
type arm struct {
	from string
	conditions
}

// arms are the parts of what a filter selects. All verdicts of a mode are two
// parts, each in the order of an index: those that name their mode, and those
// from before they did. So a mode with few costs as little as one with all.
func (f VerdictFilter) arms() []arm {
	one := arm{from: "verdicts AS v"}
	switch f.Status {
	case "":
		named, before := one, one
		named.add("v.mode = ?", f.Mode)
		before.add("v.mode IS NULL AND (SELECT r.mode FROM orders AS r WHERE r.id = v.order_id) = ?", f.Mode)
		f.narrow(&named.conditions)
		f.narrow(&before.conditions)
		return []arm{named, before}
	case VerdictOpen:
		one.from = "open_verdicts AS w JOIN verdicts AS v ON v.id = w.verdict_id"
	case VerdictApplied, VerdictDismissed:
		one.from = "resolutions AS x JOIN verdicts AS v ON v.id = x.verdict_id"
		one.add("x.action = ?", f.Status)
	default:
		one.add("false")
	}
	one.add(verdictMode, f.Mode, f.Mode)
	f.narrow(&one.conditions)
	return []arm{one}
}

// narrow adds what is asked for beside mode and status.
func (f VerdictFilter) narrow(c *conditions) {
	c.id("v.id", f.ID)
	c.id("v.order_id", f.OrderID)
	c.id("v.operation_id", f.OperationID)
	c.id("v.reconciliation_id", f.ReconciliationID)
	if len(f.Verdicts) > 0 {
		c.add("v.verdict = ANY (?)", pgdialect.Array(f.Verdicts))
	}
	if f.Gateway != "" {
		c.add(verdictGateway+" = (SELECT g.id FROM payment_gateways AS g WHERE g.slug = ?)", f.Gateway)
	}
	for _, bound := range []struct {
		condition string
		at        *time.Time
	}{{"v.created_at > ?", f.After}, {"v.created_at >= ?", f.From}, {"v.created_at < ?", f.Before}, {"v.created_at <= ?", f.Until}} {
		if bound.at != nil {
			c.add(bound.condition, *bound.at)
		}
	}
	if f.AtLeast != nil {
		c.add(verdictAmount+" >= ?", *f.AtLeast)
	}
	if f.AtMost != nil {
		c.add(verdictAmount+" <= ?", *f.AtMost)
	}
	c.word(verdictCurrency, f.CurrencyCode)
}

// union joins arms into one statement, columns of the first limit of each.
func union(arms []arm, columns, order string, limit int) (sql string, args []any) {
	parts := make([]string, len(arms))
	for i, a := range arms {
		parts[i] = "(SELECT " + columns + " FROM " + a.from + a.where() + order + " LIMIT ?)"
		args = append(append(args, a.args...), limit)
	}
	return strings.Join(parts, " UNION ALL "), args
}

// verdictColumns are a [VerdictRow] of a few verdicts, picked before. They say
// of each whether the view open_verdicts has it, which cannot be joined
// without reading all of it; a test compares the two.
var verdictColumns = `v.id, v.reconciliation_id, v.operation_id, v.kind, v.order_id, v.verdict, v.rule, v.action, v.outcome, v.actor, v.ours, v.theirs,
		v.created_at, v.finding, COALESCE(v.mode, r.mode) AS mode, g.slug AS gateway, g.id AS payment_gateway_id,
		COALESCE(v.amount_cents, o.amount_cents) AS amount_cents, COALESCE(v.currency_code, o.currency_code) AS currency_code,
		COALESCE(o.needs_attention, '') AS flag, ` + verdictOpen + ` AS open,
		COALESCE(x.action, '') AS resolved, COALESCE(x.actor, '') AS resolved_by, COALESCE(x.reason, '') AS reason,
		COALESCE(x.outcome, '') AS resolution_outcome, x.created_at AS resolved_at`

const verdictJoins = ` LEFT JOIN orders AS r ON r.id = v.order_id LEFT JOIN operations AS o ON o.id = v.operation_id
		LEFT JOIN payment_gateways AS g ON g.id = COALESCE(v.payment_gateway_id, o.payment_gateway_id)
		LEFT JOIN resolutions AS x ON x.verdict_id = v.id`

var (
	callsPerson = func() string {
		var words []string
		for _, v := range models.Verdicts {
			if v.CallsPerson() {
				words = append(words, "'"+string(v)+"'")
			}
		}
		return "(" + strings.Join(words, ", ") + ")"
	}()
	verdictOpen = `(x.verdict_id IS NULL AND (v.finding IS NOT NULL AND v.verdict IN ` + callsPerson + `
			OR o.needs_attention IS NOT NULL AND v.id = (SELECT n.id FROM verdicts AS n WHERE n.operation_id = v.operation_id AND n.verdict IN ` + callsPerson + `
				ORDER BY n.created_at DESC, n.id DESC LIMIT 1)
			OR v.operation_id IS NULL AND EXISTS (SELECT 1 FROM order_checks AS k WHERE k.order_id = v.order_id AND k.deadline IS NOT NULL)
				AND v.id = (SELECT n.id FROM verdicts AS n WHERE n.order_id = v.order_id AND n.verdict = 'expiring' AND n.operation_id IS NULL
				ORDER BY n.created_at DESC, n.id DESC LIMIT 1)))`
)

// FindVerdicts lists the verdicts of a mode, and how many there are: exactly up
// to [CountLimit], and CountLimit+1 for more.
func (s *Store) FindVerdicts(ctx context.Context, f VerdictFilter, p Page) ([]VerdictRow, int, error) {
	arms := f.arms()
	var total int
	sql, args := union(arms, "1", "", CountLimit+1)
	if err := s.query(ctx, nil, &total, `SELECT count(*) FROM (`+sql+`) AS n`, args...); err != nil {
		return nil, 0, fmt.Errorf("count verdicts: %w", err)
	}
	rows, err := s.verdicts(ctx, arms, f.Newest, p)
	return rows, min(total, CountLimit+1), err
}

// verdicts reads one page. The rows are picked first, so that what is joined to
// them is read for one page and not for all.
func (s *Store) verdicts(ctx context.Context, arms []arm, newest bool, p Page) ([]VerdictRow, error) {
	limit, offset := p.limit()
	d := direction(newest)
	order := " ORDER BY v.created_at " + d + ", v.id " + d
	sql, args := union(arms, "v.*", order, limit+offset)
	var rows []VerdictRow
	err := s.query(ctx, nil, &rows, `WITH v AS MATERIALIZED (SELECT v.* FROM (`+sql+`) AS v`+order+` LIMIT ? OFFSET ?)
		SELECT `+verdictColumns+` FROM v`+verdictJoins+order, append(args, limit, offset)...)
	if err != nil {
		return nil, fmt.Errorf("list verdicts: %w", err)
	}
	return rows, nil
}

// Verdict reads one verdict of a mode.
func (s *Store) Verdict(ctx context.Context, mode models.Mode, id string) (VerdictRow, error) {
	rows, err := s.verdicts(ctx, VerdictFilter{Mode: mode, ID: id}.arms(), true, Page{Size: 1})
	if err == nil && (id == "" || len(rows) == 0) {
		err = fmt.Errorf("verdict %q: %w", id, ErrNotFound)
	}
	if err != nil {
		return VerdictRow{}, err
	}
	return rows[0], nil
}
