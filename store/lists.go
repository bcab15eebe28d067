package store

import (
	"encoding/json"
	"strconv"

	"github.com/uptrace/bun/dialect/pgdialect"
)

// lists are the columns of many rows, as apply.sql unnests them: for hundreds of
// rows an array a column costs the database a fraction of what JSON does. Each
// is an array literal, or a []string for text.
type lists []any

// inline returns the arguments of a statement that bun writes out.
func (l lists) inline() []any {
	args := make([]any, len(l))
	for i, list := range l {
		if texts, ok := list.([]string); ok {
			args[i] = pgdialect.Array(texts)
		} else {
			args[i] = list
		}
	}
	return args
}

// columnsOf lists the columns of moves in the order of apply.sql's arguments.
func columnsOf(rows []moveRow) (lists, error) {
	rest := make([]string, len(rows))
	for i, r := range rows {
		if r.Rest == (moveRest{}) {
			continue
		}
		encoded, err := json.Marshal(r.Rest)
		if err != nil {
			return nil, err
		}
		rest[i] = string(encoded)
	}
	text := func(of func(moveRow) string) []string {
		all := make([]string, len(rows))
		for i, r := range rows {
			all[i] = of(r)
		}
		return all
	}
	literal := func(of func(to []byte, r moveRow) []byte) string {
		all := []byte{'{'}
		for i, r := range rows {
			if i > 0 {
				all = append(all, ',')
			}
			all = of(all, r)
		}
		return string(append(all, '}'))
	}
	number := func(of func(moveRow) int64) string {
		return literal(func(to []byte, r moveRow) []byte { return strconv.AppendInt(to, of(r), 10) })
	}
	truth := func(of func(moveRow) bool) string {
		return literal(func(to []byte, r moveRow) []byte { return strconv.AppendBool(to, of(r)) })
	}
	return lists{
		uuidArray(text(func(r moveRow) string { return r.ID })),
		number(func(r moveRow) int64 { return r.Version }),
		uuidArray(text(func(r moveRow) string { return r.OrderID })),
		uuidArray(text(func(r moveRow) string { return r.AuthorizationID })),
		text(func(r moveRow) string { return string(r.Event) }),
		text(func(r moveRow) string { return string(r.From) }),
		text(func(r moveRow) string { return string(r.To) }),
		truth(func(r moveRow) bool { return r.WasLive }),
		truth(func(r moveRow) bool { return r.IsLive }),
		truth(func(r moveRow) bool { return r.Sent }),
		text(func(r moveRow) string { return r.Actor }),
		text(func(r moveRow) string { return r.Reason }),
		text(func(r moveRow) string { return r.Evidence }),
		text(func(r moveRow) string { return r.Outcome }),
		number(func(r moveRow) int64 { return r.Reserved }),
		number(func(r moveRow) int64 { return r.Attempt }),
		literal(func(to []byte, r moveRow) []byte {
			if r.Amount == nil {
				return append(to, "NULL"...)
			}
			return strconv.AppendInt(to, *r.Amount, 10)
		}),
		text(func(r moveRow) string { return r.Currency }),
		text(func(r moveRow) string { return r.GatewayTransactionID }),
		text(func(r moveRow) string { return r.RequestID }),
		number(func(r moveRow) int64 { return r.Status }),
		rest,
	}, nil
}
