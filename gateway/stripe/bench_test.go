package stripe_test

import (
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/gateway/stripe"
	"github.com/capstan-pay/capstan/models"
)

// BenchmarkCapture is the adapter, HTTP and the sandbox with its book on disk,
// all in one process: 64 captures at a time.
func BenchmarkCapture(b *testing.B) {
	s, err := sandbox.New(sandbox.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(s.Handler())
	b.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		_ = s.Close()
	})
	a := stripe.New(stripe.Config{SecretKey: "sk_test", BaseURL: srv.URL})
	holds := make([]string, b.N)
	each := func(f func(i int)) {
		var group sync.WaitGroup
		for w := range 64 {
			group.Go(func() {
				for i := w; i < b.N; i += 64 {
					f(i)
				}
			})
		}
		group.Wait()
	}
	each(func(i int) {
		holds[i] = a.Authorize(b.Context(), gateway.AuthorizeRequest{AmountCents: 1500, CurrencyCode: "EUR"}).GatewayTransactionID
	})
	b.ResetTimer()
	each(func(i int) {
		if ev := a.Capture(b.Context(), request(models.Capture, holds[i], 1500)); ev.Outcome != models.OutcomeConfirmed {
			b.Errorf("capture: %s", ev.JSON())
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "captures/s")
}
