package commercelayer

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/capstan-pay/capstan/api"
)

// input is the resource object of a request's body. Reading a value that is
// wrong collects a problem and returns nothing; [input.done] returns them all.
type input struct {
	attributes    map[string]any
	relationships map[string]any
	meta          map[string]any
	read          map[string]bool
	problems      api.Invalid
	// query is what the answer is to include.
	query query
}

// document reads the query and the body of a write to a resource type.
func (c *call) document(t *resourceType) (map[string]any, query, error) {
	if problem := contentType(c.Request); problem != nil {
		return nil, query{}, problem
	}
	q, err := readQuery(c.Request, t, false)
	if err != nil {
		return nil, q, err
	}
	body, err := api.ReadBody(c.w, c.Request, api.MaxBody)
	if err != nil {
		return nil, q, err
	}
	v, err := parse(body)
	if err != nil {
		return nil, q, err
	}
	document, ok := v.(map[string]any)
	if !ok {
		return nil, q, malformed("the document is not an object", "")
	}
	return document, q, nil
}

// input reads the one resource object of a write to a resource type; id is the
// one in the URL, or empty for a new resource.
func (c *call) input(t *resourceType, id string) (*input, error) {
	document, q, err := c.document(t)
	if err != nil {
		return nil, err
	}
	data, ok := document["data"].(map[string]any)
	if !ok {
		return nil, malformed("the document has no resource object", "/data")
	}
	if err := identified(data, t.name, id); err != nil {
		return nil, err
	}
	in := &input{read: map[string]bool{}, query: q}
	for name, into := range map[string]*map[string]any{"attributes": &in.attributes, "relationships": &in.relationships} {
		if *into, err = object(data, name, "/data/"+name); err != nil {
			return nil, err
		}
	}
	in.meta, err = object(document, "meta", "/meta")
	return in, err
}

// identified checks that the body is about what the URL is about.
func identified(data map[string]any, typ, id string) error {
	given, ok := data["type"].(string)
	if !ok {
		return malformed("the resource object has no type", "/data/type")
	}
	conflict := func(detail, pointer string) error {
		return &api.Problem{Status: http.StatusConflict, Code: api.CodeConflict, Title: "Conflict", Detail: detail, Pointer: pointer}
	}
	if given != typ {
		return conflict(fmt.Sprintf("the type is %q, and this is the path of %s", cut(given), typ), "/data/type")
	}
	named, there := data["id"]
	if id == "" {
		if there {
			return &api.Problem{
				Status: http.StatusForbidden, Code: "CLIENT_ID_NOT_ALLOWED", Title: "Client id not allowed",
				Detail: "ids are made here; leave the id out and use reference for a name of your own", Pointer: "/data/id",
			}
		}
		return nil
	}
	text, ok := named.(string)
	if !ok {
		return malformed("the resource object has no id", "/data/id")
	}
	if !strings.EqualFold(text, id) {
		return conflict("the id differs from the one in the URL", "/data/id")
	}
	return nil
}

func object(in map[string]any, name, pointer string) (map[string]any, error) {
	v, there := in[name]
	if !there || v == nil && name != "attributes" {
		return map[string]any{}, nil
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, malformed(name+" is not an object", pointer)
	}
	return o, nil
}

// cut keeps an answer from repeating much of what was sent.
func cut(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:64], "") + "…"
}

// only complains when more than one of several triggers is asked for.
func (in *input) only(triggers map[string]bool) {
	var asked []string
	for name, on := range triggers {
		if on {
			asked = append(asked, name)
		}
	}
	if len(asked) < 2 {
		return
	}
	slices.Sort(asked)
	for _, name := range asked[1:] {
		in.invalid(name, "exclusion", "cannot be sent together with "+asked[0], nil)
	}
}

// done names every attribute that nobody read, and returns all that is wrong.
// answered are the attributes of an answer, which are read only.
func (in *input) done(answered []string) error {
	var unknown []string
	for name := range in.attributes {
		if !in.read[name] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		if slices.Contains(answered, name) {
			in.invalid(cut(name), "read_only", "is read only here", nil)
			continue
		}
		in.invalid(cut(name), "unknown_attribute", "is no attribute that can be sent here", nil)
	}
	if len(in.problems) == 0 {
		return nil
	}
	return in.problems
}

// refused puts the pointer of a refusal on something that was sent.
func (in *input) refused(err error, otherwise string) error {
	problems := api.Problems(err)
	if len(problems) != 1 || problems[0].Status != http.StatusUnprocessableEntity && problems[0].Status != http.StatusConflict {
		return err
	}
	p := problems[0]
	if strings.HasPrefix(p.Pointer, "/meta/") {
		return err // it names what was sent, or should have been
	}
	name, _ := strings.CutPrefix(p.Pointer, "/data/attributes/")
	if name == "" || !in.sent(name) {
		p.Pointer = otherwise
	}
	return p
}
