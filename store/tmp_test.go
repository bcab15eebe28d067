package store_test

import "testing"

func (b bench) tally(t *testing.T) {
	for _, s := range column[string](t, b, `SELECT kind || ' ' || event || ' ' || from_state || '>' || to_state || ' ' || count(*) FROM (SELECT operation_id, event, from_state, to_state FROM events) e JOIN operations o ON o.id = e.operation_id GROUP BY kind, event, from_state, to_state ORDER BY 1`) {
		t.Log(s)
	}
	for _, s := range column[string](t, b, `SELECT payment_status || ' ' || status || ' ' || count(*) FROM orders GROUP BY payment_status, status ORDER BY 1`) {
		t.Log(s)
	}
}
