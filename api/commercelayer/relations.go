package commercelayer

import (
	"errors"
	"net/http"
	"slices"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// maxRelated bounds how many rows one relation may bring into an answer.
const maxRelated = 1000

// relation joins a resource type to another.
type relation struct {
	name string
	many bool
	// target is the type at the other end; nil for a relation that is always empty.
	target func() *resourceType
	// load reads the other ends of several resources in one query, by the id of
	// the resource they belong to. Nil is always empty.
	load func(c *call, from []*resource) (map[string][]*resource, error)
	// nested answers the related path as a list of its own, with pages and filters.
	nested func(c *call, id string) error
	// alone relations are read by their own path only.
	alone bool
}

// resourceType is one kind of resource.
type resourceType struct {
	name string
	// attributes are the members of an answer's attributes.
	attributes []string
	filters    []string
	relations  []relation
	// find reads one resource of the caller's mode.
	find func(c *call, id string) (*resource, error)
	// modeless resources belong to the deployment.
	modeless bool
}

func (t *resourceType) relation(name string) *relation {
	i := slices.IndexFunc(t.relations, func(r relation) bool { return r.name == name })
	if i < 0 {
		return nil
	}
	return &t.relations[i]
}

// nothing is the target of relations that Commerce Layer has and Capstan leaves
// empty: they answer, with nothing in them.
func nothing() *resourceType { return nil }

// related answers GET /api/{type}/{id}/{relation}.
func (a *API) related(t *resourceType, rel relation) api.Handler {
	return a.reading(func(c *call) error {
		from, err := t.find(c, c.PathValue("id"))
		if err != nil {
			return err
		}
		if rel.nested != nil {
			return rel.nested(c, from.ID)
		}
		if _, err := readQuery(c.Request, &resourceType{name: rel.name}, false); err != nil {
			return err
		}
		ends, err := c.ends(rel, from)
		if err != nil {
			return err
		}
		if rel.many {
			return c.write(http.StatusOK, document{Data: ends, Meta: &listMeta{RecordCount: len(ends), PageCount: 1}})
		}
		if len(ends) == 0 {
			return c.write(http.StatusOK, document{Data: null})
		}
		return c.write(http.StatusOK, document{Data: ends[0]})
	})
}

// linked answers GET /api/{type}/{id}/relationships/{relation}: names only.
func (a *API) linked(t *resourceType, rel relation) api.Handler {
	return a.reading(func(c *call) error {
		from, err := t.find(c, c.PathValue("id"))
		if err != nil {
			return err
		}
		if _, err := readQuery(c.Request, &resourceType{name: rel.name}, false); err != nil {
			return err
		}
		ends, err := c.ends(rel, from)
		if err != nil {
			return err
		}
		own := from.Relationships[rel.name].Links
		return c.write(http.StatusOK, document{Data: linkageOf(rel, ends), Links: &own})
	})
}

func (c *call) ends(rel relation, from *resource) ([]*resource, error) {
	if rel.load == nil {
		return []*resource{}, nil
	}
	loaded, err := rel.load(c, []*resource{from})
	if err != nil {
		return nil, err
	}
	if ends := loaded[from.ID]; ends != nil {
		return ends, nil
	}
	return []*resource{}, nil
}

func linkageOf(rel relation, ends []*resource) any {
	names := make([]linkage, len(ends))
	for i, e := range ends {
		names[i] = e.linkage()
	}
	switch {
	case rel.many:
		return names
	case len(names) == 0:
		return null
	}
	return names[0]
}

// include loads what the paths name, one query a step whatever the number of
// resources, and puts the linkage into those that were there already.
func (c *call) include(t *resourceType, from []*resource, paths [][]string) ([]*resource, error) {
	there := map[linkage]*resource{}
	for _, r := range from {
		there[r.linkage()] = r
	}
	var included []*resource
	for _, path := range paths {
		at, step := t, from
		for _, name := range path {
			rel := at.relation(name)
			next, err := c.step(rel, step, there, &included)
			if err != nil {
				return nil, err
			}
			at, step = rel.target(), next
		}
	}
	return included, nil
}

// step follows one relation from several resources.
func (c *call) step(rel *relation, from []*resource, there map[linkage]*resource, included *[]*resource) ([]*resource, error) {
	loaded := map[string][]*resource{}
	if rel.load != nil && len(from) > 0 {
		var err error
		if loaded, err = rel.load(c, from); err != nil {
			return nil, err
		}
	}
	var next []*resource
	for _, r := range from {
		ends := loaded[r.ID]
		for i, e := range ends {
			if known := there[e.linkage()]; known != nil {
				ends[i] = known
			} else {
				there[e.linkage()] = e
				*included = append(*included, e)
			}
			next = append(next, ends[i])
		}
		own := r.Relationships[rel.name]
		own.Data = linkageOf(*rel, ends)
		r.Relationships[rel.name] = own
	}
	return next, nil
}

// keys collects a key of several resources, each once.
func keys(from []*resource, key func(row any) string) []string {
	var ids []string
	for _, r := range from {
		if id := key(r.row); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// toOne loads the far end of a key that each resource holds.
func toOne(key func(row any) string, fetch func(c *call, ids []string) ([]*resource, error)) func(*call, []*resource) (map[string][]*resource, error) {
	return func(c *call, from []*resource) (map[string][]*resource, error) {
		ids := keys(from, key)
		if len(ids) == 0 {
			return nil, nil
		}
		ends, err := fetch(c, ids)
		if err != nil {
			return nil, err
		}
		byID := map[string]*resource{}
		for _, e := range ends {
			byID[e.ID] = e
		}
		loaded := map[string][]*resource{}
		for _, r := range from {
			if e := byID[key(r.row)]; e != nil {
				loaded[r.ID] = []*resource{e}
			}
		}
		return loaded, nil
	}
}

// toMany loads the resources that hold a key of each.
func toMany(owner func(row any) string, fetch func(c *call, ids []string) ([]*resource, error)) func(*call, []*resource) (map[string][]*resource, error) {
	return func(c *call, from []*resource) (map[string][]*resource, error) {
		ids := make([]string, len(from))
		for i, r := range from {
			ids[i] = r.ID
		}
		ends, err := fetch(c, ids)
		if err != nil {
			return nil, err
		}
		if len(ends) >= maxRelated {
			return nil, badParameter("INVALID_INCLUDE", "include", "too many resources would be included; list them by their own path")
		}
		loaded := map[string][]*resource{}
		for _, e := range ends {
			id := owner(e.row)
			loaded[id] = append(loaded[id], e)
		}
		return loaded, nil
	}
}

// The keys that rows hold.

func orderOf(row any) string {
	switch row := row.(type) {
	case models.Operation:
		return row.OrderID
	case models.Authorization:
		return row.OrderID
	}
	return ""
}

func authorizationOf(row any) string {
	if op, ok := row.(models.Operation); ok {
		return op.AuthorizationID
	}
	return ""
}

func captureOf(row any) string {
	if op, ok := row.(models.Operation); ok && op.CaptureID != nil {
		return *op.CaptureID
	}
	return ""
}

func methodOf(row any) string {
	if o, ok := row.(models.Order); ok {
		return o.PaymentMethodID
	}
	return ""
}

// The rows that several keys lead to.

func ordersByID(c *call, ids []string) ([]*resource, error) {
	orders, err := c.api.store.OrdersByID(c.Context(), c.who.Mode, ids)
	return c.orders(orders), err
}

func methodsByID(c *call, ids []string) ([]*resource, error) {
	methods, err := c.api.store.PaymentMethodsByID(c.Context(), c.who.Mode, ids)
	return c.methods(methods), err
}

func holdsBy(by store.By) func(*call, []string) ([]*resource, error) {
	return func(c *call, ids []string) ([]*resource, error) {
		holds, err := c.api.store.HoldsBy(c.Context(), c.who.Mode, by, ids, maxRelated)
		if err != nil {
			return nil, err
		}
		return c.holds(holds)
	}
}

func operationsBy(kind models.Kind, by store.By) func(*call, []string) ([]*resource, error) {
	return func(c *call, ids []string) ([]*resource, error) {
		ops, err := c.api.store.OperationsBy(c.Context(), c.who.Mode, kind, by, ids, maxRelated)
		if err != nil {
			return nil, err
		}
		return c.operations(kind, ops)
	}
}

// missing names the relationship of a body that leads to nothing.
func missing(err error, pointer string) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	p := api.NotFound("the related resource was not found")
	p.Pointer = pointer
	return p
}
