package commercelayer

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

type methodAttributes struct {
	Name                          string  `json:"name"`
	PaymentSourceType             string  `json:"payment_source_type"`
	CurrencyCode                  string  `json:"currency_code"`
	AutoCapture                   bool    `json:"auto_capture"`
	AutoCaptureMaxAmountCents     *int64  `json:"auto_capture_max_amount_cents"`
	AutoCaptureMaxAmountFloat     any     `json:"auto_capture_max_amount_float"`
	FormattedAutoCaptureMaxAmount *string `json:"formatted_auto_capture_max_amount"`
	CaptureTrigger                string  `json:"capture_trigger"`
	CaptureDelaySeconds           int64   `json:"capture_delay_seconds"`
	RequireCapture                bool    `json:"require_capture"`
	LastChanceSeconds             *int64  `json:"last_chance_seconds"`
	RefundDifference              bool    `json:"refund_difference"`
	Reauthorize                   bool    `json:"reauthorize"`
	common
}

func (c *call) method(m models.PaymentMethod) *resource {
	limit := money{m.AutoCaptureMaxAmountCents, m.CurrencyCode}
	return c.render(c.api.methodType, m.ID, methodAttributes{
		Name: m.Name, PaymentSourceType: m.PaymentSourceType, CurrencyCode: m.CurrencyCode, AutoCapture: m.AutoCapture,
		AutoCaptureMaxAmountCents: limit.cents, AutoCaptureMaxAmountFloat: limit.float(), FormattedAutoCaptureMaxAmount: limit.formatted(),
		CaptureTrigger: string(m.CaptureTrigger), CaptureDelaySeconds: m.CaptureDelaySeconds, RequireCapture: m.RequireCapture,
		LastChanceSeconds: m.LastChanceSeconds, RefundDifference: m.RefundDifference, Reauthorize: m.Reauthorize, common: commonOf(m.Labels, moment{m.CreatedAt}, moment{m.UpdatedAt}),
	}, m)
}

func (c *call) methods(methods []models.PaymentMethod) []*resource {
	rs := make([]*resource, len(methods))
	for i, m := range methods {
		rs[i] = c.method(m)
	}
	return rs
}

func (a *API) methodResource() *resourceType {
	return &resourceType{
		name: "payment_methods", attributes: attributeNames(methodAttributes{}),
		filters: []string{"id_eq", "reference_eq", "payment_source_type_eq", "currency_code_eq", "auto_capture_eq", "auto_capture_true"},
		find: func(c *call, id string) (*resource, error) {
			m, err := c.api.store.PaymentMethod(c.Context(), c.who.Mode, id)
			if err != nil {
				return nil, err
			}
			return c.method(m), nil
		},
	}
}

func (c *call) listMethods() error {
	t := c.api.methodType
	q, err := readQuery(c.Request, t, true)
	if err != nil {
		return err
	}
	f := store.MethodFilter{
		Mode: c.who.Mode, ID: q.filters["id_eq"], Reference: q.filters["reference_eq"], PaymentSourceType: q.filters["payment_source_type_eq"],
		CurrencyCode: strings.ToUpper(q.filters["currency_code_eq"]), Newest: q.newest,
	}
	for _, name := range []string{"auto_capture_eq", "auto_capture_true"} {
		value, there, err := q.truth(name)
		if err != nil {
			return err
		}
		if there {
			f.AutoCapture = &value
		}
	}
	methods, total, err := c.api.store.PaymentMethods(c.Context(), f, q.page)
	if err != nil {
		return err
	}
	return c.list(t, c.methods(methods), total, q)
}

// policy reads the capture options that were sent into m.
func (in *input) policy(m *models.PaymentMethod) {
	if on := in.flag("auto_capture"); on != nil {
		m.AutoCapture = *on
	}
	if limit, there := in.wholeOrNull("auto_capture_max_amount_cents", 0, models.MaxCents); there {
		m.AutoCaptureMaxAmountCents = limit
	}
	triggers := make([]string, len(models.Triggers))
	for i, t := range models.Triggers {
		triggers[i] = string(t)
	}
	if t := in.word("capture_trigger", triggers...); t != "" {
		m.CaptureTrigger = models.Trigger(t)
	}
	if delay := in.whole("capture_delay_seconds", 0, 1<<40); delay != nil {
		m.CaptureDelaySeconds = *delay
	}
	if on := in.flag("require_capture"); on != nil {
		m.RequireCapture = *on
	}
	if seconds, there := in.wholeOrNull("last_chance_seconds", 1, 1<<40); there {
		m.LastChanceSeconds = seconds
	}
	if on := in.flag("refund_difference"); on != nil {
		m.RefundDifference = *on
	}
	if on := in.flag("reauthorize"); on != nil {
		m.Reauthorize = *on
	}
}

// contradictions names what the policy says against itself. Each of its faults
// begins with the attribute's name.
func (in *input) contradictions(p models.Policy) {
	err := p.Validate()
	if err == nil || len(in.problems) > 0 {
		return
	}
	faults := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		faults = joined.Unwrap()
	}
	for _, fault := range faults {
		name, detail, _ := strings.Cut(fault.Error(), " ")
		in.invalid(name, "invalid", detail, nil)
	}
}

func (c *call) createMethod() error {
	t := c.api.methodType
	in, err := c.input(t, "")
	if err != nil {
		return err
	}
	in.require("name", "payment_source_type", "currency_code")
	m := models.PaymentMethod{
		Mode: c.who.Mode, Name: in.filled("name"), PaymentSourceType: in.token("payment_source_type"), CurrencyCode: in.currency("currency_code"),
		Policy: models.Policy{CaptureTrigger: models.TriggerApproval},
	}
	in.policy(&m)
	in.contradictions(m.Policy)
	m.Labels = newLabels(in.labels())
	named := in.relation("payment_gateway", "payment_gateways", false)
	if err := in.done(t.attributes); err != nil {
		return err
	}
	gateway, err := c.gatewayFor(m.PaymentSourceType, named)
	if err != nil {
		return err
	}
	m.PaymentGatewayID = gateway.ID
	made, err := c.api.store.CreatePaymentMethod(c.Context(), m)
	if err != nil {
		return err
	}
	return c.one(http.StatusCreated, t, c.method(made), in.query)
}

// gatewayFor finds the account of the caller's mode that serves a source type:
// the configured one, or one that was named and is of the same provider.
func (c *call) gatewayFor(sourceType, named string) (models.PaymentGateway, error) {
	account, err := c.configured(sourceType)
	if err != nil || named == "" || named == account.ID {
		return account, err
	}
	const at = "/data/relationships/payment_gateway"
	if !store.ValidID(named) {
		return account, missing(store.ErrNotFound, at)
	}
	chosen, err := c.api.store.GatewayByID(c.Context(), named)
	if err != nil {
		return chosen, missing(err, at)
	}
	if chosen.Mode != c.who.Mode {
		return chosen, missing(store.ErrNotFound, at)
	}
	if chosen.Provider != account.Provider {
		return chosen, &api.Problem{
			Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Validation error", Pointer: at,
			Detail: "the payment gateway " + chosen.Slug + " does not take " + sourceType, Meta: map[string]any{"error": "invalid"},
		}
	}
	return chosen, nil
}

func (c *call) configured(sourceType string) (models.PaymentGateway, error) {
	var types []string
	for _, a := range c.api.accounts {
		g, err := c.api.store.GatewayBySlug(c.Context(), a.Slug)
		if errors.Is(err, store.ErrNotFound) {
			continue // it has no credentials
		}
		if err != nil {
			return g, err
		}
		if g.Mode != c.who.Mode {
			continue
		}
		if a.SourceType == sourceType {
			return g, nil
		}
		if !slices.Contains(types, a.SourceType) {
			types = append(types, a.SourceType)
		}
	}
	there := "none is"
	if len(types) > 0 {
		there = "configured: " + strings.Join(types, ", ")
	}
	return models.PaymentGateway{}, &api.Problem{
		Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Validation error", Pointer: "/data/attributes/payment_source_type",
		Detail: "no payment gateway is configured for this type in mode " + string(c.who.Mode) + "; " + there,
		Meta:   map[string]any{"error": "inclusion"},
	}
}

func (c *call) changeMethod() error {
	t, id := c.api.methodType, c.PathValue("id")
	in, err := c.input(t, id)
	if err != nil {
		return err
	}
	// Everything is read once, here; the edit below may run several times.
	var sent models.PaymentMethod
	in.policy(&sent)
	name := in.text("name")
	if name != nil && strings.TrimSpace(*name) == "" {
		in.invalid("name", "blank", "must not be empty", nil)
	}
	labels := in.labels()
	if err := in.done(t.attributes); err != nil {
		return err
	}
	changed, err := c.api.store.ChangePaymentMethod(c.Context(), c.who.Mode, id, func(m *models.PaymentMethod) error {
		in.policy(m)
		if name != nil {
			m.Name = *name
		}
		if labels.Reference != nil {
			m.Reference = *labels.Reference
		}
		if labels.ReferenceOrigin != nil {
			m.ReferenceOrigin = *labels.ReferenceOrigin
		}
		if labels.Metadata != nil {
			m.Metadata = labels.Metadata
		}
		in.problems = nil
		in.contradictions(m.Policy)
		return in.done(t.attributes)
	})
	if err != nil {
		return err
	}
	return c.one(http.StatusOK, t, c.method(changed), in.query)
}
