package hellgate

import (
	"context"
	"net/http"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Config is what the dialect needs.
type Config struct {
	Store    *store.Store
	Enqueuer *enqueuer.Enqueuer
	// Settle is worker.Runner.Settle: it comes before what depends on an outcome.
	// Nil leaves open ones to their schedule.
	Settle func(ctx context.Context, mode models.Mode, orderID, actor string) error
	// Describe is worker.Runner.Describe: it comes before a hold is registered. Nil
	// registers what is told.
	Describe func(ctx context.Context, account, hold string) (gateway.HoldFacts, error)
	Now      func() time.Time
}

// API is the dialect. It is safe for concurrent use.
type API struct {
	c      Config
	engine api.Engine
}

// New returns the dialect.
func New(c Config) *API {
	return &API{c: c, engine: api.Engine{Store: c.Store, Enqueuer: c.Enqueuer, Settle: c.Settle}}
}

// version is the header that names a version of the original's API. Any is
// taken, there is one here, and it is told back as it came.
const version = "X-Hellgate-Version"

// Dialect is the table of routes.
func (a *API) Dialect() api.Dialect {
	d := api.Dialect{Name: "hellgate", Refuse: refuse}
	add := func(method, pattern string, scope api.Scope, h func(*call) error) {
		d.Routes = append(d.Routes, api.Route{Method: method, Pattern: pattern, Scope: scope, Handle: func(w http.ResponseWriter, r *http.Request) error {
			if v := r.Header.Get(version); versionForm.MatchString(v) {
				w.Header().Set(version, v)
			}
			return h(&call{Request: r, w: w, api: a, who: api.CallerOf(r.Context())})
		}})
	}
	add(http.MethodPost, "/payments", api.ScopeOperate, (*call).createPayment)
	add(http.MethodGet, "/payments", api.ScopeRead, (*call).listPayments)
	add(http.MethodGet, "/payments/{id}", api.ScopeRead, (*call).showPayment)
	add(http.MethodPost, "/payments/{id}/capture", api.ScopeOperate, (*call).capture)
	add(http.MethodPost, "/payments/{id}/void", api.ScopeOperate, (*call).void)
	add(http.MethodPost, "/payments/{id}/refunds", api.ScopeOperate, (*call).createRefund)
	add(http.MethodPost, "/payments/{id}/refund", api.ScopeOperate, (*call).createRefund) // as the original's guide has it
	add(http.MethodGet, "/payments/{id}/refunds", api.ScopeRead, (*call).listRefunds)
	add(http.MethodGet, "/refunds/{id}", api.ScopeRead, (*call).showRefund)
	return d
}

// call is one request.
type call struct {
	*http.Request
	w   http.ResponseWriter
	api *API
	who api.Caller
}

func (c *call) store() *store.Store { return c.api.c.Store }

func (c *call) answer(v any) error {
	api.WriteJSON(c.w, http.StatusOK, "application/json", v)
	return nil
}

// settled does something that depends on how an order's operations ended.
func (c *call) settled(orderID string, fn func(context.Context, store.Tx) (enqueuer.Published, error)) (enqueuer.Published, error) {
	return c.api.engine.Settled(c.Context(), orderID, fn)
}
