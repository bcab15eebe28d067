package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/capstan-pay/capstan/models"
)

// Unavailable reports whether err says that the database could not be asked, or
// did not answer in time: the same call may succeed later. Everything else is a
// fault of the program or of the data.
func Unavailable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "57014", "57P01", "57P02", "57P03", "53300", "53200", "25006", "40001", "40P01":
			return true
		}
		return strings.HasPrefix(pg.Code, "08")
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err)
}

// conditions collects the WHERE of a list. Names come from the program, values
// are arguments: nothing of a request is ever part of a statement.
type conditions struct {
	text []string
	args []any
}

func (c *conditions) add(condition string, args ...any) {
	c.text, c.args = append(c.text, condition), append(c.args, args...)
}

// id adds an id's condition; what has not the form of an id matches nothing.
func (c *conditions) id(column, id string) {
	switch {
	case id == "":
	case !ValidID(id):
		c.add("false")
	default:
		c.add(column+" = ?", id)
	}
}

// word adds the condition of a value that is compared as it is.
func (c *conditions) word(column, value string) {
	if value != "" {
		c.add(column+" = ?", value)
	}
}

func (c *conditions) where() string { return " WHERE " + strings.Join(c.text, " AND ") }

// page counts the rows of from under c, and reads one page of them into dest.
func (s *Store) page(ctx context.Context, dest any, what, columns, from string, c conditions, order string, p Page) (int, error) {
	var total int
	if err := s.query(ctx, nil, &total, `SELECT count(*) FROM `+from+c.where(), c.args...); err != nil {
		return 0, fmt.Errorf("count %s: %w", what, err)
	}
	limit, offset := p.limit()
	if err := s.query(ctx, nil, dest, `SELECT `+columns+` FROM `+from+c.where()+` ORDER BY `+order+` LIMIT ? OFFSET ?`, append(c.args, limit, offset)...); err != nil {
		return 0, fmt.Errorf("list %s: %w", what, err)
	}
	return total, nil
}

func direction(newest bool) string {
	if newest {
		return "DESC"
	}
	return "ASC"
}

// OrderFilter selects orders. Empty members select all.
type OrderFilter struct {
	Mode          models.Mode
	ID            string
	Reference     string
	Status        models.OrderStatus
	PaymentStatus models.PaymentStatus
	Newest        bool
}

// FindOrders lists orders, and how many there are in all.
func (s *Store) FindOrders(ctx context.Context, f OrderFilter, p Page) ([]models.Order, int, error) {
	var c conditions
	c.add("o.mode = ?", f.Mode)
	c.id("o.id", f.ID)
	c.word("o.reference", f.Reference)
	c.word("o.status", string(f.Status))
	c.word("o.payment_status", string(f.PaymentStatus))
	var orders []models.Order
	total, err := s.page(ctx, &orders, "orders", s.columns(models.Order{}, "o"), "orders AS o", c, "o.id "+direction(f.Newest), p)
	return orders, total, err
}

// OrdersByID reads several orders of a mode in one query.
func (s *Store) OrdersByID(ctx context.Context, mode models.Mode, ids []string) ([]models.Order, error) {
	var orders []models.Order
	err := s.query(ctx, nil, &orders, `SELECT `+s.columns(models.Order{}, "o")+` FROM orders AS o WHERE o.mode = ? AND o.id = ANY (?::uuid[])`, mode, pgdialect.Array(ids))
	if err != nil {
		return nil, fmt.Errorf("read %d orders: %w", len(ids), err)
	}
	return orders, nil
}

// CreateOrderIn is [Store.CreateOrder] inside the caller's transaction.
func (s *Store) CreateOrderIn(ctx context.Context, tx Tx, o models.Order) (order models.Order, made bool, err error) {
	if len(o.Metadata) == 0 {
		o.Metadata = []byte(`{}`)
	}
	var rows []models.Order
	err = s.query(ctx, tx, &rows, `INSERT INTO orders AS o (id, mode, payment_method_id, currency_code, total_amount_cents, status, fulfillment_status,
			capture_at, reference, reference_origin, metadata)
		VALUES (?, ?, ?, ?, ?, 'pending', 'unfulfilled', ?, ?, ?, ?)
		ON CONFLICT (mode, reference) WHERE reference IS NOT NULL DO NOTHING RETURNING `+s.columns(o, "o"),
		NewID(), o.Mode, o.PaymentMethodID, o.CurrencyCode, o.TotalAmountCents, o.CaptureAt, nullable(o.Reference), nullable(o.ReferenceOrigin), string(o.Metadata))
	if err != nil {
		return o, false, fmt.Errorf("create order %q: %w", o.Reference, err)
	}
	if len(rows) == 1 {
		return rows[0], true, nil
	}
	var there models.Order
	err = s.one(ctx, tx, &there, fmt.Sprintf("order %q", o.Reference), `SELECT `+s.columns(o, "o")+` FROM orders AS o WHERE o.mode = ? AND o.reference = ?`, o.Mode, o.Reference)
	if err != nil {
		return o, false, err
	}
	if there.TotalAmountCents != o.TotalAmountCents || there.CurrencyCode != o.CurrencyCode {
		return there, false, refuse("reference_taken", "reference", "an order %q of %d %s exists already; this one is of %d %s",
			o.Reference, there.TotalAmountCents, there.CurrencyCode, o.TotalAmountCents, o.CurrencyCode)
	}
	return there, false, nil
}

// Attached is what clients attach to a row. Nil members stay as they are; an
// empty string clears.
type Attached struct {
	Reference       *string
	ReferenceOrigin *string
	Metadata        json.RawMessage
}

// Empty reports whether nothing changes.
func (a Attached) Empty() bool {
	return a.Reference == nil && a.ReferenceOrigin == nil && a.Metadata == nil
}

func (a Attached) args() []any {
	var raw *string
	if a.Metadata != nil {
		text := string(a.Metadata)
		raw = &text
	}
	return []any{a.Reference, a.ReferenceOrigin, raw}
}

// attach is what an UPDATE sets; ?0, ?1 and ?2 are Attached.args.
const attach = `reference = CASE WHEN ?0::text IS NULL THEN reference ELSE NULLIF(?0::text, '') END,
	reference_origin = CASE WHEN ?1::text IS NULL THEN reference_origin ELSE NULLIF(?1::text, '') END,
	metadata = COALESCE(?2::jsonb, metadata), updated_at = now()`

// LabelOrder changes what clients attach to an order; it moves nothing. A
// reference that another order has is refused.
func (s *Store) LabelOrder(ctx context.Context, tx Tx, mode models.Mode, id string, a Attached) error {
	n, err := s.exec(ctx, tx, `UPDATE orders SET `+attach+` WHERE id = ?3 AND mode = ?4`, append(a.args(), id, mode)...)
	if violated(err, "orders_reference") {
		return refuse("reference_taken", "reference", "another order has the reference %q", *a.Reference)
	}
	if err != nil {
		return fmt.Errorf("label order %s: %w", id, err)
	}
	if n == 0 {
		return fmt.Errorf("order %s: %w", id, ErrNotFound)
	}
	return nil
}

// LabelHold changes what clients attach to a hold; it moves nothing.
func (s *Store) LabelHold(ctx context.Context, mode models.Mode, id string, a Attached) error {
	if _, err := s.exec(ctx, nil, `UPDATE authorizations SET `+attach+` WHERE id = ?3 AND mode = ?4`, append(a.args(), id, mode)...); err != nil {
		return fmt.Errorf("label authorization %s: %w", id, err)
	}
	return nil
}

// HoldFilter selects authorizations. Empty members select all.
type HoldFilter struct {
	Mode                 models.Mode
	ID                   string
	OrderID              string
	Reference            string
	GatewayTransactionID string
	Newest               bool
}

// FindHolds lists authorizations, and how many there are in all.
func (s *Store) FindHolds(ctx context.Context, f HoldFilter, p Page) ([]models.Authorization, int, error) {
	var c conditions
	c.add("a.mode = ?", f.Mode)
	c.id("a.id", f.ID)
	c.id("a.order_id", f.OrderID)
	c.word("a.reference", f.Reference)
	c.word("a.gateway_transaction_id", f.GatewayTransactionID)
	var holds []models.Authorization
	total, err := s.page(ctx, &holds, "authorizations", s.columns(models.Authorization{}, "a"), "authorizations AS a", c, "a.id "+direction(f.Newest), p)
	return holds, total, err
}

// By names the column that rows are read by.
type By string

// The columns.
const (
	ByID            By = "id"
	ByOrder         By = "order_id"
	ByAuthorization By = "authorization_id"
	ByCapture       By = "capture_id"
)

// HoldsBy reads the authorizations of several ids or orders in one query,
// oldest first, at most limit.
func (s *Store) HoldsBy(ctx context.Context, mode models.Mode, by By, ids []string, limit int) ([]models.Authorization, error) {
	var holds []models.Authorization
	err := s.query(ctx, nil, &holds, `SELECT `+s.columns(models.Authorization{}, "a")+` FROM authorizations AS a
		WHERE a.mode = ? AND a.`+string(by)+` = ANY (?::uuid[]) ORDER BY a.id LIMIT ?`, mode, pgdialect.Array(ids), limit)
	if err != nil {
		return nil, fmt.Errorf("read the authorizations of %d rows: %w", len(ids), err)
	}
	return holds, nil
}

// OperationsBy reads the operations of several ids, orders, authorizations or
// captures in one query, oldest first, at most limit.
func (s *Store) OperationsBy(ctx context.Context, mode models.Mode, kind models.Kind, by By, ids []string, limit int) ([]models.Operation, error) {
	var ops []models.Operation
	err := s.query(ctx, nil, &ops, `SELECT `+s.columns(models.Operation{}, "o")+` FROM `+tables[kind]+` AS o
		WHERE o.mode = ? AND o.`+string(by)+` = ANY (?::uuid[]) ORDER BY o.id LIMIT ?`, mode, pgdialect.Array(ids), limit)
	if err != nil {
		return nil, fmt.Errorf("read the %ss of %d rows: %w", kind, len(ids), err)
	}
	return ops, nil
}

// OperationsOfHold reads every operation of a hold that a gateway knows by its
// own id, and whether the hold is known at all.
func (s *Store) OperationsOfHold(ctx context.Context, account, transaction string) (ops []models.Operation, known bool, err error) {
	var ids []string
	err = s.query(ctx, nil, &ids, `SELECT a.id FROM authorizations AS a JOIN payment_gateways AS g ON g.id = a.payment_gateway_id
		WHERE g.slug = ? AND a.gateway_transaction_id = ?`, account, transaction)
	if err != nil {
		return nil, false, fmt.Errorf("find hold %s of %s: %w", transaction, account, err)
	}
	if len(ids) == 0 {
		return nil, false, nil
	}
	err = s.query(ctx, nil, &ops, `SELECT `+s.columns(models.Operation{}, "o")+` FROM operations AS o JOIN authorizations AS a ON a.order_id = o.order_id AND a.id = o.authorization_id
		WHERE a.id = ? ORDER BY o.id`, ids[0])
	if err != nil {
		return nil, true, fmt.Errorf("read the operations of hold %s of %s: %w", transaction, account, err)
	}
	return ops, true, nil
}

// MethodFilter selects payment methods. Empty members select all.
type MethodFilter struct {
	Mode              models.Mode
	ID                string
	Reference         string
	PaymentSourceType string
	CurrencyCode      string
	AutoCapture       *bool
	Newest            bool
}

// PaymentMethods lists payment methods, and how many there are in all.
func (s *Store) PaymentMethods(ctx context.Context, f MethodFilter, p Page) ([]models.PaymentMethod, int, error) {
	var c conditions
	c.add("m.mode = ?", f.Mode)
	c.id("m.id", f.ID)
	c.word("m.reference", f.Reference)
	c.word("m.payment_source_type", f.PaymentSourceType)
	c.word("m.currency_code", f.CurrencyCode)
	if f.AutoCapture != nil {
		c.add("m.auto_capture = ?", *f.AutoCapture)
	}
	var methods []models.PaymentMethod
	total, err := s.page(ctx, &methods, "payment methods", s.columns(models.PaymentMethod{}, "m"), "payment_methods AS m", c, "m.id "+direction(f.Newest), p)
	return methods, total, err
}

// PaymentMethodsByID reads several payment methods of a mode in one query.
func (s *Store) PaymentMethodsByID(ctx context.Context, mode models.Mode, ids []string) ([]models.PaymentMethod, error) {
	var methods []models.PaymentMethod
	err := s.query(ctx, nil, &methods, `SELECT `+s.columns(models.PaymentMethod{}, "m")+` FROM payment_methods AS m WHERE m.mode = ? AND m.id = ANY (?::uuid[])`,
		mode, pgdialect.Array(ids))
	if err != nil {
		return nil, fmt.Errorf("read %d payment methods: %w", len(ids), err)
	}
	return methods, nil
}

// SourceTypes returns how each of several orders is paid, by order id.
func (s *Store) SourceTypes(ctx context.Context, orderIDs []string) (map[string]string, error) {
	var rows []struct {
		ID   string `bun:"id"`
		Type string `bun:"payment_source_type"`
	}
	err := s.query(ctx, nil, &rows, `SELECT o.id, m.payment_source_type FROM orders AS o JOIN payment_methods AS m ON m.id = o.payment_method_id
		WHERE o.id = ANY (?::uuid[])`, pgdialect.Array(orderIDs))
	if err != nil {
		return nil, fmt.Errorf("read the payment source types of %d orders: %w", len(orderIDs), err)
	}
	types := make(map[string]string, len(rows))
	for _, r := range rows {
		types[r.ID] = r.Type
	}
	return types, nil
}

// ChangePaymentMethod lets change edit a method under its row lock and stores
// its name, policy and labels. The change holds for what happens afterwards;
// captures made before stay as they are.
func (s *Store) ChangePaymentMethod(ctx context.Context, mode models.Mode, id string, change func(*models.PaymentMethod) error) (models.PaymentMethod, error) {
	var m models.PaymentMethod
	if !ValidID(id) {
		return m, fmt.Errorf("payment method %q: %w", id, ErrNotFound)
	}
	err := s.InTx(ctx, func(ctx context.Context, tx Tx) error {
		m = models.PaymentMethod{}
		err := s.one(ctx, tx, &m, "payment method "+id, `SELECT `+s.columns(m, "m")+` FROM payment_methods AS m WHERE m.id = ? AND m.mode = ? FOR UPDATE`, id, mode)
		if err != nil {
			return err
		}
		if err := change(&m); err != nil {
			return err
		}
		return s.one(ctx, tx, &m, "payment method "+id, `UPDATE payment_methods AS m SET name = ?, auto_capture = ?, auto_capture_max_amount_cents = ?,
				capture_trigger = ?, capture_delay_seconds = ?, require_capture = ?, last_chance_seconds = ?, reference = ?, reference_origin = ?, metadata = ?, updated_at = now()
			WHERE m.id = ? RETURNING `+s.columns(m, "m"), m.Name, m.AutoCapture, m.AutoCaptureMaxAmountCents, m.CaptureTrigger, m.CaptureDelaySeconds,
			m.RequireCapture, m.LastChanceSeconds, nullable(m.Reference), nullable(m.ReferenceOrigin), string(m.Metadata), id)
	})
	return m, err
}

// VerdictFilter selects verdicts. Empty members select all.
type VerdictFilter struct {
	Mode             models.Mode
	ID               string
	OrderID          string
	OperationID      string
	ReconciliationID string
	Verdict          models.Verdict
	Newest           bool
}

// FindVerdicts lists the verdicts of a mode, and how many there are in all.
func (s *Store) FindVerdicts(ctx context.Context, f VerdictFilter, p Page) ([]VerdictRow, int, error) {
	var c conditions
	c.add("o.mode = ?", f.Mode)
	c.id("v.id", f.ID)
	c.id("v.order_id", f.OrderID)
	c.id("v.operation_id", f.OperationID)
	c.id("v.reconciliation_id", f.ReconciliationID)
	c.word("v.verdict", string(f.Verdict))
	var rows []VerdictRow
	total, err := s.page(ctx, &rows, "verdicts", s.columns(VerdictRow{}, "v"), "verdicts AS v JOIN orders AS o ON o.id = v.order_id", c,
		"v.created_at "+direction(f.Newest)+", v.id "+direction(f.Newest), p)
	return rows, total, err
}

// Reconciliation is one sweep as it was written. It belongs to the deployment,
// not to a mode.
type Reconciliation struct {
	ID         string          `bun:"id"`
	Source     string          `bun:"source"`
	DryRun     bool            `bun:"dry_run"`
	StartedAt  time.Time       `bun:"started_at"`
	FinishedAt *time.Time      `bun:"finished_at"`
	Counts     json.RawMessage `bun:"counts,type:jsonb"`
}

// Reconciliations lists sweeps, or the one of an id, and how many there are.
func (s *Store) Reconciliations(ctx context.Context, id string, newest bool, p Page) ([]Reconciliation, int, error) {
	var c conditions
	c.add("true")
	c.id("r.id", id)
	var rows []Reconciliation
	total, err := s.page(ctx, &rows, "reconciliations", s.columns(Reconciliation{}, "r"), "reconciliations AS r", c,
		"r.started_at "+direction(newest)+", r.id "+direction(newest), p)
	return rows, total, err
}
