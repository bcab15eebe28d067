package commercelayer

import (
	"encoding/json"
	"fmt"
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
func (in *input) reason() string { return in.said("reason", 500) }

// said reads text of meta, cut to most characters. What is no text is empty.
func (in *input) said(name string, most int) string {
	s, _ := in.meta[name].(string)
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most])
	}
	return strings.TrimSpace(s)
}
