package paypal

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// tokenMargin is how long before its end a token is replaced; of a short life
// it is a tenth.
const tokenMargin = 5 * time.Minute

// tokens keeps the access token of one account. Calls that need a new one wait
// for the same request; each no longer than its own context.
type tokens struct {
	now   func() time.Time
	limit time.Duration // of one request
	ask   func(context.Context) gateway.Answer
	stop  context.Context

	mu      sync.Mutex
	current grant
	flight  *flight
}

// grant is a token. Its value is kept in a func, where package fmt cannot print it.
type grant struct {
	value func() string
	until time.Time
}

// flight is a request for a token that is under way. The rest is readable when
// done is closed: a grant, or why there is none.
type flight struct {
	done   chan struct{}
	grant  grant
	failed *models.Evidence
}

// get returns a token, and whether it was kept from before. Without one it says
// why; the call that needed it was not sent then.
func (t *tokens) get(ctx context.Context) (string, bool, *models.Evidence) {
	t.mu.Lock()
	if t.current.value != nil && t.now().Before(t.current.until) {
		defer t.mu.Unlock()
		return t.current.value(), true, nil
	}
	f := t.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		t.flight = f
		go t.fetch(f)
	}
	t.mu.Unlock()
	select {
	case <-f.done:
	case <-ctx.Done():
		return "", false, &models.Evidence{
			Outcome: models.OutcomeNotSent, NextAction: gateway.NextRetry, Message: "no access token of PayPal's came in time: " + ctx.Err().Error(),
		}
	}
	if f.failed != nil {
		return "", false, f.failed
	}
	return f.grant.value(), false, nil
}

// fetch asks once, for everybody who waits. It does not end with the context of
// whoever came first.
func (t *tokens) fetch(f *flight) {
	ctx, cancel := context.WithTimeout(t.stop, t.limit)
	defer cancel()
	asked := t.now()
	f.grant, f.failed = granted(t.ask(ctx), asked)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flight = nil
	if f.failed == nil {
		t.current = f.grant
	}
	close(f.done)
}

// drop forgets a token that PayPal does not take any more, unless it was
// replaced already.
func (t *tokens) drop(value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current.value != nil && t.current.value() == value {
		t.current = grant{}
	}
}

// forget makes the next call ask for a new token.
func (t *tokens) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current = grant{}
}

// granted reads the answer to a request for a token. It is pure. Whatever is no
// token is NotSent: the operation never left, and that is sure.
func granted(a gateway.Answer, asked time.Time) (grant, *models.Evidence) {
	ev := models.Evidence{
		Outcome: models.OutcomeNotSent, NextAction: gateway.NextRetry, Status: a.Status,
		RequestID: gateway.CleanID(a.Header.Get(debugHeader)), RetryAfter: gateway.RetryAfter(a.Header),
	}
	if a.Phase != gateway.PhaseAnswered {
		ev.Message = a.Said("no access token was had")
		return grant{}, &ev
	}
	var body struct {
		Token   string `json:"access_token"`
		Seconds int64  `json:"expires_in"`
	}
	if a.Status == http.StatusOK && json.Unmarshal(a.Body, &body) == nil && usable(body.Token) {
		life := time.Duration(min(max(body.Seconds, 0), 7*24*3600)) * time.Second
		return grant{value: func() string { return body.Token }, until: asked.Add(life - min(tokenMargin, life/10))}, nil
	}
	ev.ErrorCode, ev.Message = "token", "PayPal gave no access token"
	if e := parseError(a.Body); e != nil && a.Status >= 400 {
		ev.ErrorCode, ev.ErrorDetail = gateway.CleanText(e.Name), gateway.CleanText(e.Message)
	}
	switch a.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		ev.Class, ev.NextAction = models.ClassConfig, gateway.NextContact
		ev.Message = "PayPal refuses the client id and secret; set those of this account and mode"
	case http.StatusTooManyRequests:
		ev.Class = models.ClassThrottled
	}
	return grant{}, &ev
}

// usable reports whether a token can stand in a header.
func usable(token string) bool {
	for _, r := range token {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return token != "" && len(token) <= 8192
}
