package hellgate

import (
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/api"
)

// fault is one thing that is wrong with a request.
type fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Parameter is the member of the body, the query parameter or the header that
	// caused it, if one did.
	Parameter string `json:"parameter,omitempty"`
}

// refuse writes problems: the first as the document itself, and all of them in
// its list.
func refuse(w http.ResponseWriter, r *http.Request, problems []*api.Problem) {
	faults := make([]fault, len(problems))
	for i, p := range problems {
		faults[i] = fault{Code: p.Code, Message: p.Detail, Parameter: parameter(p)}
		if hasPAN(faults[i].Parameter) {
			faults[i].Parameter = "" // a name that a client chose, told to nobody
		}
	}
	api.WriteJSON(w, problems[0].Status, "application/json", struct {
		fault
		Errors    []fault `json:"errors"`
		RequestID string  `json:"request_id"`
	}{faults[0], faults, api.RequestID(r.Context())})
}

// own are the members here of what the engine's refusals name. What it calls by
// a trigger has none here.
var own = map[string]string{
	"_capture_amount_cents": "amount", "_refund_amount_cents": "amount", "amount_cents": "amount", "total_amount_cents": "amount",
	"gateway_transaction_id": "source.transaction_id", "_capture": "", "_refund": "", "_void": "", "_approve": "", "_cancel": "",
}

func parameter(p *api.Problem) string {
	switch {
	case p.Parameter != "":
		return p.Parameter
	case p.Header != "":
		return p.Header
	}
	name, engine := strings.CutPrefix(p.Pointer, "/data/attributes/")
	if !engine {
		return strings.ReplaceAll(strings.TrimPrefix(p.Pointer, "/"), "/", ".")
	}
	if word, known := own[name]; known {
		return word
	}
	return name
}
