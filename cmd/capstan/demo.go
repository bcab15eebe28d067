package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// demoTimeout bounds the whole run.
const demoTimeout = 110 * time.Second

// demoHands is how many orders are worked on at once by the shop's side.
const demoHands = 12

// demonstration is one run of the demo.
type demonstration struct {
	env    *environment
	shop   *shop
	sales  []*sale
	out    io.Writer
	began  time.Time
	played atomic.Int64
	dealt  int // orders that any gateway could take
}

// demoResult is what a run came to.
type demoResult struct {
	Orders     int               `json:"orders"`
	Seconds    float64           `json:"seconds"`
	Stories    []storyResult     `json:"stories"`
	Gateways   []gatewayResult   `json:"gateways"`
	Invariants []store.Invariant `json:"invariants"`
	Queues     []string          `json:"asynqmon_queues"`
	OK         bool              `json:"ok"`
}

// storyResult is how one story ended.
type storyResult struct {
	Story  string   `json:"story"`
	Orders int      `json:"orders"`
	OK     int      `json:"ok"`
	Ended  string   `json:"ended"`
	Wrong  []string `json:"wrong,omitempty"`
}

// gatewayResult is what came to pass at one gateway.
type gatewayResult struct {
	Gateway       string `json:"gateway"`
	Orders        int    `json:"orders"`
	OK            int    `json:"ok"`
	CapturedCents int64  `json:"captured_cents"`
	ReturnedCents int64  `json:"returned_cents"`
}

// demo runs the whole job in front of the user's eyes and checks its books.
func demo(ctx context.Context, c config.Demo, stdout io.Writer, log *slog.Logger) error {
	out := stdout
	if c.JSON {
		out = io.Discard
	}
	fmt.Fprintf(out, "Capstan demo: %d orders against gateways that misbehave.\n", c.Orders)
	fmt.Fprintf(out, "Deadlines are divided by CAPSTAN_TIME_SCALE=%d: a lease of 60s lasts %s, a first look after 30s comes after %s.\n\n",
		c.TimeScale, time.Minute/time.Duration(c.TimeScale), 30*time.Second/time.Duration(c.TimeScale))
	d := &demonstration{out: out, began: time.Now()}
	quiet := slog.New(&levelHandler{log.Handler()})
	shared := gateway.Secret("commerce-layer-shared-secret")
	env, err := startEnvironment(ctx, config.Dev{
		Listen:   config.Listen{API: "127.0.0.1:0", Admin: "127.0.0.1:0"},
		Gateways: config.Gateways{CommerceLayerSecrets: []gateway.Secret{shared}},
		Pace: config.Pace{
			TimeScale: c.TimeScale, Concurrency: 64, Servers: 2, SweepEvery: 30 * time.Second, RelayEvery: 2 * time.Second, PollEvery: 20 * time.Millisecond, CancelAfter: 20 * time.Second,
		},
		Sandbox: "127.0.0.1:0", Ephemeral: true, Token: "dev",
	}, quiet)
	if err != nil {
		return err
	}
	d.env = env
	d.shop = &shop{api: config.Remote{URL: env.url("api"), Token: "dev"}, gateway: env.sandboxURL, shared: shared, methods: map[string]string{}}
	d.say("started: Postgres from %s, Redis from %s, sandbox gateway at %s", env.stack.PostgresFrom, env.stack.RedisFrom, env.sandboxURL)
	result, err := d.run(ctx, c.Orders)
	if err == nil {
		err = d.print(stdout, c.JSON, result)
	}
	if c.Keep && ctx.Err() == nil {
		fmt.Fprintf(out, "\nStill serving: API %s, Asynqmon %s/asynqmon/ (any user, password dev). Ctrl-C ends it.\n", env.url("api"), env.url("admin"))
		<-ctx.Done()
	}
	return errors.Join(err, env.shutdown())
}

// levelHandler keeps the demo's screen for the demo: only errors are logged, and
// not Asynq's own, which are about the tasks that the demo's flush took from it.
type levelHandler struct{ slog.Handler }

func (h *levelHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

func (h *levelHandler) Handle(ctx context.Context, r slog.Record) error {
	asynqs := false
	r.Attrs(func(a slog.Attr) bool {
		asynqs = a.Key == "source" && a.Value.String() == "asynq"
		return !asynqs
	})
	if asynqs {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (d *demonstration) say(format string, args ...any) {
	fmt.Fprintf(d.out, "[%5.1fs] %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// run plays the stories and waits for the end of all of them.
func (d *demonstration) run(ctx context.Context, orders int) (demoResult, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, demoTimeout, fmt.Errorf("the demo took longer than %s", demoTimeout))
	defer cancel()
	if err := d.shop.setUp(ctx, d.env.sources()); err != nil {
		return demoResult{}, err
	}
	d.cast(orders)
	progress, stop := context.WithCancel(ctx)
	defer stop()
	go d.progress(progress)
	half := len(d.sales) / 2
	d.say("the shop approves %d orders", half)
	first := d.play(ctx, d.sales[:half])
	err := until(ctx, "a part of the first half is placed", func() (bool, error) { return d.played.Load() >= int64(half/4), nil })
	if err != nil {
		return demoResult{}, errors.Join(err, first())
	}
	if err := d.env.redis.FlushAll(ctx).Err(); err != nil {
		return demoResult{}, fmt.Errorf("flush Redis: %w", err)
	}
	d.say("Redis was flushed: every queue and task is gone")
	plain, others := d.sort(d.sales[half:])
	d.say("the shop approves the other %d, %d of them by one request", len(plain)+len(others), len(plain))
	second := d.play(ctx, others)
	if err := errors.Join(d.together(ctx, plain), first(), second()); err != nil {
		return demoResult{}, err
	}
	d.say("every order is placed; waiting until nothing is open")
	if err := d.settle(ctx); err != nil {
		return demoResult{}, err
	}
	stop()
	return d.result(ctx)
}

// cast deals the orders out to the stories, mixed.
func (d *demonstration) cast(orders int) {
	all := stories()
	total := 0
	for _, s := range all {
		total += s.share
	}
	for _, s := range all {
		for range max(1, s.share*orders/total) {
			d.add(s)
		}
	}
	for len(d.sales) < orders {
		d.add(all[0])
	}
	// Mixed evenly and the same every time: each story's orders spread over the run.
	mixed := make([]*sale, 0, len(d.sales))
	const stride = 7
	for start := range stride {
		for i := start; i < len(d.sales); i += stride {
			mixed = append(mixed, d.sales[i])
		}
	}
	d.sales = mixed
}

func (d *demonstration) add(s *story) {
	o := &sale{story: s, gateway: d.gatewayFor(s), Reference: fmt.Sprintf("DEMO-%04d", len(d.sales)+1), Total: s.total, HoldCents: s.hold}
	if o.HoldCents == 0 {
		o.HoldCents = o.Total
	}
	d.sales = append(d.sales, o)
}

// gatewayFor deals the orders of a story out to the gateways, one after the other.
func (d *demonstration) gatewayFor(s *story) string {
	switch s.at {
	case everywhere:
		var asked []string
		for _, p := range providers() {
			if a, ok := d.env.accounts[p.slug]; ok && !a.Capabilities().ByHand {
				asked = append(asked, p.slug)
			}
		}
		d.dealt++
		return asked[d.dealt%len(asked)]
	case atTheBank:
		return manualAccount
	}
	return stripeAccount
}

// play starts the shop's side of some orders and returns how to wait for it.
// Stories that wait for something run beside the others.
func (d *demonstration) play(ctx context.Context, sales []*sale) func() error {
	g, gctx := errgroup.WithContext(ctx)
	placed := make(chan struct{}, demoHands)
	for _, o := range sales {
		placed <- struct{}{}
		g.Go(func() error {
			err := d.shop.authorize(gctx, o)
			<-placed
			switch {
			case err != nil:
			case o.story.play == nil:
				err = approve(gctx, d, o)
			default:
				err = o.story.play(gctx, d, o)
			}
			if err != nil {
				return fmt.Errorf("%s (%s): %w", o.Reference, o.story.name, err)
			}
			d.played.Add(1)
			return nil
		})
	}
	return g.Wait
}

// sort tells the orders that are only approved from those with more to them.
func (d *demonstration) sort(sales []*sale) (plain, others []*sale) {
	for _, o := range sales {
		if o.story.play == nil {
			plain = append(plain, o)
		} else {
			others = append(others, o)
		}
	}
	return plain, others
}

// together places orders and has them approved by one request, as a shop does
// with a night's orders. What waits then travels in batches.
func (d *demonstration) together(ctx context.Context, sales []*sale) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(demoHands)
	for _, o := range sales {
		g.Go(func() error { return errors.Join(d.shop.authorize(gctx, o), d.shop.order(gctx, o)) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := d.shop.approveAll(ctx, sales); err != nil {
		return err
	}
	d.played.Add(int64(len(sales)))
	return nil
}

// orderID finds an order by the shop's name for it; "" while there is none.
func (d *demonstration) orderID(ctx context.Context, reference string) (string, error) {
	order, err := d.env.store.OrderByReference(ctx, models.Test, reference)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return order.ID, err
}

// progress says every two seconds how far the run is.
func (d *demonstration) progress(ctx context.Context) {
	ticker := time.NewTicker(2 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			operations, orders, inbox, err := d.env.store.OpenWork(ctx)
			if err == nil {
				d.say("%d of %d orders played; open: %d operations, %d order reviews, %d webhooks", d.played.Load(), len(d.sales), operations, orders, inbox)
			}
		}
	}
}

// settle waits until nothing is open: no operation, no review, no webhook.
func (d *demonstration) settle(ctx context.Context) error {
	return until(ctx, "nothing is open any more", func() (bool, error) {
		if err := d.env.sandbox.Flush(ctx); err != nil {
			return false, err
		}
		operations, orders, inbox, err := d.env.store.OpenWork(ctx)
		return operations == 0 && orders == 0 && inbox == 0, err
	})
}

// result checks how every order ended, and the books.
func (d *demonstration) result(ctx context.Context) (demoResult, error) {
	r := demoResult{Orders: len(d.sales), OK: true}
	book := d.env.sandbox.Book()
	kept := map[string]int64{}
	for _, h := range book.Holds {
		kept[h.ID] = h.Captured - h.Refunded
	}
	byStory := map[string]*storyResult{}
	for _, s := range stories() {
		byStory[s.name] = &storyResult{Story: s.name, Ended: s.ending()}
	}
	byGateway := map[string]*gatewayResult{}
	for _, o := range d.sales {
		one, there := byStory[o.story.name], byGateway[o.gateway]
		if there == nil {
			there = &gatewayResult{Gateway: o.gateway}
			byGateway[o.gateway] = there
		}
		one.Orders++
		there.Orders++
		wrong, err := d.wrong(ctx, o, kept[o.Hold])
		if err != nil {
			return r, err
		}
		if wrong == "" {
			one.OK++
			there.OK++
			continue
		}
		one.Wrong = append(one.Wrong, o.Reference+": "+wrong)
		r.OK = false
	}
	for _, s := range stories() {
		r.Stories = append(r.Stories, *byStory[s.name])
	}
	books := accountBooks{}
	for _, p := range providers() {
		g := byGateway[p.slug]
		if g == nil {
			continue
		}
		entries, err := d.env.store.Book(ctx, p.slug)
		if err != nil {
			return r, err
		}
		books[p.slug] = entries
		g.CapturedCents, g.ReturnedCents = movedBy(entries)
		r.Gateways = append(r.Gateways, *g)
	}
	var err error
	if r.Invariants, err = compareBooks(ctx, d.env.store, books, book); err != nil {
		return r, err
	}
	if r.Queues, err = d.queues(ctx); err != nil {
		return r, err
	}
	r.OK = r.OK && holds(r.Invariants) == nil && len(r.Queues) > 0
	r.Seconds = time.Since(d.began).Seconds()
	return r, nil
}

func (s *story) ending() string {
	state := string(s.state)
	if state == "" {
		state = "no capture"
	}
	return fmt.Sprintf("%s, order %s", state, s.payment)
}

// wrong says what differs from how the order's story must end, "" for nothing.
func (d *demonstration) wrong(ctx context.Context, o *sale, kept int64) (string, error) {
	order, err := d.env.store.Order(ctx, models.Test, o.OrderID)
	if err != nil {
		return "", err
	}
	captures, _, err := d.env.store.Operations(ctx, models.Capture, store.Filter{Mode: models.Test, OrderID: o.OrderID}, store.Page{Number: 1, Size: 10})
	if err != nil {
		return "", err
	}
	state := models.State("")
	if len(captures) > 0 {
		state = captures[0].State
	}
	switch {
	case order.PaymentStatus != o.story.payment:
		return fmt.Sprintf("the order is %s, not %s", order.PaymentStatus, o.story.payment), nil
	case state != o.story.state || len(captures) > 1:
		return fmt.Sprintf("%d captures, the first %q, not one %q", len(captures), state, o.story.state), nil
	case o.gateway != manualAccount && kept != o.story.taken: // no book but ours has what a person moved
		return fmt.Sprintf("the gateway kept %d, not %d", kept, o.story.taken), nil
	}
	return "", nil
}

// queues asks Asynqmon which queues it shows, after Redis was flushed.
func (d *demonstration) queues(ctx context.Context) ([]string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.env.url("admin")+asynqmonPath+"/api/queues", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer dev")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask Asynqmon for its queues: %w", err)
	}
	defer res.Body.Close()
	var answer struct {
		Queues []struct {
			Queue string `json:"queue"`
		} `json:"queues"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("ask Asynqmon for its queues: HTTP %d: %w", res.StatusCode, err)
	}
	var names []string
	for _, q := range answer.Queues {
		names = append(names, q.Queue)
	}
	slices.Sort(names)
	return names, nil
}

func (d *demonstration) print(w io.Writer, asJSON bool, r demoResult) error {
	var failed error
	if !r.OK {
		failed = errFailed
	}
	if asJSON {
		return errors.Join(printJSON(w, r), failed)
	}
	d.say("done\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STORY\tORDERS\tAS IT MUST\tENDED")
	for _, s := range r.Stories {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\n", s.Story, s.Orders, s.OK, s.Ended)
		for _, wrong := range s.Wrong {
			fmt.Fprintf(t, "\t\t\t  %s\n", wrong)
		}
	}
	fmt.Fprintln(t, "\t\t\t")
	fmt.Fprintln(t, "GATEWAY\tORDERS\tAS IT MUST\tCAPTURED\tRETURNED")
	for _, g := range r.Gateways {
		fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%s\n", g.Gateway, g.Orders, g.OK, models.FormatMoney(g.CapturedCents, "EUR"), models.FormatMoney(g.ReturnedCents, "EUR"))
	}
	fmt.Fprintln(t)
	err := t.Flush()
	fmt.Fprintln(w, "The ledger against the gateways' own books:")
	err = errors.Join(err, printInvariants(w, r.Invariants))
	fmt.Fprintf(w, "\nAsynqmon shows, after the flush: %s\n", strings.Join(r.Queues, ", "))
	if r.OK {
		fmt.Fprintf(w, "\nEvery invariant holds: %d orders in %.1f s, nothing lost, nothing captured twice, nothing above its hold.\n", r.Orders, r.Seconds)
	} else {
		fmt.Fprintln(w, "\nSOMETHING DOES NOT HOLD: see above.")
	}
	return errors.Join(err, failed)
}
