package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// What callers branch on.
var (
	// ErrNotFound: there is no such row, or it belongs to the other mode.
	ErrNotFound = errors.New("not found")
	// ErrStale: the row moved on meanwhile; read it again.
	ErrStale = errors.New("changed meanwhile")
	// ErrConflict: the same name with other contents.
	ErrConflict = errors.New("conflict")
)

// Refusal is a rule that said no. Rule is a stable word for programs, Detail a
// sentence for people, Field the attribute that caused it, if one did.
type Refusal struct {
	Rule   string
	Field  string
	Detail string
	// Busy: the same call may succeed later, when the operation under way has
	// an outcome.
	Busy bool
}

func (r *Refusal) Error() string { return r.Rule + ": " + r.Detail }

func refuse(rule, field, format string, args ...any) *Refusal {
	return &Refusal{Rule: rule, Field: field, Detail: fmt.Sprintf(format, args...)}
}

func busy(rule, field, format string, args ...any) *Refusal {
	r := refuse(rule, field, format, args...)
	r.Busy = true
	return r
}

// tooLong turns the database's refusal of a name that no index can hold into a rule.
func tooLong(err error, field string) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "54000" {
		return refuse("too_long", field, "it is too long to be found again; use at most 255 characters")
	}
	return err
}

// NotYet says that an operation cannot be claimed now, and when to come again.
type NotYet struct {
	Reason string
	// At is by this process's clock, made from the database's interval.
	At time.Time
}

func (n *NotYet) Error() string {
	return fmt.Sprintf("%s; next attempt at %s", n.Reason, n.At.UTC().Format(time.RFC3339))
}

// Done says that an operation needs no work: it ended, or waits for a person.
type Done struct {
	Reason string
}

func (d *Done) Error() string { return d.Reason }
