package commercelayer

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// maxApprovals is how many orders one request may approve.
const maxApprovals = 1000

// approveOrder answers a PATCH that approves and changes nothing else. The
// ledger's answer is the client's: nothing is read again.
func (c *call) approveOrder(in *input, id string) error {
	approvals, err := c.api.enqueuer.ApproveNow(c.Context(), c.who.Mode, []string{id}, c.who.Actor())
	if err != nil {
		return err
	}
	one := approvals.Each[0]
	if one.Err != nil {
		return in.refused(one.Err, "/data")
	}
	return c.one(http.StatusOK, c.api.orderType, c.order(one.Order), in.query)
}

// approval is what became of one order of a bulk approval: the order as it
// stands now, or why it was refused.
type approval struct {
	Type       string            `json:"type"`
	ID         string            `json:"id"`
	Links      *links            `json:"links,omitempty"`
	Attributes any               `json:"attributes,omitempty"`
	Errors     []api.ErrorObject `json:"errors,omitempty"`
	Meta       approvalMeta      `json:"meta"`
}

type approvalMeta struct {
	Mode   models.Mode `json:"mode"`
	Result string      `json:"result"`
	// Captures are the ids of those that this approval made.
	Captures []string `json:"captures"`
}

// approvedAttributes are those that an approval changes, and what a person
// knows an order by.
type approvedAttributes struct {
	Number               string  `json:"number"`
	Reference            *string `json:"reference"`
	Status               string  `json:"status"`
	PaymentStatus        string  `json:"payment_status"`
	FulfillmentStatus    string  `json:"fulfillment_status"`
	CurrencyCode         string  `json:"currency_code"`
	TotalAmountCents     *int64  `json:"total_amount_cents"`
	TotalAmountFloat     any     `json:"total_amount_float"`
	FormattedTotalAmount *string `json:"formatted_total_amount"`
	ApprovedAt           *string `json:"approved_at"`
	UpdatedAt            string  `json:"updated_at"`
}

type approvalCounts struct {
	Approved  int `json:"approved"`
	Unchanged int `json:"unchanged"`
	Refused   int `json:"refused"`
}

// approveOrders answers POST /api/orders/approve: each order by itself, in the
// order of the request. Orders that are refused do not stand in the way of the others.
func (c *call) approveOrders() error {
	t := c.api.orderType
	document, _, err := c.document(&resourceType{name: t.name})
	if err != nil {
		return err
	}
	ids, err := identifiers(document, t.name, maxApprovals)
	if err != nil {
		return err
	}
	approvals, err := c.api.enqueuer.ApproveNow(c.Context(), c.who.Mode, ids, c.who.Actor())
	if err != nil {
		return err
	}
	answer := struct {
		Data []approval     `json:"data"`
		Meta approvalCounts `json:"meta"`
	}{Data: make([]approval, len(ids))}
	for i, one := range approvals.Each {
		answer.Data[i] = c.approval(i, one)
	}
	answer.Meta.Approved, answer.Meta.Unchanged, answer.Meta.Refused = approvals.Counts()
	api.WriteJSON(c.w, http.StatusOK, api.MediaType, answer)
	return nil
}

func (c *call) approval(i int, one store.Approval) approval {
	a := approval{Type: c.api.orderType.name, ID: cut(one.OrderID), Meta: approvalMeta{Mode: c.who.Mode, Result: "approved", Captures: []string{}}}
	if one.Err != nil {
		a.Meta.Result = "refused"
		problems := api.Problems(one.Err)
		for _, p := range problems {
			p.Pointer = "/data/" + strconv.Itoa(i)
		}
		a.Errors = api.ErrorObjects(problems)
		return a
	}
	if one.Unchanged {
		a.Meta.Result = "unchanged"
	}
	for _, op := range one.Operations {
		a.Meta.Captures = append(a.Meta.Captures, op.ID)
	}
	o := one.Order
	total := of(o.TotalAmountCents, o.CurrencyCode)
	a.ID, a.Links = o.ID, &links{Self: c.base + "/api/" + c.api.orderType.name + "/" + o.ID}
	a.Attributes = approvedAttributes{
		Number: strconv.FormatInt(o.Number, 10), Reference: orNull(o.Reference), Status: string(o.Status), PaymentStatus: string(o.PaymentStatus),
		FulfillmentStatus: string(o.FulfillmentStatus), CurrencyCode: o.CurrencyCode,
		TotalAmountCents: total.cents, TotalAmountFloat: total.float(), FormattedTotalAmount: total.formatted(),
		ApprovedAt: momentOrNull(o.ApprovedAt), UpdatedAt: moment{o.UpdatedAt}.String(),
	}
	return a
}

// identifiers reads a document whose data is a list of resource identifiers:
// type and id and nothing that would ask for more. Every fault is named.
func identifiers(document map[string]any, typ string, most int) ([]string, error) {
	data, ok := document["data"].([]any)
	if !ok {
		return nil, malformed("the document has no list of resource identifiers", "/data")
	}
	if len(data) == 0 || len(data) > most {
		return nil, &api.Problem{
			Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Validation error", Pointer: "/data",
			Detail: fmt.Sprintf("data must name from 1 to %d %s, not %d", most, typ, len(data)), Meta: map[string]any{"error": "length", "value": most},
		}
	}
	ids := make([]string, len(data))
	var unknown api.Invalid
	for i, one := range data {
		at := "/data/" + strconv.Itoa(i)
		entry, ok := one.(map[string]any)
		if !ok {
			return nil, malformed("an entry of data is not an object", at)
		}
		if given, ok := entry["type"].(string); !ok {
			return nil, malformed("a resource identifier has no type", at+"/type")
		} else if given != typ {
			return nil, &api.Problem{
				Status: http.StatusConflict, Code: api.CodeConflict, Title: "Conflict",
				Detail: fmt.Sprintf("the type is %q, and this is the path of %s", cut(given), typ), Pointer: at + "/type",
			}
		}
		if ids[i], ok = entry["id"].(string); !ok || ids[i] == "" {
			return nil, malformed("a resource identifier has no id", at+"/id")
		}
		unknown = append(unknown, beyond(entry, at)...)
	}
	if len(unknown) > 0 {
		return nil, unknown[:min(len(unknown), 25)]
	}
	return ids, nil
}

// beyond names the attributes of a resource identifier, which has none: they
// would ask for a change that is not made here.
func beyond(entry map[string]any, at string) api.Invalid {
	attributes, isObject := entry["attributes"].(map[string]any)
	if v, there := entry["attributes"]; there && v != nil && !isObject {
		return api.Invalid{malformed("attributes is not an object", at+"/attributes")}
	}
	names := make([]string, 0, len(attributes))
	for name := range attributes {
		names = append(names, name)
	}
	slices.Sort(names)
	var problems api.Invalid
	for _, name := range names {
		problems = append(problems, &api.Problem{
			Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Validation error",
			Detail: cut(name) + " cannot be sent here; each entry is named by its type and id alone", Pointer: at + "/attributes" + pointer([]string{name}),
			Meta: map[string]any{"error": "unknown_attribute"},
		})
	}
	return problems
}
