package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// Page is a part of a list: Number from 1, Size at most 100.
type Page struct {
	Number int
	Size   int
}

func (p Page) limit() (limit, offset int) {
	size := min(max(p.Size, 1), 100)
	return size, (max(p.Number, 1) - 1) * size
}

// Filter selects operations. Empty members select all.
type Filter struct {
	Mode            models.Mode
	ID              string
	OrderID         string
	AuthorizationID string
	CaptureID       string
	Reference       string
	State           models.State
	Succeeded       *bool
	NeedsAttention  *bool
	// Newest first, else oldest first.
	Newest bool
}

// where writes the conditions of a filter. Names come from here, values are
// arguments: nothing of a request is ever part of a statement.
func (f Filter) where() (string, []any) {
	conditions, args := []string{"o.mode = ?"}, []any{f.Mode}
	add := func(condition string, arg any) {
		conditions, args = append(conditions, condition), append(args, arg)
	}
	for column, id := range map[string]string{"id": f.ID, "order_id": f.OrderID, "authorization_id": f.AuthorizationID, "capture_id": f.CaptureID} {
		if id == "" {
			continue
		}
		if !ValidID(id) {
			return "false AND o.mode = ?", []any{f.Mode}
		}
		add("o."+column+" = ?", id)
	}
	if f.Reference != "" {
		add("o.reference = ?", f.Reference)
	}
	if f.State != "" {
		add("o.state = ?", f.State)
	}
	if f.Succeeded != nil {
		add("(o.state IN ('succeeded', 'reset')) = ?", *f.Succeeded)
	}
	if f.NeedsAttention != nil {
		add("(o.needs_attention IS NOT NULL) = ?", *f.NeedsAttention)
	}
	return strings.Join(conditions, " AND "), args
}

// Operations lists operations of a kind, and how many there are in all.
func (s *Store) Operations(ctx context.Context, kind models.Kind, f Filter, p Page) ([]models.Operation, int, error) {
	where, args := f.where()
	var total int
	if err := s.query(ctx, nil, &total, `SELECT count(*) FROM `+tables[kind]+` AS o WHERE `+where, args...); err != nil {
		return nil, 0, fmt.Errorf("count %ss: %w", kind, err)
	}
	limit, offset := p.limit()
	direction := "ASC"
	if f.Newest {
		direction = "DESC"
	}
	var ops []models.Operation
	err := s.query(ctx, nil, &ops, `SELECT `+s.columns(models.Operation{}, "o")+` FROM `+tables[kind]+` AS o WHERE `+where+
		` ORDER BY o.id `+direction+` LIMIT ? OFFSET ?`, append(args, limit, offset)...)
	if err != nil {
		return nil, 0, fmt.Errorf("list %ss: %w", kind, err)
	}
	return ops, total, nil
}

// Operation reads one operation of a mode.
func (s *Store) Operation(ctx context.Context, mode models.Mode, kind models.Kind, id string) (models.Operation, error) {
	if !ValidID(id) {
		return models.Operation{}, fmt.Errorf("%s %q: %w", kind, id, ErrNotFound)
	}
	op, err := s.operation(ctx, nil, kind, id, "")
	if err == nil && op.Mode != mode {
		return models.Operation{}, fmt.Errorf("%s %s: %w", kind, id, ErrNotFound)
	}
	return op, err
}

// Label changes what clients attach to an operation; it moves nothing. Nil
// members stay as they are.
func (s *Store) Label(ctx context.Context, kind models.Kind, id string, reference, origin *string, metadata json.RawMessage) error {
	return s.LabelIn(ctx, nil, kind, id, reference, origin, metadata)
}

// LabelIn is [Store.Label] inside the caller's transaction.
func (s *Store) LabelIn(ctx context.Context, tx Tx, kind models.Kind, id string, reference, origin *string, metadata json.RawMessage) error {
	var raw *string
	if metadata != nil {
		text := string(metadata)
		raw = &text
	}
	_, err := s.exec(ctx, tx, `UPDATE `+tables[kind]+` SET reference = COALESCE(?, reference), reference_origin = COALESCE(?, reference_origin),
		metadata = COALESCE(?::jsonb, metadata), updated_at = now() WHERE id = ?`, reference, origin, raw, id)
	if err != nil {
		return fmt.Errorf("label %s %s: %w", kind, id, err)
	}
	return nil
}

// Authorization reads one hold of a mode.
func (s *Store) Authorization(ctx context.Context, mode models.Mode, id string) (models.Authorization, error) {
	if !ValidID(id) {
		return models.Authorization{}, fmt.Errorf("authorization %q: %w", id, ErrNotFound)
	}
	a, err := s.hold(ctx, nil, id, "")
	if err == nil && a.Mode != mode {
		return models.Authorization{}, fmt.Errorf("authorization %s: %w", id, ErrNotFound)
	}
	return a, err
}

// Authorizations lists an order's holds, oldest first.
func (s *Store) Authorizations(ctx context.Context, orderID string) ([]models.Authorization, error) {
	if !ValidID(orderID) {
		return nil, fmt.Errorf("order %q: %w", orderID, ErrNotFound)
	}
	var as []models.Authorization
	err := s.query(ctx, nil, &as, `SELECT `+s.columns(models.Authorization{}, "a")+` FROM authorizations AS a WHERE a.order_id = ? ORDER BY a.id`, orderID)
	if err != nil {
		return nil, fmt.Errorf("list the authorizations of order %s: %w", orderID, err)
	}
	return as, nil
}

// GatewayByID reads one account.
func (s *Store) GatewayByID(ctx context.Context, id string) (models.PaymentGateway, error) {
	var g models.PaymentGateway
	err := s.one(ctx, nil, &g, "payment gateway "+id, `SELECT `+s.columns(g, "g")+` FROM payment_gateways AS g WHERE g.id = ?`, id)
	return g, err
}

// History returns an operation's steps, oldest first, claims included.
func (s *Store) History(ctx context.Context, id string) ([]models.HistoryRow, error) {
	var rows []models.HistoryRow
	err := s.query(ctx, nil, &rows, `SELECT operation_id, version, event, from_state, to_state, actor, reason, amount_cents, currency_code,
			gateway_transaction_id, evidence, occurred_at, hash FROM events WHERE operation_id = ?0
		UNION ALL
		SELECT operation_id, version, 'claimed', '', 'capturing', worker, CASE call WHEN 'send' THEN 'to send' ELSE 'to look up' END || ' under the key ' || idempotency_key, amount_cents, currency_code, '',
			jsonb_build_object('call', call, 'deadline', deadline), claimed_at, hash FROM attempts WHERE operation_id = ?0
		ORDER BY version`, id)
	if err != nil {
		return nil, fmt.Errorf("read the history of %s: %w", id, err)
	}
	return rows, nil
}

// Gauge is the open work of one kind, for metrics. Its cost follows open work.
type Gauge struct {
	Kind          models.Kind `bun:"kind"`
	Open          int64       `bun:"open"`
	Flagged       int64       `bun:"flagged"`
	OldestSeconds float64     `bun:"oldest"`
	Unpublished   int64       `bun:"unpublished"`
}

// Gauges measures open work. An operation that waits for its due time or for a
// person does not count as old.
func (s *Store) Gauges(ctx context.Context) (gauges []Gauge, inbox int64, err error) {
	err = s.query(ctx, nil, &gauges, `SELECT k.kind, COALESCE(w.open, 0) AS open, COALESCE(f.flagged, 0) AS flagged, COALESCE(w.oldest, 0) AS oldest,
			COALESCE(w.unpublished, 0) AS unpublished
		FROM (VALUES ('capture'), ('refund'), ('void')) AS k (kind)
		LEFT JOIN (SELECT w.kind, count(*) AS open, count(*) FILTER (WHERE w.published_at IS NULL) AS unpublished,
				extract(epoch FROM now() - min(o.created_at) FILTER (WHERE o.needs_attention IS NULL AND (w.due_at <= now() OR o.version > 1)))::float8 AS oldest
			FROM work AS w JOIN operations AS o ON o.kind = w.kind AND o.id = w.operation_id GROUP BY w.kind) AS w ON w.kind = k.kind
		LEFT JOIN (SELECT kind, count(*) AS flagged FROM operations WHERE needs_attention <> '`+models.FlagWord+`' GROUP BY kind) AS f ON f.kind = k.kind`)
	if err != nil {
		return nil, 0, fmt.Errorf("measure open work: %w", err)
	}
	if err := s.query(ctx, nil, &inbox, `SELECT count(*) FROM inbox WHERE processed_at IS NULL`); err != nil {
		return nil, 0, fmt.Errorf("measure the inbox: %w", err)
	}
	return gauges, inbox, nil
}

// Durability names every setting of the server that may lose a commit.
func (s *Store) Durability(ctx context.Context) ([]string, error) {
	var rows []struct {
		Name    string `bun:"name"`
		Setting string `bun:"setting"`
	}
	err := s.query(ctx, nil, &rows, `SELECT name, setting FROM pg_settings
		WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'`)
	if err != nil {
		return nil, fmt.Errorf("read the server's durability settings: %w", err)
	}
	var bad []string
	for _, r := range rows {
		bad = append(bad, r.Name+"="+r.Setting)
	}
	return bad, nil
}
