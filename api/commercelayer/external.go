package commercelayer

import (
	"net/http"
	"net/url"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// ExternalGateway is an external payment gateway as it is configured. Its secret
// is no part of it.
type ExternalGateway struct {
	Slug string
	// The URLs are shown without their queries, which may hold credentials.
	CaptureURL, VoidURL, RefundURL string
	// Includes are the relationships that its calls bring along.
	Includes []string
}

type externalAttributes struct {
	Name                string   `json:"name"`
	ForcePayments       bool     `json:"force_payments"`
	AuthorizeURL        *string  `json:"authorize_url"`
	CaptureURL          *string  `json:"capture_url"`
	VoidURL             *string  `json:"void_url"`
	RefundURL           *string  `json:"refund_url"`
	TokenURL            *string  `json:"token_url"`
	ExternalIncludes    []string `json:"external_includes"`
	CircuitState        string   `json:"circuit_state"`
	CircuitFailureCount int      `json:"circuit_failure_count"`
	CircuitOpenedAt     *string  `json:"circuit_opened_at"`
	DisabledAt          *string  `json:"disabled_at"`
	// An account is paused without a person, too: while its credentials are refused.
	PausedAt     *string `json:"paused_at"`
	PausedReason *string `json:"paused_reason"`
	common
}

func (c *call) external(g models.PaymentGateway, set ExternalGateway) *resource {
	state := "closed"
	if g.CircuitOpenedAt != nil {
		state = "open"
	}
	return c.render(c.api.externalType, g.ID, externalAttributes{
		Name: g.Slug, CaptureURL: shown(set.CaptureURL), VoidURL: shown(set.VoidURL), RefundURL: shown(set.RefundURL),
		ExternalIncludes: append([]string{}, set.Includes...), CircuitState: state, CircuitFailureCount: g.CircuitFailures,
		CircuitOpenedAt: momentOrNull(g.CircuitOpenedAt), DisabledAt: momentOrNull(g.DisabledAt),
		PausedAt: momentOrNull(g.PausedAt), PausedReason: orNull(g.PausedReason),
		common: commonOf(models.Labels{}, moment{g.CreatedAt}, moment{g.UpdatedAt}),
	}, g)
}

// shown is a URL fit to be shown.
func shown(raw string) *string {
	u, err := url.Parse(raw)
	if raw == "" || err != nil {
		return nil
	}
	return orNull((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String())
}

func (a *API) externalResource() *resourceType {
	return &resourceType{
		name: "external_gateways", attributes: attributeNames(externalAttributes{}),
		find: func(c *call, id string) (*resource, error) {
			g, set, err := c.externalGateway(id)
			if err != nil {
				return nil, err
			}
			return c.external(g, set), nil
		},
	}
}

// externalGateway finds a configured external gateway of the caller's mode.
func (c *call) externalGateway(id string) (models.PaymentGateway, ExternalGateway, error) {
	if store.ValidID(id) {
		g, err := c.api.store.GatewayByID(c.Context(), id)
		if err != nil {
			return g, ExternalGateway{}, err
		}
		for _, set := range c.api.externals {
			if set.Slug == g.Slug && g.Mode == c.who.Mode {
				return g, set, nil
			}
		}
	}
	return models.PaymentGateway{}, ExternalGateway{}, api.NotFound("the requested resource was not found")
}

func (c *call) listExternals() error {
	t := c.api.externalType
	q, err := readQuery(c.Request, t, true)
	if err != nil {
		return err
	}
	var all []*resource
	for _, set := range c.api.externals {
		g, err := c.api.store.GatewayBySlug(c.Context(), set.Slug)
		if err != nil {
			return err
		}
		if g.Mode == c.who.Mode {
			all = append(all, c.external(g, set))
		}
	}
	from := min((q.page.Number-1)*q.page.Size, len(all))
	return c.list(t, all[from:min(from+q.page.Size, len(all))], len(all), q)
}

// changeExternal answers PATCH /api/external_gateways/:id: a person stops the
// account, lets it go on, or closes its circuit. meta.reason says why.
func (c *call) changeExternal() error {
	t, id := c.api.externalType, c.PathValue("id")
	in, err := c.input(t, id)
	if err != nil {
		return err
	}
	asked := map[string]bool{"_disable": in.trigger("_disable"), "_enable": in.trigger("_enable"), "_reset_circuit": in.trigger("_reset_circuit")}
	in.only(asked)
	if err := in.done(t.attributes); err != nil {
		return err
	}
	g, _, err := c.externalGateway(id)
	if err != nil {
		return err
	}
	for name, action := range map[string]store.GatewayAction{
		"_disable": store.DisableGateway, "_enable": store.EnableGateway, "_reset_circuit": store.ResetGatewayCircuit,
	} {
		if !asked[name] {
			continue
		}
		if name != "_reset_circuit" && c.who.Scope < api.ScopeAdmin {
			return api.Forbidden(c.who, api.ScopeAdmin)
		}
		if err := c.api.store.ActOnGateway(c.Context(), nil, g, action, c.who.Actor(), in.reason()); err != nil {
			return err
		}
	}
	return c.again(http.StatusOK, t, id, in.query)
}
