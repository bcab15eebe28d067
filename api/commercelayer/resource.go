package commercelayer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
)

// resource is one object of an answer.
type resource struct {
	Type          string                  `json:"type"`
	ID            string                  `json:"id"`
	Links         *links                  `json:"links,omitempty"`
	Attributes    any                     `json:"attributes,omitempty"`
	Relationships map[string]relationship `json:"relationships,omitempty"`
	Meta          *resourceMeta           `json:"meta,omitempty"`

	// row is what the resource was rendered from; relations read its keys.
	row any
}

type resourceMeta struct {
	Mode models.Mode `json:"mode"`
}

type relationship struct {
	Links links `json:"links"`
	Data  any   `json:"data,omitempty"` // linkage, for what is included
}

// linkage is a resource's name alone.
type linkage struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// null is a linkage or a document that points to nothing, and says so.
var null = json.RawMessage("null")

func (r *resource) linkage() linkage { return linkage{Type: r.Type, ID: r.ID} }

type links struct {
	Self    string `json:"self,omitempty"`
	Related string `json:"related,omitempty"`
	First   string `json:"first,omitempty"`
	Prev    string `json:"prev,omitempty"`
	Next    string `json:"next,omitempty"`
	Last    string `json:"last,omitempty"`
}

type document struct {
	Data     any         `json:"data"`
	Included []*resource `json:"included,omitempty"`
	Links    *links      `json:"links,omitempty"`
	Meta     *listMeta   `json:"meta,omitempty"`
}

type listMeta struct {
	RecordCount int `json:"record_count"`
	PageCount   int `json:"page_count"`
	// Estimate: there are at least so many.
	Estimate bool `json:"record_count_is_estimate,omitempty"`
}

// call is one request on its way to an answer.
type call struct {
	*http.Request
	w    http.ResponseWriter
	api  *API
	who  api.Caller
	base string // scheme and host that links begin with
}

func (a *API) call(w http.ResponseWriter, r *http.Request) *call {
	c := &call{Request: r, w: w, api: a, who: api.CallerOf(r.Context()), base: a.publicURL}
	if c.base == "" {
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		c.base = scheme + "://" + r.Host
	}
	return c
}

// render makes the resource of a row, with the links of its relations.
func (c *call) render(t *resourceType, id string, attributes, row any) *resource {
	self := c.base + "/api/" + t.name + "/" + id
	r := &resource{Type: t.name, ID: id, Links: &links{Self: self}, Attributes: attributes, row: row}
	if !t.modeless {
		r.Meta = &resourceMeta{Mode: c.who.Mode}
	}
	for _, rel := range t.relations {
		if r.Relationships == nil {
			r.Relationships = map[string]relationship{}
		}
		r.Relationships[rel.name] = relationship{Links: links{Self: self + "/relationships/" + rel.name, Related: self + "/" + rel.name}}
	}
	return r
}

func (c *call) write(status int, d document) error {
	api.WriteJSON(c.w, status, api.MediaType, d)
	return nil
}

// one answers with a single resource and what the query includes.
func (c *call) one(status int, t *resourceType, r *resource, q query) error {
	included, err := c.include(t, []*resource{r}, q.includes)
	if err != nil {
		return err
	}
	if status == http.StatusCreated {
		c.w.Header().Set("Location", r.Links.Self)
	}
	return c.write(status, document{Data: r, Included: included})
}

// list answers with a page of resources.
func (c *call) list(t *resourceType, rs []*resource, total int, q query) error {
	included, err := c.include(t, rs, q.includes)
	if err != nil {
		return err
	}
	if rs == nil {
		rs = []*resource{}
	}
	pages := max(1, (total+q.page.Size-1)/q.page.Size)
	return c.write(http.StatusOK, document{
		Data: rs, Included: included, Meta: &listMeta{RecordCount: total, PageCount: pages}, Links: c.pages(q.page.Number, pages),
	})
}

// pages links a list's other pages. The query was checked before.
func (c *call) pages(number, count int) *links {
	values := c.URL.Query()
	at := func(n int) string {
		v := url.Values{}
		for name, value := range values {
			v[name] = value
		}
		v.Set("page[number]", strconv.Itoa(n))
		return c.base + c.URL.Path + "?" + v.Encode()
	}
	l := &links{First: at(1), Last: at(count)}
	if number > 1 {
		l.Prev = at(min(number-1, count))
	}
	if number < count {
		l.Next = at(number + 1)
	}
	return l
}

// money is an amount in the three forms of the API. Null stays null.
type money struct {
	cents    *int64
	currency string
}

func of(cents int64, currency string) money { return money{&cents, currency} }

func (m money) float() *json.Number {
	if m.cents == nil {
		return nil
	}
	n := json.Number(models.Decimal(*m.cents, m.currency))
	return &n
}

func (m money) formatted() *string {
	if m.cents == nil {
		return nil
	}
	s := models.FormatMoney(*m.cents, m.currency)
	return &s
}

// orNull renders what is empty as null.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// common are the attributes that every resource ends with.
type common struct {
	CreatedAt       string          `json:"created_at"`
	UpdatedAt       string          `json:"updated_at"`
	Reference       *string         `json:"reference"`
	ReferenceOrigin *string         `json:"reference_origin"`
	Metadata        json.RawMessage `json:"metadata"`
}

func commonOf(l models.Labels, created, updated moment) common {
	metadata := l.Metadata
	if len(bytes.TrimSpace(metadata)) == 0 {
		metadata = json.RawMessage("{}")
	}
	return common{
		CreatedAt: created.String(), UpdatedAt: updated.String(),
		Reference: orNull(l.Reference), ReferenceOrigin: orNull(l.ReferenceOrigin), Metadata: metadata,
	}
}

// attributeNames lists the members of an attributes struct: what an answer has,
// and what a write may therefore not send unless it is read on purpose.
func attributeNames(attributes any) []string {
	raw, err := json.Marshal(attributes)
	if err != nil {
		panic(fmt.Sprintf("attributes that do not marshal: %v", err))
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		panic(fmt.Sprintf("attributes that are no object: %v", err))
	}
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
