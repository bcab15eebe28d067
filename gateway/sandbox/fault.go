package sandbox

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The calls that a fault can be meant for.
const (
	callCreate  = "create"
	callConfirm = "confirm"
	callCapture = "capture"
	callRefund  = "refund"
	callCancel  = "cancel"
	callLookUp  = "look_up"
	callWebhook = "webhook"
	callOther   = "other"
	callAny     = "any"
)

// The modes.
const (
	modeOK              = "ok"
	modeDecline         = "decline"
	modeDeclineHard     = "decline_hard"
	modeExpired         = "expired"
	modeDropBefore      = "drop_before"
	modeChargeDrop      = "charge_then_drop"
	modeChargeRST       = "charge_then_rst"
	modeCharge500       = "charge_then_500"
	modeCharge502       = "charge_then_502html"
	modeChargeHang      = "charge_then_hang"
	modeTruncated       = "truncated"
	modeEmpty           = "empty200"
	modeHang            = "hang"
	modeBookAfter       = "book_after"
	modeSticky500       = "sticky_500"
	mode500             = "500_unbooked"
	modeAmnesia         = "amnesia"
	mode409             = "409_in_progress"
	mode429             = "429"
	mode401             = "401"
	modeLocked          = "lock_timeout"
	modeWrongAmount     = "wrong_amount"
	modeWrongCurrency   = "wrong_currency"
	modePartial         = "partial"
	modePending         = "pending"
	modeLookUp404       = "lookup_404"
	modeLookUp500       = "lookup_500"
	modeLookUpStale     = "lookup_stale"
	modeHookDelay       = "webhook_delay"
	modeHookDup         = "webhook_dup"
	modeHookReorder     = "webhook_reorder"
	modeHookDrop        = "webhook_drop"
	modeHookForged      = "webhook_forged"
	modeHookOldSecret   = "webhook_old_secret"
	modeHookBeforeReply = "webhook_before_answer"
)

// always is the number of times that never runs out.
const always = -1

// fitness says what a mode can be meant for and how often it happens when
// nothing is said.
type fitness struct {
	calls string
	times int
	arg   string // "", "duration", "number", or either with a "?" in front
}

const money = callCapture + " " + callRefund + " " + callCancel

var modes = map[string]fitness{
	modeOK:              {money, 1, ""},
	modeDecline:         {callCapture, always, ""},
	modeDeclineHard:     {callCapture, always, ""},
	modeExpired:         {callCapture + " " + callCancel, always, ""},
	modeDropBefore:      {money, 1, ""},
	modeChargeDrop:      {money, 1, ""},
	modeChargeRST:       {money, 1, ""},
	modeCharge500:       {money, 1, ""},
	modeCharge502:       {money, 1, ""},
	modeChargeHang:      {money, 1, ""},
	modeTruncated:       {money, 1, ""},
	modeEmpty:           {money, 1, ""},
	modeHang:            {money, 1, ""},
	modeBookAfter:       {money, 1, "duration"},
	modeSticky500:       {money, 1, ""},
	mode500:             {money, 1, ""},
	modeAmnesia:         {money, 1, ""},
	mode409:             {money, 1, ""},
	mode429:             {money, 1, "?number"},
	mode401:             {money, 1, ""},
	modeLocked:          {money, 1, ""},
	modeWrongAmount:     {callCapture + " " + callRefund, 1, "?number"},
	modeWrongCurrency:   {callCapture + " " + callRefund, 1, ""},
	modePartial:         {callCapture + " " + callRefund, 1, ""},
	modePending:         {callCapture + " " + callRefund, 1, "duration"},
	modeLookUp404:       {callLookUp, 1, ""},
	modeLookUp500:       {callLookUp, 1, ""},
	modeLookUpStale:     {callLookUp, 1, ""},
	modeHookDelay:       {callWebhook, always, "duration"},
	modeHookDup:         {callWebhook, always, "number"},
	modeHookReorder:     {callWebhook, always, ""},
	modeHookDrop:        {callWebhook, always, ""},
	modeHookForged:      {callWebhook, always, ""},
	modeHookOldSecret:   {callWebhook, always, ""},
	modeHookBeforeReply: {callWebhook, always, ""},
}

// Modes lists the names of all faults, sorted.
func Modes() []string {
	names := make([]string, 0, len(modes))
	for name := range modes {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// step is one fault of a plan.
type step struct {
	mode  string
	calls map[string]bool
	delay time.Duration
	num   int64
	left  int
}

// fault is a step that a call was met with. The zero value is none.
type fault struct {
	mode  string
	delay time.Duration
	num   int64
}

// plan is a list of steps, used up from the front.
type plan []*step

// parsePlan reads the grammar in doc.go.
func parsePlan(s string) (plan, error) {
	var p plan
	for _, part := range strings.Split(s, ",") {
		st, err := parseStep(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		p = append(p, st)
	}
	return p, nil
}

func parseStep(s string) (*step, error) {
	rest, times, hasTimes := strings.Cut(s, ":")
	name, arg, hasArg := strings.Cut(rest, "=")
	call, mode, scoped := strings.Cut(name, ".")
	if !scoped {
		call, mode = "", name
	}
	fits, known := modes[mode]
	if !known {
		return nil, fmt.Errorf("%q is no fault; it is one of %s", mode, strings.Join(Modes(), ", "))
	}
	st := &step{mode: mode, left: fits.times, calls: map[string]bool{}}
	for _, c := range strings.Fields(fits.calls) {
		if call == "" || call == c || call == "void" && c == callCancel || call == callAny {
			st.calls[c] = true
		}
	}
	if len(st.calls) == 0 {
		return nil, fmt.Errorf("fault %q does not fit the call %q; it fits %s", mode, call, fits.calls)
	}
	if hasTimes {
		n, err := parseTimes(times)
		if err != nil {
			return nil, fmt.Errorf("fault %q: %w", s, err)
		}
		st.left = n
	}
	return st, st.value(fits.arg, arg, hasArg)
}

func parseTimes(s string) (int, error) {
	if s == "*" {
		return always, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no number of times; write 1 or more, or *", s)
	}
	return n, nil
}

func (st *step) value(kind, arg string, given bool) error {
	optional := strings.HasPrefix(kind, "?")
	kind = strings.TrimPrefix(kind, "?")
	switch {
	case !given && (kind == "" || optional):
		return nil
	case !given:
		return fmt.Errorf("fault %s needs a value: %s=…", st.mode, st.mode)
	case kind == "":
		return fmt.Errorf("fault %s takes no value", st.mode)
	}
	var err error
	if kind == "duration" {
		st.delay, err = time.ParseDuration(arg)
	} else {
		st.num, err = strconv.ParseInt(arg, 10, 64)
	}
	if err != nil || st.delay < 0 || st.num < 0 {
		return fmt.Errorf("fault %s: %q is no %s", st.mode, arg, kind)
	}
	return nil
}

// take returns the first step that fits the call and has times left.
func (p plan) take(call string) (fault, bool) {
	for _, st := range p {
		if !st.calls[call] || st.left == 0 {
			continue
		}
		if st.left > 0 {
			st.left--
		}
		return fault{mode: st.mode, delay: st.delay, num: st.num}, true
	}
	return fault{}, false
}

// rule is a fault for the whole sandbox.
type rule struct {
	plan        plan
	text        string
	call        string
	probability float64
}

// engine decides what meets a call: the hold's own plan first, then the rule
// for the whole sandbox.
type engine struct {
	mu     sync.Mutex
	random *rand.Rand
	plans  map[string]plan // by hold
	asked  map[string]bool // holds of which anything was asked
	rules  []rule
	count  func(mode string)
}

func newEngine(seed uint64, count func(string)) *engine {
	return &engine{random: rand.New(rand.NewPCG(seed, seed)), plans: map[string]plan{}, asked: map[string]bool{}, count: count}
}

func (e *engine) setHold(hold, text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if text == "" {
		delete(e.plans, hold)
		return nil
	}
	p, err := parsePlan(text)
	if err != nil {
		return err
	}
	e.plans[hold] = p
	return nil
}

func (e *engine) setRules(rules []rule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rules = rules
}

// callOf is the call that the steps must fit. A read that wants the charge as
// well, before anything was asked of the hold, is how a hold is registered: it
// uses up no step of a look-up.
func (e *engine) callOf(hold, call string, withCharge bool) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case call == callCapture || call == callRefund || call == callCancel:
		e.asked[hold] = true
	case call == callLookUp && withCharge && !e.asked[hold]:
		return callOther
	}
	return call
}

// pick uses up one step for the call, if any fits.
func (e *engine) pick(hold, call string) fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f, ok := e.plans[hold].take(call); ok {
		return e.counted(f)
	}
	for _, r := range e.rules {
		if !r.fits(call) || r.probability < 1 && e.random.Float64() >= r.probability {
			continue
		}
		if f, ok := r.plan.take(call); ok {
			return e.counted(f)
		}
	}
	return fault{}
}

// pickHooks uses up one of every step that fits an event: faults of webhooks
// add up.
func (e *engine) pickHooks(hold string) []fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []fault
	for _, st := range e.plans[hold] {
		if f, ok := (plan{st}).take(callWebhook); ok {
			out = append(out, e.counted(f))
		}
	}
	for _, r := range e.rules {
		if r.call != "" && r.call != callWebhook || r.probability < 1 && e.random.Float64() >= r.probability {
			continue
		}
		for _, st := range r.plan {
			if f, ok := (plan{st}).take(callWebhook); ok {
				out = append(out, e.counted(f))
			}
		}
	}
	return out
}

func (r rule) fits(call string) bool {
	return r.call == "" || r.call == call || r.call == "void" && call == callCancel ||
		r.call == callAny && (call == callCapture || call == callRefund || call == callCancel)
}

func (e *engine) counted(f fault) fault {
	if f.mode == modeOK {
		return fault{}
	}
	e.count(f.mode)
	return f
}

// texts shows the rules with the times they have left.
func (e *engine) texts() []faultRule {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []faultRule{}
	for _, r := range e.rules {
		left := 0
		for _, st := range r.plan {
			if st.left == always {
				left = always
				break
			}
			left += st.left
		}
		out = append(out, faultRule{Fault: r.text, Call: r.call, Probability: &r.probability, Left: &left})
	}
	return out
}
