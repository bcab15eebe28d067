package commercelayer

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// maxText bounds references, names and ids at the gateway, in characters.
const maxText = 255

// input is the resource object of a request's body. Reading a value that is
// wrong collects a problem and returns nothing; [input.done] returns them all.
type input struct {
	attributes    map[string]any
	relationships map[string]any
	meta          map[string]any
	read          map[string]bool
	problems      api.Invalid
}

// contentType refuses anything that is not JSON:API or plain JSON.
func contentType(r *http.Request) *api.Problem {
	wrong := &api.Problem{
		Status: http.StatusUnsupportedMediaType, Code: api.CodeMediaType, Title: "Unsupported media type",
		Detail: "send the body as " + api.MediaType + ", without parameters and without a content encoding", Header: "Content-Type",
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || len(r.Header.Values("Content-Type")) > 1 || r.Header.Get("Content-Encoding") != "" {
		return wrong
	}
	switch kind {
	case api.MediaType:
		for name := range params {
			if name != "profile" {
				return wrong
			}
		}
		return nil
	case "application/json":
		if charset := params["charset"]; charset == "" || strings.EqualFold(charset, "utf-8") {
			return nil
		}
	}
	return wrong
}

// acceptable refuses a client that takes neither JSON:API nor plain JSON.
func acceptable(r *http.Request) *api.Problem {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return nil
	}
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil || params["q"] == "0" {
			continue
		}
		delete(params, "q")
		switch kind {
		case "*/*", "application/*", "application/json":
			return nil
		case api.MediaType:
			delete(params, "profile")
			if len(params) == 0 {
				return nil
			}
		}
	}
	return &api.Problem{
		Status: http.StatusNotAcceptable, Code: api.CodeAcceptable, Title: "Not acceptable",
		Detail: "answers are " + api.MediaType + " only", Header: "Accept",
	}
}

// readInput reads the body of a write to a resource type; id is the one in the
// URL, or empty for a new resource.
func readInput(w http.ResponseWriter, r *http.Request, typ, id string) (*input, error) {
	if problem := contentType(r); problem != nil {
		return nil, problem
	}
	body, err := api.ReadBody(w, r, api.MaxBody)
	if err != nil {
		return nil, err
	}
	v, err := parse(body)
	if err != nil {
		return nil, err
	}
	document, ok := v.(map[string]any)
	if !ok {
		return nil, malformed("the document is not an object", "")
	}
	data, ok := document["data"].(map[string]any)
	if !ok {
		return nil, malformed("the document has no resource object", "/data")
	}
	if err := identified(data, typ, id); err != nil {
		return nil, err
	}
	in := &input{read: map[string]bool{}}
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

// invalid collects a problem of one attribute. word is a stable name of what is
// wrong, value the bound that was crossed, if one was.
func (in *input) invalid(name, word, detail string, value any) {
	meta := map[string]any{"error": word}
	if value != nil {
		meta["value"] = value
	}
	in.problems = append(in.problems, &api.Problem{
		Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Validation error", Detail: name + " " + detail,
		Pointer: pointer([]string{"data", "attributes", name}), Meta: meta,
	})
}

// get returns an attribute and marks it as known.
func (in *input) get(name string) (v any, there bool) {
	in.read[name] = true
	v, there = in.attributes[name]
	return v, there
}

// sent reports whether the body has the attribute.
func (in *input) sent(name string) bool {
	_, there := in.attributes[name]
	return there
}

// require complains about attributes that are missing.
func (in *input) require(names ...string) {
	for _, name := range names {
		if !in.sent(name) {
			in.invalid(name, "blank", "must be given", nil)
		}
	}
}

// flag reads a boolean; nil when it is not there.
func (in *input) flag(name string) *bool {
	v, there := in.get(name)
	if !there {
		return nil
	}
	b, ok := v.(bool)
	if !ok {
		in.invalid(name, "not_a_boolean", "must be true or false", nil)
		return nil
	}
	return &b
}

// trigger reads a boolean whose false means nothing.
func (in *input) trigger(name string) bool {
	b := in.flag(name)
	return b != nil && *b
}

// whole reads a whole number between two bounds; nil when it is not there.
func (in *input) whole(name string, from, to int64) *int64 {
	v, there := in.get(name)
	if !there {
		return nil
	}
	n, ok := v.(json.Number)
	if !ok {
		in.invalid(name, "not_a_number", "must be a whole number, not in quotes", nil)
		return nil
	}
	if strings.ContainsAny(string(n), ".eE") {
		in.invalid(name, "not_an_integer", "must be a whole number of the smallest unit, without a fraction or an exponent", nil)
		return nil
	}
	i, err := strconv.ParseInt(string(n), 10, 64)
	switch {
	case err != nil && strings.HasPrefix(string(n), "-"), err == nil && i < from:
		in.invalid(name, "greater_than_or_equal_to", fmt.Sprintf("must be at least %d", from), from)
	case err != nil, i > to:
		in.invalid(name, "less_than_or_equal_to", fmt.Sprintf("must be at most %d", to), to)
	default:
		return &i
	}
	return nil
}

// wholeOrNull is whole for an attribute that null switches off.
func (in *input) wholeOrNull(name string, from, to int64) (n *int64, there bool) {
	if v, there := in.get(name); !there || v == nil {
		return nil, there
	}
	return in.whole(name, from, to), true
}

// cents reads an amount of money of at least from.
func (in *input) cents(name string, from int64) *int64 { return in.whole(name, from, models.MaxCents) }

// text reads a string of at most maxText printable characters. Null is "".
func (in *input) text(name string) *string {
	v, there := in.get(name)
	if !there {
		return nil
	}
	if v == nil {
		empty := ""
		return &empty
	}
	s, ok := v.(string)
	switch {
	case !ok:
		in.invalid(name, "not_a_string", "must be a string", nil)
	case utf8.RuneCountInString(s) > maxText:
		in.invalid(name, "too_long", fmt.Sprintf("must have at most %d characters", maxText), maxText)
	case strings.ContainsFunc(s, unicode.IsControl):
		in.invalid(name, "invalid", "must not contain control characters", nil)
	default:
		return &s
	}
	return nil
}

// filled is text that must not be empty.
func (in *input) filled(name string) string {
	s := in.text(name)
	if s != nil && strings.TrimSpace(*s) == "" {
		in.invalid(name, "blank", "must not be empty", nil)
	}
	if s == nil {
		return ""
	}
	return *s
}

var visible = regexp.MustCompile(`^[\x21-\x7e]+$`)

// token reads an id of another system: visible ASCII without blanks.
func (in *input) token(name string) string {
	s := in.filled(name)
	if s != "" && !visible.MatchString(s) {
		in.invalid(name, "invalid", "must be of visible characters without blanks", nil)
	}
	return s
}

// word reads one of a set of words; "" when it is not there.
func (in *input) word(name string, allowed ...string) string {
	s := in.filled(name)
	if s != "" && !slices.Contains(allowed, s) {
		in.invalid(name, "inclusion", "must be one of "+strings.Join(allowed, ", "), nil)
		return ""
	}
	return s
}

// currency reads an ISO 4217 code; "" when it is not there or wrong.
func (in *input) currency(name string) string {
	s := in.filled(name)
	if s == "" {
		return ""
	}
	code, err := models.ParseCurrency(cut(s))
	if err != nil {
		in.invalid(name, "inclusion", "must be an ISO 4217 currency code such as EUR or USD", nil)
	}
	return code
}

// moment reads an RFC 3339 time, and complains unless it is after the given one.
func (in *input) moment(name string, after time.Time) *time.Time {
	v, there := in.get(name)
	if !there || v == nil {
		return nil
	}
	s, _ := v.(string)
	t, err := time.Parse(time.RFC3339, s)
	switch {
	case err != nil || t.Year() < 1970 || t.Year() > 9000:
		in.invalid(name, "not_a_time", "must be a time such as 2030-01-31T12:00:00Z", nil)
	case !t.After(after):
		in.invalid(name, "greater_than", "must be in the future", after.UTC().Format(time.RFC3339))
	default:
		return &t
	}
	return nil
}

// labels reads the attributes that every resource has for its clients' use.
func (in *input) labels() store.Attached {
	return store.Attached{Reference: in.text("reference"), ReferenceOrigin: in.text("reference_origin"), Metadata: in.metadata()}
}

func (in *input) metadata() json.RawMessage {
	v, there := in.get("metadata")
	if !there {
		return nil
	}
	if v == nil {
		v = map[string]any{}
	}
	if _, ok := v.(map[string]any); !ok {
		in.invalid("metadata", "not_an_object", "must be an object", nil)
		return nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		in.invalid("metadata", "invalid", "must be JSON", nil)
		return nil
	}
	return raw
}

// newLabels are the labels of a resource that is being made.
func newLabels(a store.Attached) models.Labels {
	l := models.Labels{Metadata: a.Metadata}
	if a.Reference != nil {
		l.Reference = *a.Reference
	}
	if a.ReferenceOrigin != nil {
		l.ReferenceOrigin = *a.ReferenceOrigin
	}
	return l
}

// relation reads the id of a related resource; "" when it is not there.
// Relationships that nobody reads are ignored: published clients send them.
func (in *input) relation(name, typ string, required bool) string {
	at := []string{"data", "relationships", name}
	fail := func(word, detail string, more ...string) string {
		in.problems = append(in.problems, &api.Problem{
			Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Validation error", Detail: detail,
			Pointer: pointer(append(at, more...)), Meta: map[string]any{"error": word},
		})
		return ""
	}
	v, there := in.relationships[name]
	linkage, _ := v.(map[string]any)
	data, isObject := linkage["data"].(map[string]any)
	switch {
	case !there || linkage != nil && linkage["data"] == nil:
		if required {
			return fail("blank", name+" must be given")
		}
		return ""
	case !isObject:
		return fail("invalid", name+" must be an object with data of type and id")
	}
	given, _ := data["type"].(string)
	id, _ := data["id"].(string)
	if given != typ {
		return fail("invalid", name+" must be of type "+typ, "data", "type")
	}
	if id == "" {
		return fail("blank", name+" has no id", "data", "id")
	}
	return id
}

// reason reads meta.reason: why a person does what they do.
func (in *input) reason() string {
	s, _ := in.meta["reason"].(string)
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > 500 {
		s = string([]rune(s)[:500])
	}
	return s
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
	name, _ := strings.CutPrefix(p.Pointer, "/data/attributes/")
	if name == "" || !in.sent(name) {
		p.Pointer = otherwise
	}
	return p
}
