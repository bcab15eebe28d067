package sandbox

import (
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/capstan-pay/capstan/models"
)

// params are a request's parameters in Stripe's form encoding: names with
// brackets for maps and lists.
type params struct {
	url.Values
}

// known refuses parameters that the wire does not have, by their first part.
func (p params) known(names string) *apiError {
	allowed := map[string]bool{"expand": true}
	for _, n := range strings.Fields(names) {
		allowed[n] = true
	}
	for name := range p.Values {
		if top, _, _ := strings.Cut(name, "["); !allowed[top] {
			return invalid(top, "parameter_unknown", "Received unknown parameter: %s", top)
		}
	}
	return nil
}

// amount reads a positive integer of at most max. Absent is 0, false.
func (p params) amount(name string, top int64) (int64, bool, *apiError) {
	if !p.Has(name) {
		return 0, false, nil
	}
	s := p.Get(name)
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case s == "":
		return 0, true, invalid(name, "parameter_invalid_empty", "You passed an empty string for '%s'.", name)
	case err != nil && (len(s) < 19 || strings.Trim(s, "0123456789") != ""):
		return 0, true, invalid(name, "parameter_invalid_integer", "Invalid integer: %s", s)
	case err != nil:
		n = math.MaxInt64
	}
	switch {
	case n < 1:
		return 0, true, invalid(name, "parameter_invalid_integer", "This value must be greater than or equal to 1.")
	case n > top:
		return 0, true, invalid(name, "amount_too_large", "Amount must be no more than %d", top)
	}
	return n, true, nil
}

// currency reads a lower-case currency that Stripe would take.
func (p params) currency() (string, *apiError) {
	s := p.Get("currency")
	if s == "" {
		return "", invalid("currency", "parameter_missing", "Missing required param: currency.")
	}
	code, err := models.ParseCurrency(s)
	if err != nil {
		return "", invalid("currency", "", "Invalid currency: %s. Stripe currently supports ISO 4217 codes in lower case.", s)
	}
	return strings.ToLower(code), nil
}

// stepOf is what amounts of a currency must be a multiple of: Stripe counts
// some currencies in units that do not exist.
func stepOf(currency string) int64 {
	switch currency {
	case "isk", "ugx":
		return 100
	case "bhd", "jod", "kwd", "omr", "tnd":
		return 10
	}
	return 1
}

func checkStep(param string, amount int64, currency string) *apiError {
	if by := stepOf(currency); amount%by != 0 {
		return invalid(param, "", "Amounts in %s must be a multiple of %d.", currency, by)
	}
	return nil
}

// metadata merges what was sent into old: an empty value removes a name.
func (p params) metadata(old map[string]string) (map[string]string, *apiError) {
	out := map[string]string{}
	for name, value := range old {
		out[name] = value
	}
	if p.Has("metadata") && p.Get("metadata") == "" {
		out = map[string]string{}
	}
	for name, values := range p.Values {
		key, ok := strings.CutPrefix(name, "metadata[")
		if !ok || !strings.HasSuffix(key, "]") {
			continue
		}
		key = strings.TrimSuffix(key, "]")
		switch value := values[len(values)-1]; {
		case key == "" || len(key) > 40:
			return nil, invalid(name, "", "Metadata keys have 1 to 40 characters.")
		case len(value) > 500:
			return nil, invalid(name, "", "Metadata values have at most 500 characters.")
		case value == "":
			delete(out, key)
		default:
			out[key] = value
		}
	}
	if len(out) > 50 {
		return nil, invalid("metadata", "", "You can have up to 50 metadata keys.")
	}
	return out, nil
}

// expand reads expand[]=a and expand[0]=a.
func (p params) expand() map[string]bool {
	out := map[string]bool{}
	for name, values := range p.Values {
		if strings.HasPrefix(name, "expand[") {
			for _, v := range values {
				out[v] = true
			}
		}
	}
	return out
}

func (p params) bool(name string) bool { return p.Get(name) == "true" }

// page reads limit, starting_after and ending_before.
type page struct {
	limit         int
	after, before string
	from, to      int64 // created, inclusive, Unix seconds
}

func (p params) page() (page, *apiError) {
	out := page{limit: 10, after: p.Get("starting_after"), before: p.Get("ending_before"), from: math.MinInt64, to: math.MaxInt64}
	if s := p.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 100 {
			return page{}, invalid("limit", "parameter_invalid_integer", "limit must be between 1 and 100.")
		}
		out.limit = n
	}
	for name, set := range map[string]func(int64){
		"created":      func(n int64) { out.from, out.to = max(out.from, n), min(out.to, n) },
		"created[gt]":  func(n int64) { out.from = max(out.from, n+1) },
		"created[gte]": func(n int64) { out.from = max(out.from, n) },
		"created[lt]":  func(n int64) { out.to = min(out.to, n-1) },
		"created[lte]": func(n int64) { out.to = min(out.to, n) },
	} {
		s := p.Get(name)
		if s == "" {
			continue
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return page{}, invalid(name, "parameter_invalid_integer", "Invalid integer: %s", s)
		}
		set(n)
	}
	return out, nil
}
