package commercelayer

import (
	"context"
	"net/http"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/enqueuer"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
	"github.com/capstan-pay/capstan/worker"
)

// Account says which payment gateway serves a payment source type. With an
// account of each mode, a source type is there twice.
type Account struct {
	// SourceType is Commerce Layer's word: stripe_payments.
	SourceType string
	Slug       string
	// MultiCapture: the gateway lets one hold be captured several times.
	MultiCapture bool
	// Reauthorize: the gateway can renew a hold.
	Reauthorize bool
}

// Forward is worker.Runner.Forward: it looks an operation up at the gateway and
// records with proof that it succeeded there.
type Forward func(ctx context.Context, mode models.Mode, kind models.Kind, id, actor, reason string) (models.Decision, error)

// AdoptRefund is worker.Runner.AdoptRefund: it makes a row for a refund of a
// capture that a line of the gateway's list tells of, and moves no money.
type AdoptRefund func(ctx context.Context, mode models.Mode, captureID string, line models.Movement, actor, reason string) (models.Operation, error)

// Config is what the dialect needs.
type Config struct {
	Store    *store.Store
	Enqueuer *enqueuer.Enqueuer
	Forward  Forward
	// Settle comes before what depends on an outcome; nil leaves open ones to
	// their schedule.
	Settle      Settle
	AdoptRefund AdoptRefund
	// Person records what a person says became of money; nil takes nobody's word.
	Person *worker.Runner
	// Inspect compares captures with the gateway's book; nil compares none.
	Inspect Inspect
	// Describe comes before a hold is registered; nil registers what is told.
	Describe Describe
	// Reauthorize renews holds; nil renews none.
	Reauthorize Reauthorize
	Accounts    []Account
	// External are the external payment gateways, which people may stop and reset.
	External []ExternalGateway
	// PublicURL is what links begin with: https://capstan.example. Empty takes
	// the host of each request.
	PublicURL string
	// RefuseCaptures makes POST /api/captures 405, as Commerce Layer has it today.
	RefuseCaptures bool
	Now            func() time.Time
}

// API is the dialect. It is safe for concurrent use.
type API struct {
	store          *store.Store
	enqueuer       *enqueuer.Enqueuer
	engine         api.Engine
	forward        Forward
	inspect        Inspect
	adoptRefund    AdoptRefund
	person         *worker.Runner
	describe       Describe
	reauthorize    Reauthorize
	accounts       []Account
	externals      []ExternalGateway
	publicURL      string
	refuseCaptures bool
	now            func() time.Time

	orderType, holdType, captureType, refundType, voidType *resourceType
	methodType, verdictType, reconciliationType            *resourceType
	externalType                                           *resourceType
}

// New returns the dialect.
func New(c Config) *API {
	a := &API{
		store: c.Store, enqueuer: c.Enqueuer, accounts: c.Accounts, publicURL: c.PublicURL,
		forward: c.Forward, inspect: c.Inspect, adoptRefund: c.AdoptRefund, person: c.Person, describe: c.Describe, reauthorize: c.Reauthorize,
		refuseCaptures: c.RefuseCaptures, now: c.Now,
		engine: api.Engine{Store: c.Store, Enqueuer: c.Enqueuer, Settle: c.Settle, Person: c.Person},
	}
	a.orderType, a.holdType, a.methodType = a.orderResource(), a.holdResource(), a.methodResource()
	a.captureType, a.refundType, a.voidType = a.operationResource(models.Capture), a.operationResource(models.Refund), a.operationResource(models.Void)
	a.externalType, a.externals = a.externalResource(), c.External
	a.verdictType, a.reconciliationType = a.verdictResource(), a.reconciliationResource()
	return a
}

// Dialect is the table of routes.
func (a *API) Dialect() api.Dialect {
	d := api.Dialect{Name: "commercelayer", Refuse: refuse}
	add := func(method, pattern string, scope api.Scope, h api.Handler) {
		d.Routes = append(d.Routes, api.Route{Method: method, Pattern: pattern, Scope: scope, Handle: h})
	}
	read := func(t *resourceType, list func(*call) error) {
		add(http.MethodGet, "/api/"+t.name, api.ScopeRead, a.reading(list))
		add(http.MethodGet, "/api/"+t.name+"/{id}", api.ScopeRead, a.reading(func(c *call) error { return c.show(t) }))
		for _, rel := range t.relations {
			add(http.MethodGet, "/api/"+t.name+"/{id}/"+rel.name, api.ScopeRead, a.related(t, rel))
			add(http.MethodGet, "/api/"+t.name+"/{id}/relationships/"+rel.name, api.ScopeRead, a.linked(t, rel))
		}
	}
	create := func(t *resourceType, scope api.Scope, h func(*call) error) {
		add(http.MethodPost, "/api/"+t.name, scope, a.reading(h))
	}
	change := func(t *resourceType, scope api.Scope, h func(*call) error) {
		add(http.MethodPatch, "/api/"+t.name+"/{id}", scope, a.reading(h))
	}

	read(a.methodType, (*call).listMethods)
	create(a.methodType, api.ScopeAdmin, (*call).createMethod)
	change(a.methodType, api.ScopeAdmin, (*call).changeMethod)

	read(a.orderType, (*call).listOrders)
	create(a.orderType, api.ScopeOperate, (*call).createOrder)
	change(a.orderType, api.ScopeOperate, (*call).changeOrder)
	add(http.MethodPost, "/api/"+a.orderType.name+"/approve", api.ScopeOperate, a.reading((*call).approveOrders))

	read(a.holdType, func(c *call) error { return c.listHolds("") })
	create(a.holdType, api.ScopeOperate, (*call).createHold)
	change(a.holdType, api.ScopeOperate, (*call).changeHold)

	for _, kind := range models.Kinds {
		t := a.typeOf(kind)
		read(t, func(c *call) error { return c.listOperations(kind, store.Filter{}) })
		change(t, api.ScopeOperate, func(c *call) error { return c.changeOperation(kind) })
	}
	if !a.refuseCaptures {
		create(a.captureType, api.ScopeOperate, (*call).createCapture)
	}

	read(a.verdictType, (*call).listVerdicts)
	change(a.verdictType, api.ScopeOperate, (*call).changeVerdict)
	add(http.MethodGet, "/api/report", api.ScopeRead, a.reading((*call).report))
	add(http.MethodPost, "/api/discrepancies", api.ScopeOperate, a.reading((*call).discrepancies))
	read(a.reconciliationType, (*call).listReconciliations)
	read(a.externalType, (*call).listExternals)
	change(a.externalType, api.ScopeOperate, (*call).changeExternal)
	return d
}

// refuse words problems as Commerce Layer does: what a token may not do is 401.
func refuse(w http.ResponseWriter, r *http.Request, problems []*api.Problem) {
	if p := problems[0]; p.Status == http.StatusForbidden && p.Code == api.CodeUnauthorized {
		worded := *p
		worded.Status = http.StatusUnauthorized
		problems = []*api.Problem{&worded}
	}
	api.RefuseJSONAPI(w, r, problems)
}

// reading wraps a handler of this dialect.
func (a *API) reading(h func(*call) error) api.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if problem := acceptable(r); problem != nil {
			return problem
		}
		return h(a.call(w, r))
	}
}

// show answers GET /api/{type}/{id}.
func (c *call) show(t *resourceType) error {
	q, err := readQuery(c.Request, t, false)
	if err != nil {
		return err
	}
	r, err := t.find(c, c.PathValue("id"))
	if err != nil {
		return err
	}
	return c.one(http.StatusOK, t, r, q)
}

// again reads a resource anew after a change, and answers with it.
func (c *call) again(status int, t *resourceType, id string, q query) error {
	r, err := t.find(c, id)
	if err != nil {
		return err
	}
	return c.one(status, t, r, q)
}
