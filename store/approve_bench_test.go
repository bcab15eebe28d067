package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// BenchmarkApprove approves fresh orders, each with its hold, over one
// connection; the orders are made outside of the measured time.
func BenchmarkApprove(b *testing.B) {
	for _, orders := range []int{1, 1000} {
		b.Run(fmt.Sprint(orders), func(b *testing.B) {
			url := migrated(b)
			s, err := store.Open(b.Context(), url, store.Options{MaxConns: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			shop := bench{shop: newShop(b, s, onApproval), url: url, db: openSQL(b, url)}
			made := 0
			for b.Loop() {
				b.StopTimer()
				ids := shop.stock(b, orders)
				b.StartTimer()
				answers, err := s.ApproveAll(b.Context(), nil, models.Test, ids, "bench")
				if err != nil {
					b.Fatal(err)
				}
				for _, a := range answers {
					made += len(a.Operations)
				}
			}
			if made != orders*b.N {
				b.Fatalf("%d captures of %d orders", made, orders*b.N)
			}
			b.ReportMetric(float64(made)/b.Elapsed().Seconds(), "approvals/s")
		})
	}
}

// stock makes orders of 1,500 with a hold each, behind the store's back.
func (b bench) stock(t tester, n int) []string {
	t.Helper()
	ids, holds := make([]string, n), make([]string, n)
	for i := range ids {
		ids[i], holds[i] = store.NewID(), store.NewID()
	}
	b.exec(t, `WITH new AS (
			SELECT * FROM unnest(string_to_array($1, ',')::uuid[], string_to_array($2, ',')::uuid[]) AS n (id, hold)
		), ordered AS (
			INSERT INTO orders (id, mode, payment_method_id, currency_code, total_amount_cents, status, fulfillment_status, held_cents, transactions)
			SELECT id, 'test', $3, 'EUR', 1500, 'pending', 'unfulfilled', 1500, 1 FROM new
		) INSERT INTO authorizations (id, mode, number, order_id, payment_gateway_id, gateway_transaction_id, currency_code, amount_cents)
		SELECT hold, 'test', 'T/001', id, $4, 'pi_' || hold, 'EUR', 1500 FROM new`,
		strings.Join(ids, ","), strings.Join(holds, ","), b.method.ID, b.gateway.ID)
	return ids
}
