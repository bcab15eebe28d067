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
		WHERE g.slug = ?0 AND (a.gateway_transaction_id = ?1 OR a.first_transaction_id = ?1)`, account, transaction)
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
	Name              string
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
	c.word("m.name", f.Name)
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
