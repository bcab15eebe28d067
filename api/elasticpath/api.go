package elasticpath

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Account says what clients call a gateway account.
type Account struct {
	Slug string
	// Gateways are the names that clients pay through it by. The first one is shown
	// for payments that did not come from here.
	Gateways []string
	// Refuses is the name in "Error received from …", for gateways whose errors
	// Elastic Path words so. Empty is "Payment gateway processing failed".
	Refuses string
	// MultiCapture: the gateway lets one hold be captured several times.
	MultiCapture bool
	// ByHand: a person moves its money, so a capture or a refund that is asked for
	// here is that person's word that it happened.
	ByHand bool
}

// Describe is worker.Runner.Describe: it reads a hold at an account's gateway
// and moves nothing.
type Describe func(ctx context.Context, account, hold string) (gateway.HoldFacts, error)

// Config is what the dialect needs.
type Config struct {
	Engine api.Engine
	// Describe comes before a hold is registered; nil registers what is told.
	Describe Describe
	Accounts []Account
	// Wait is how long an answer waits for an outcome; 0 means 10 s. Afterwards the
	// transaction is pending, and goes on by itself.
	Wait time.Duration
	Now  func() time.Time
}

// API is the dialect. It is safe for concurrent use.
type API struct {
	engine   api.Engine
	store    *store.Store
	describe Describe
	accounts []Account
	wait     time.Duration
	now      func() time.Time
}

// New returns the dialect.
func New(c Config) *API {
	a := &API{engine: c.Engine, store: c.Engine.Store, describe: c.Describe, accounts: c.Accounts, wait: c.Wait, now: c.Now}
	if a.wait <= 0 {
		a.wait = 10 * time.Second
	}
	return a
}

// Dialect is the table of routes.
func (a *API) Dialect() api.Dialect {
	const order = "/v2/orders/{order}"
	const one = order + "/transactions/{transaction}"
	return api.Dialect{Name: "elasticpath", Refuse: refuse, Routes: []api.Route{
		{Method: http.MethodPost, Pattern: order + "/payments", Scope: api.ScopeOperate, Handle: a.handler((*call).pay)},
		{Method: http.MethodGet, Pattern: order + "/transactions", Scope: api.ScopeRead, Handle: a.handler((*call).list)},
		{Method: http.MethodGet, Pattern: one, Scope: api.ScopeRead, Handle: a.handler((*call).show)},
		{Method: http.MethodPost, Pattern: one + "/capture", Scope: api.ScopeOperate, Handle: a.handler((*call).capture)},
		{Method: http.MethodPost, Pattern: one + "/refund", Scope: api.ScopeOperate, Handle: a.handler((*call).refund)},
		{Method: http.MethodPost, Pattern: one + "/cancel", Scope: api.ScopeOperate, Handle: a.handler((*call).cancel)},
	}}
}

// call is one request.
type call struct {
	*http.Request
	api *API
	w   http.ResponseWriter
	who api.Caller
}

func (a *API) handler(h func(*call) error) api.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		return h(&call{Request: r, api: a, w: w, who: api.CallerOf(r.Context())})
	}
}

// order finds the order of the path: by our id, or by the reference that the shop
// gave it, which is its id there.
func (c *call) order() (models.Order, error) {
	named := c.PathValue("order")
	if store.ValidID(named) {
		o, err := c.api.store.Order(c.Context(), c.who.Mode, named)
		if !errors.Is(err, store.ErrNotFound) {
			return o, err
		}
	}
	return c.api.store.OrderByReference(c.Context(), c.who.Mode, named)
}

// transaction finds the hold of the path, which must be the order's.
func (c *call) transaction() (models.Order, models.Authorization, Account, error) {
	order, err := c.order()
	if err != nil {
		return order, models.Authorization{}, Account{}, err
	}
	hold, err := c.api.store.Authorization(c.Context(), c.who.Mode, c.PathValue("transaction"))
	if err == nil && hold.OrderID != order.ID {
		err = fmt.Errorf("transaction %s of order %s: %w", hold.ID, order.ID, store.ErrNotFound)
	}
	if err != nil {
		return order, hold, Account{}, err
	}
	account, err := c.account(hold.PaymentGatewayID)
	return order, hold, account, err
}

// account says what clients call a gateway account. One that has no name is
// called by its slug.
func (c *call) account(gatewayID string) (Account, error) {
	g, err := c.api.store.GatewayByID(c.Context(), gatewayID)
	if err != nil {
		return Account{}, err
	}
	for _, a := range c.api.accounts {
		if a.Slug == g.Slug {
			return a, nil
		}
	}
	return Account{Slug: g.Slug, Gateways: []string{g.Slug}}, nil
}

// called reports whether clients call the account so.
func (a Account) called(name string) bool { return name != "" && slices.Contains(a.Gateways, name) }
