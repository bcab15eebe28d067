package sandbox

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/capstan-pay/capstan/gateway"
)

// The sender's limits.
const (
	maxWaiting     = 20_000 // events; beyond it the newest are lost, and counted
	senderLanes    = 8      // events of one hold share a lane and keep their order
	deliverTimeout = 10 * time.Second
	reorderApart   = 200 * time.Millisecond
	closeGrace     = 2 * time.Second
)

// delivery is one event on its way to one endpoint.
type delivery struct {
	to     Endpoint
	hold   string
	id     string
	body   []byte
	secret gateway.Secret
	due    time.Time
	order  uint64
	tries  int
	forged bool
	first  chan struct{} // closed after the first try
}

// queue is a heap by due time, then by order of sending.
type queue []*delivery

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if !q[i].due.Equal(q[j].due) {
		return q[i].due.Before(q[j].due)
	}
	return q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*delivery)) }
func (q *queue) Pop() any {
	old := *q
	d := old[len(old)-1]
	*q = old[:len(old)-1]
	return d
}

// sender delivers events in the background: one goroutine watches the clock,
// lanes deliver. Failed deliveries come back later, doubling the pause.
type sender struct {
	config Config
	client *http.Client
	log    *slog.Logger
	count  func(result string)
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{}
	lanes  [senderLanes]chan *delivery
	paypal paypalSigner
	work   sync.WaitGroup

	mu        sync.Mutex
	endpoints []Endpoint
	queue     queue
	order     uint64
	open      int           // queued or under way
	idle      chan struct{} // closed when open falls to 0
	hurry     int           // flushes that wait: nothing is delayed meanwhile
	closed    bool
}

func newSender(c Config, count func(string)) *sender {
	s := &sender{
		config: c, log: c.Log, count: count, endpoints: c.Webhooks, wake: make(chan struct{}, 1), idle: make(chan struct{}),
		client: &http.Client{Timeout: deliverTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{MaxIdleConnsPerHost: senderLanes, IdleConnTimeout: time.Minute}},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for i := range s.lanes {
		lane := make(chan *delivery, 64)
		s.lanes[i] = lane
		s.work.Go(func() {
			for d := range lane {
				s.deliver(d)
			}
		})
	}
	s.work.Go(s.dispatch)
	return s
}

func (s *sender) setEndpoints(e []Endpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endpoints = append([]Endpoint(nil), e...)
}

func (s *sender) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// send queues the events of one change, as the faults say.
func (s *sender) send(events []event, faults []fault) { s.queueAll(events, faults) }

// sendAndWait returns when every event was tried once, or after a moment.
func (s *sender) sendAndWait(events []event, faults []fault) {
	limit := time.NewTimer(deliverTimeout / 2)
	defer limit.Stop()
	for _, d := range s.queueAll(events, faults) {
		select {
		case <-d.first:
		case <-s.ctx.Done():
			return
		case <-limit.C:
			return
		}
	}
}

func (s *sender) queueAll(events []event, faults []fault) []*delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(events) == 0 || len(s.endpoints) == 0 || s.closed {
		return nil
	}
	if has(faults, modeHookDrop) {
		s.count("dropped")
		return nil
	}
	var all []*delivery
	for _, to := range s.endpoints {
		all = append(all, s.planned(to, events, faults)...)
	}
	var taken []*delivery
	for _, d := range all {
		if s.open >= maxWaiting {
			s.count("overflow")
			close(d.first)
			continue
		}
		s.order++
		d.order = s.order
		s.open++
		heap.Push(&s.queue, d)
		taken = append(taken, d)
	}
	s.nudge()
	return taken
}

// planned is what goes to one endpoint, in order.
func (s *sender) planned(to Endpoint, events []event, faults []fault) []*delivery {
	var out []*delivery
	now := time.Now()
	for i, e := range events {
		if e.wire != to.Wire {
			continue
		}
		body, err := e.encode()
		if err != nil {
			s.log.Error("event not encoded", "event", e.body.ID, "error", err)
			continue
		}
		d := delivery{to: to, hold: e.hold, id: e.body.ID, body: body, secret: to.Secret, due: now}
		copies := 1
		for _, f := range faults {
			switch f.mode {
			case modeHookDelay:
				d.due = d.due.Add(f.delay)
			case modeHookDup:
				copies = max(1, int(min(f.num, 1000)))
			case modeHookOldSecret:
				d.secret = to.OldSecret
			case modeHookReorder:
				d.due = d.due.Add(time.Duration(len(events)-1-i) * reorderApart)
			}
		}
		if has(faults, modeHookForged) {
			out = append(out, forged(d))
		}
		for range copies {
			one := d
			one.first = make(chan struct{})
			out = append(out, &one)
		}
	}
	return out
}

// forged is the event as an attacker would send it: other figures, and a
// signature with a guessed secret.
func forged(d delivery) *delivery {
	d.forged, d.first, d.secret = true, make(chan struct{}), "whsec_guessed"
	d.id = newID("evt")
	d.body = bytes.ReplaceAll(d.body, []byte(`"amount_received":`), []byte(`"amount_received":9`))
	return &d
}

func (s *sender) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// dispatch hands due deliveries to the lanes.
func (s *sender) dispatch() {
	defer func() {
		for _, lane := range s.lanes {
			close(lane)
		}
	}()
	for {
		d, pause := s.next()
		if d != nil {
			select {
			case s.lanes[laneOf(d.hold)] <- d:
			case <-s.ctx.Done():
				return
			}
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// next pops what is due, or says how long to wait.
func (s *sender) next() (*delivery, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return nil, time.Hour
	}
	if wait := time.Until(s.queue[0].due); wait > 0 && s.hurry == 0 {
		return nil, wait
	}
	return heap.Pop(&s.queue).(*delivery), 0
}

func laneOf(hold string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(hold))
	return int(h.Sum32() % senderLanes)
}

// deliver tries once and decides whether to try again.
func (s *sender) deliver(d *delivery) {
	err := s.post(d)
	d.tries++
	if d.tries == 1 {
		close(d.first)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.count("delivered")
	case d.forged:
		s.count("refused")
	case d.tries < s.config.WebhookTries && !s.closed:
		s.count("retried")
		d.due = time.Now().Add(min(s.config.WebhookRetry<<(d.tries-1), time.Hour))
		heap.Push(&s.queue, d)
		s.nudge()
		return
	default:
		s.count("given_up")
		s.log.Warn("webhook given up", "event", d.id, "tries", d.tries, "error", err)
	}
	s.less()
}

// less ends one open piece of work. The caller holds the lock.
func (s *sender) less() {
	if s.open--; s.open == 0 {
		close(s.idle)
		s.idle = make(chan struct{})
	}
}

// promise keeps a flush waiting for events that are about to be sent, from
// before their caller has its answer. Call what it returns when they are.
func (s *sender) promise() func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.less()
	}
}

func (s *sender) post(d *delivery) error {
	body := d.body
	if d.to.Wire == wireAdyen { // its signatures stand in the body
		var err error
		if body, err = adyenSigned(d); err != nil {
			return err
		}
	}
	if d.to.Wire == wireBraintree {
		body = BraintreeForm(d.body, d.secret)
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, d.to.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	if d.to.Wire == wireExternal {
		signExternal(req.Header, d.body, d.secret)
	} else if d.to.Wire == wirePayPal {
		err = s.paypal.sign(req.Header, d, s.config.Now())
	} else if d.to.Wire == wireCheckoutCom {
		signCheckout(req.Header, d)
	} else if d.to.Wire == wireBraintree {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else if d.to.Wire == wireAdyen {
		req.Header.Set("User-Agent", "Adyen HttpClient 1.0")
	} else {
		req.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
		req.Header.Set("Stripe-Signature", Sign(d.body, d.secret, s.config.Now()))
	}
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("endpoint answered %d", resp.StatusCode)
	}
	return nil
}

// flush sends what waits without any delay, until nothing does.
func (s *sender) flush(ctx context.Context) error {
	s.mu.Lock()
	s.hurry++
	defer func() {
		s.mu.Lock()
		s.hurry--
		s.mu.Unlock()
	}()
	for s.open > 0 {
		idle := s.idle
		s.nudge()
		s.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			return fmt.Errorf("flush webhooks: %w", ctx.Err())
		case <-s.ctx.Done():
			return errClosed
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
	return nil
}

// close gives waiting events a moment and stops.
func (s *sender) close() {
	s.mu.Lock()
	s.closed = true // failed deliveries are not tried again
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	if err := s.flush(ctx); err != nil {
		s.log.Warn("webhooks lost at shutdown", "waiting", s.waiting())
	}
	s.cancel()
	s.work.Wait()
	s.client.CloseIdleConnections()
}
