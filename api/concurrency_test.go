package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
)

// A thousand approvals of one order at once, spread over three servers that
// share nothing but the database and the queue, make one capture.
func TestThousandApprovals(t *testing.T) {
	const approvals = 1000
	w := newWorld(t)
	p := w.place(t, w.method(t, ""), 1500, 1500, "")
	servers := []string{w.url}
	for range 2 {
		s := openStore(t, w.databaseURL)
		e := enqueuer.New(enqueuer.Config{Store: s, Redis: openRedis(t, w.redisURL), CancelAfter: time.Hour, Log: w.log})
		server, _ := w.serve(t, s, e, prometheus.NewRegistry())
		servers = append(servers, listen(t, server))
	}
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 60, MaxIdleConnsPerHost: 60}}
	t.Cleanup(client.CloseIdleConnections)
	start := make(chan struct{})
	statuses := make([]int, approvals)
	var running sync.WaitGroup
	for i := range approvals {
		running.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, servers[i%len(servers)]+"/api/orders/"+p.order, strings.NewReader(patchBody("orders", p.order, `{"_approve":true}`)))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/vnd.api+json")
			r.Header.Set("Authorization", "Bearer "+secretOf(operator))
			<-start
			answer, err := client.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = answer.Body.Close()
			statuses[i] = answer.StatusCode
		})
	}
	close(start)
	running.Wait()
	for i, status := range statuses {
		if status != http.StatusOK {
			t.Fatalf("approval %d: status %d", i, status)
		}
	}
	captures := w.get(t, "/api/orders/"+p.order+"/captures").want(t, 200, map[string]any{"meta.record_count": 1, "data.0.attributes.amount_cents": 1500})
	id, _ := captures.at(t, "data.0.id").(string)
	w.run(t, models.Capture, id)
	if book := w.sandbox.BookOf(p.hold); len(book.Captures) != 1 || book.Captures[0].Amount != 1500 {
		t.Errorf("the gateway booked %+v", book.Captures)
	}
}

// Two captures by hand that together exceed the hold: one wins, the other is
// told why. Many refunds at once never give back more than was taken.
func TestConcurrentTriggers(t *testing.T) {
	w := newWorld(t)
	method := w.method(t, `,"capture_trigger":"manual"`)
	p := w.place(t, method, 3000, 3000, "")
	at := func(path, body string, n int) map[int]int {
		counts := map[int]int{}
		var mu sync.Mutex
		var running sync.WaitGroup
		for range n {
			running.Go(func() {
				r := w.send(t, operator, http.MethodPatch, path, body)
				mu.Lock()
				defer mu.Unlock()
				counts[r.status]++
			})
		}
		running.Wait()
		return counts
	}
	counts := at("/api/authorizations/"+p.authorization, patchBody("authorizations", p.authorization, `{"_capture":true,"_capture_amount_cents":2000}`), 20)
	if counts[200] != 1 || counts[200]+counts[409]+counts[422] != 20 {
		t.Errorf("statuses of twenty captures: %v", counts)
	}
	captures := w.get(t, "/api/authorizations/"+p.authorization+"/captures").want(t, 200, map[string]any{"meta.record_count": 1})
	id, _ := captures.at(t, "data.0.id").(string)
	w.run(t, models.Capture, id)
	counts = at("/api/captures/"+id, patchBody("captures", id, `{"_refund_amount_cents":300}`), 20)
	if counts[200] != 6 || counts[422] != 14 {
		t.Errorf("statuses of twenty refunds of 300 of 2,000: %v", counts)
	}
	w.get(t, "/api/captures/"+id).want(t, 200, map[string]any{"data.attributes.refund_balance_cents": 200, "data.attributes.refund_amount_cents": 1800})
	w.get(t, fmt.Sprintf("/api/captures/%s/refunds", id)).want(t, 200, map[string]any{"meta.record_count": 6})
}
