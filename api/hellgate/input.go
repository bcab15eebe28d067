package hellgate

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
)

// The bounds of what a client may send.
const (
	maxReference   = 80
	maxText        = 255
	maxSource      = 8 << 10 // bytes of JSON
	defaultPage    = 50
	maxLimit       = 500
	maxServed      = 100
	maxPage        = 1_000_000
	maxTransaction = 255
)

var (
	versionForm     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)
	transactionForm = regexp.MustCompile(`^[\x21-\x7e]+$`)
)

// useCases are the original's words for why a payment is made.
var useCases = []string{"ONE_OFF", "UNSCHEDULED", "SUBSEQUENT_UNSCHEDULED", "RECURRING", "SUBSEQUENT_RECURRING"}

// input is the object of a request's body. Members that nobody reads are ignored:
// clients of the original send many. Reading a value that is wrong collects a
// problem and returns nothing; done returns them all.
type input struct {
	members  map[string]any
	problems api.Invalid
}

// input reads the body. Whatever is in it, it carries no card data.
func (c *call) input() (*input, error) {
	if problem := contentType(c.Request); problem != nil {
		return nil, problem
	}
	body, err := api.ReadBody(c.w, c.Request, api.MaxBody)
	if err != nil {
		return nil, err
	}
	v, err := api.ParseDocument(body)
	if err != nil {
		return nil, err
	}
	members, ok := v.(map[string]any)
	if !ok {
		return nil, api.Malformed("the document is not an object", "")
	}
	if at, found := cardData(v, nil); found {
		return nil, noCardData(at)
	}
	return &input{members: members}, nil
}

// contentType refuses anything but plain JSON.
func contentType(r *http.Request) *api.Problem {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err == nil && kind == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8")) &&
		len(r.Header.Values("Content-Type")) == 1 && r.Header.Get("Content-Encoding") == "" {
		return nil
	}
	return &api.Problem{
		Status: http.StatusUnsupportedMediaType, Code: api.CodeMediaType, Title: "Unsupported media type",
		Detail: "send the body as application/json, without a content encoding", Header: "Content-Type",
	}
}

// invalid collects a problem of a member; name may have dots.
func (in *input) invalid(name, format string, args ...any) {
	in.problems = append(in.problems, &api.Problem{
		Status: http.StatusUnprocessableEntity, Code: api.CodeValidation, Title: "Validation error",
		Detail: name + " " + fmt.Sprintf(format, args...), Pointer: "/" + strings.ReplaceAll(name, ".", "/"),
	})
}

func (in *input) done() error {
	if len(in.problems) == 0 {
		return nil
	}
	return in.problems
}

// sent reports whether a member is there and not null.
func (in *input) sent(name string) bool { return in.members[name] != nil }

// text reads a string of 1 to most printable characters; "" when it is not
// there. There are no empty strings in this API.
func (in *input) text(name string, v any, most int, required bool) string {
	if v == nil {
		if required {
			in.invalid(name, "must be given")
		}
		return ""
	}
	s, ok := v.(string)
	switch {
	case !ok:
		in.invalid(name, "must be a string")
	case strings.TrimSpace(s) == "":
		in.invalid(name, "must not be empty")
	case utf8.RuneCountInString(s) > most:
		in.invalid(name, "must have at most %d characters", most)
	case strings.ContainsFunc(s, unicode.IsControl):
		in.invalid(name, "must not contain control characters")
	default:
		return s
	}
	return ""
}

func (in *input) reference() string {
	return in.text("reference", in.members["reference"], maxReference, true)
}

// amount reads minor units of at least 1; 0 when it is not there.
func (in *input) amount() int64 {
	v := in.members["amount"]
	if v == nil {
		return 0
	}
	n, ok := v.(json.Number)
	if !ok || strings.ContainsAny(string(n), ".eE") {
		in.invalid("amount", "must be a whole number of the smallest unit, not in quotes, without a fraction or an exponent")
		return 0
	}
	i, err := strconv.ParseInt(string(n), 10, 64)
	switch {
	case err == nil && i < 1, strings.HasPrefix(string(n), "-"):
		in.invalid("amount", "must be at least 1")
	case err != nil, i > models.MaxCents:
		in.invalid("amount", "must be at most %d", models.MaxCents)
	default:
		return i
	}
	return 0
}

// currency reads an ISO 4217 code; "" when it is not there.
func (in *input) currency() string {
	s := in.text("currency_code", in.members["currency_code"], 3, false)
	if s == "" {
		return ""
	}
	code, err := models.ParseCurrency(s)
	if err != nil {
		in.invalid("currency_code", "must be an ISO 4217 currency code such as EUR or USD")
	}
	return code
}

// part reads amount and currency_code of a part of a payment, which come
// together; 0 is all of it.
func (in *input) part() (amount int64, currency string) {
	amount, currency = in.amount(), in.currency()
	if in.sent("amount") && !in.sent("currency_code") {
		in.invalid("currency_code", "must be given with amount")
	}
	return amount, currency
}

func (in *input) useCase() string {
	s := in.text("use_case", in.members["use_case"], maxText, false)
	if s == "" {
		return useCases[0]
	}
	if !slices.Contains(useCases, s) {
		in.invalid("use_case", "must be one of %s", strings.Join(useCases, ", "))
	}
	return s
}

// source reads how a payment is paid: what is kept of it, and the id that its
// hold has at the gateway, which is not kept with it.
func (in *input) source() (kept json.RawMessage, transaction string) {
	source, ok := in.members["source"].(map[string]any)
	if !ok {
		in.invalid("source", "must be an object with a type and the transaction_id of the hold at the gateway")
		return nil, ""
	}
	in.text("source.type", source["type"], maxText, true)
	id, there := source["transaction_id"]
	if !there || id == nil {
		in.invalid("source.transaction_id", "must name the hold that was made at the gateway: no hold is made here")
		return nil, ""
	}
	transaction = in.text("source.transaction_id", id, maxTransaction, true)
	if transaction != "" && !transactionForm.MatchString(transaction) {
		in.invalid("source.transaction_id", "must be of visible characters without blanks")
	}
	rest := make(map[string]any, len(source))
	for name, v := range source {
		if name != "transaction_id" {
			rest[name] = v
		}
	}
	kept, err := json.Marshal(rest)
	if err != nil || len(kept) > maxSource {
		in.invalid("source", "must be JSON of at most %d bytes", maxSource)
	}
	return kept, transaction
}

// page reads limit and page. More than a hundred to a page are not served,
// which the answer says.
func (c *call) page() (number, size int, err error) {
	query, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return 0, 0, api.BadRequest("the query cannot be read")
	}
	bad := func(name, detail string) error {
		return &api.Problem{Status: http.StatusBadRequest, Code: "INVALID_PARAMETER", Title: "Invalid parameter", Detail: detail, Parameter: name}
	}
	number, size = 1, defaultPage
	for name, values := range query {
		into, most := &number, maxPage
		switch name {
		case "page":
		case "limit":
			into, most = &size, maxLimit
		default:
			return 0, 0, bad(clip(name), "there is no such parameter here; a list takes page and limit")
		}
		n, err := strconv.Atoi(values[0])
		if err != nil || len(values) > 1 || n < 1 || n > most {
			return 0, 0, bad(name, fmt.Sprintf("%s must be given once, from 1 to %d", name, most))
		}
		*into = n
	}
	return number, min(size, maxServed), nil
}

// clip keeps an answer from repeating much of what was sent.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "")
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "")
	}
	return s
}
