package elasticpath

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
)

// maxText bounds references and names, in characters.
const maxText = 255

// input is the data of a request's body. Reading a value that is wrong collects
// a problem and returns nothing; [input.done] returns them all.
type input struct {
	// empty: the request had no body at all, which means something by itself.
	empty    bool
	data     map[string]any
	meta     map[string]any
	read     []string
	problems api.Invalid
}

// input reads the body. Clients that send none, and those that send JSON as curl
// labels it by itself, are published examples.
func (c *call) input() (*input, error) {
	body, err := api.ReadBody(c.w, c.Request, api.MaxBody)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(body)) == "" {
		return &input{empty: true}, nil
	}
	if err := c.contentType(); err != nil {
		return nil, err
	}
	v, err := api.ParseDocument(body)
	if err != nil {
		return nil, err
	}
	document, _ := v.(map[string]any)
	data, ok := document["data"].(map[string]any)
	if !ok {
		return nil, api.Malformed("the document has no data object; leave the body out where there is nothing to send", "/data")
	}
	meta, _ := document["meta"].(map[string]any)
	return &input{data: data, meta: meta}, nil
}

func (c *call) contentType() error {
	given := c.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(given)
	known := []string{"application/json", api.MediaType, "application/x-www-form-urlencoded"}
	if given == "" || err == nil && slices.Contains(known, kind) && c.Header.Get("Content-Encoding") == "" {
		return nil
	}
	return &api.Problem{
		Status: http.StatusUnsupportedMediaType, Code: api.CodeMediaType, Title: "Unsupported media type",
		Detail: "send the body as application/json, without a content encoding", Header: "Content-Type",
	}
}

func (in *input) invalid(detail, word string, path ...string) {
	in.problems = append(in.problems, &api.Problem{
		Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Validation error",
		Detail: strings.Join(path, ".") + " " + detail, Pointer: api.Pointer(append([]string{"data"}, path...)), Meta: map[string]any{"error": word},
	})
}

// done names every member that nobody read, unless it is one that published
// clients send along, and returns all that is wrong. An amount that is misspelt
// must not become a refund of everything.
func (in *input) done(ignored ...string) error {
	ignored = append(ignored, "type", "id", "options")
	for name := range in.data {
		if !slices.Contains(in.read, name) && !slices.Contains(ignored, name) {
			in.invalid("is nothing that can be sent here", "unknown_attribute", cut(name))
		}
	}
	if len(in.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(in.problems, func(a, b *api.Problem) int { return strings.Compare(a.Pointer, b.Pointer) })
	return in.problems
}

func (in *input) get(name string) (v any, there bool) {
	in.read = append(in.read, name)
	v, there = in.data[name]
	return v, there
}

// text reads a string of printable characters; nil when it is not there or null.
func (in *input) text(name string) *string {
	v, _ := in.get(name)
	return in.textOf(v, name)
}

func (in *input) textOf(v any, path ...string) *string {
	if v == nil {
		return nil
	}
	s, ok := v.(string)
	switch {
	case !ok:
		in.invalid("must be a string", "not_a_string", path...)
	case utf8.RuneCountInString(s) > maxText:
		in.invalid(fmt.Sprintf("must have at most %d characters", maxText), "too_long", path...)
	case strings.ContainsFunc(s, unicode.IsControl):
		in.invalid("must not contain control characters", "invalid", path...)
	default:
		return &s
	}
	return nil
}

var visible = regexp.MustCompile(`^[\x21-\x7e]+$`)

// token reads an id of another system; "" when it is not there.
func (in *input) token(name string) string {
	s := in.text(name)
	if s == nil {
		return ""
	}
	if *s != "" && !visible.MatchString(*s) {
		in.invalid("must be of visible characters without blanks", "invalid", name)
		return ""
	}
	return *s
}

// amount reads an amount of at least one of the smallest unit; nil when it is not
// there. Null is no amount, but not its absence either: it is refused.
func (in *input) amount(name string) *int64 {
	v, there := in.get(name)
	if !there {
		return nil
	}
	n, ok := v.(json.Number)
	cents, err := strconv.ParseInt(string(n), 10, 64)
	switch {
	case !ok, strings.ContainsAny(string(n), ".eE"):
		in.invalid("must be a whole number of the smallest unit, not in quotes", "not_an_integer", name)
	case err != nil || cents < 1 || cents > models.MaxCents:
		in.invalid(fmt.Sprintf("must be from 1 to %d", models.MaxCents), "out_of_range", name)
	default:
		return &cents
	}
	return nil
}

// manual reads a mechanism: manual, or nothing.
func (in *input) manual(name string) bool {
	v, there := in.get(name)
	if there && v != models.MechanismManual {
		in.invalid("must be "+models.MechanismManual+", or left out", "inclusion", name)
	}
	return v == models.MechanismManual
}

// reason is why a person says what they say: meta.reason, which our own clients
// send, or else what was asked for.
func (in *input) reason(otherwise string) string {
	s, _ := in.meta["reason"].(string)
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
	if s == "" {
		return otherwise
	}
	if utf8.RuneCountInString(s) > 500 {
		s = string([]rune(s)[:500])
	}
	return s
}

// reasons are why a transaction can be cancelled.
var reasons = []string{"duplicate", "fraudulent", "requested_by_customer", "abandoned"}

// cancelReason reads why a transaction is cancelled, from either place where the
// published pages have it, as metadata of the void; nil when nobody says.
func (in *input) cancelReason() json.RawMessage {
	at, v := []string{"reason"}, in.data["reason"]
	if in.read = append(in.read, "reason"); v == nil {
		options, _ := in.data["options"].(map[string]any)
		at, v = []string{"options", "reason"}, options["reason"]
	}
	s := in.textOf(v, at...)
	if s == nil {
		return nil
	}
	if !slices.Contains(reasons, *s) {
		in.invalid("must be one of "+strings.Join(reasons, ", "), "inclusion", at...)
		return nil
	}
	return json.RawMessage(`{"elastic_path":{"reason":"` + *s + `"}}`)
}

// cut keeps an answer from repeating much of what was sent.
func cut(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:64], "") + "…"
}
