package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/capstan-pay/capstan/store"
)

// The codes that programs branch on. A rule of the ledger that said no has a
// code of its own: its name in capitals.
const (
	CodeInvalidToken = "INVALID_TOKEN"
	CodeUnauthorized = "UNAUTHORIZED"
	CodeNotFound     = "RECORD_NOT_FOUND"
	CodeMethod       = "METHOD_NOT_ALLOWED"
	CodeValidation   = "VALIDATION_ERROR"
	CodeBadRequest   = "BAD_REQUEST"
	CodeTooLarge     = "PAYLOAD_TOO_LARGE"
	CodeMediaType    = "UNSUPPORTED_MEDIA_TYPE"
	CodeAcceptable   = "NOT_ACCEPTABLE"
	CodeConflict     = "CONFLICT"
	CodeUnavailable  = "SERVICE_UNAVAILABLE"
	CodeInternal     = "INTERNAL_SERVER_ERROR"
	CodeTooMany      = "TOO_MANY_REQUESTS"
	CodeKey          = "IDEMPOTENCY_KEY"
	CodeKeyReused    = "IDEMPOTENCY_KEY_REUSED"
	CodeKeyInUse     = "IDEMPOTENCY_KEY_IN_USE"
)

// Problem is one thing that is wrong with a request, or with us. It says no
// more than a client may know.
type Problem struct {
	Status int
	Code   string
	Title  string
	Detail string
	// Pointer names the member of the body, Parameter the query parameter, and
	// Header the header that caused it. At most one is set.
	Pointer   string
	Parameter string
	Header    string
	Meta      map[string]any
}

func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// Invalid is several problems of one request.
type Invalid []*Problem

func (v Invalid) Error() string {
	lines := make([]string, len(v))
	for i, p := range v {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "; ")
}

// Problems says what a client is told about an error: a [Problem], or several,
// as they are; a refusal of the ledger by its rule; what is not found as 404; a
// database that is away as 503. Anything else is 500 without detail.
func Problems(err error) []*Problem {
	if problem, ok := errors.AsType[*Problem](err); ok {
		return []*Problem{problem}
	}
	if many, ok := errors.AsType[Invalid](err); ok {
		return many
	}
	if refusal, ok := errors.AsType[*store.Refusal](err); ok {
		return []*Problem{Refused(refusal)}
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return []*Problem{NotFound("the requested resource was not found")}
	case errors.Is(err, store.ErrStale):
		return []*Problem{{Status: http.StatusConflict, Code: CodeConflict, Title: "Conflict", Detail: "it changed meanwhile; read it again"}}
	case store.Unavailable(err), errors.Is(err, context.Canceled):
		return []*Problem{{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Title: "Service unavailable", Detail: "the request could not be finished; read the resource before you send a change again, since it may have been made"}}
	}
	return []*Problem{{Status: http.StatusInternalServerError, Code: CodeInternal, Title: "Internal server error", Detail: "the request could not be answered; its request id is in the log"}}
}

// Refused words a refusal of the ledger. Field becomes the pointer of an attribute.
func Refused(r *store.Refusal) *Problem {
	p := &Problem{
		Status: http.StatusUnprocessableEntity, Code: strings.ToUpper(r.Rule), Title: strings.ReplaceAll(r.Rule, "_", " "), Detail: r.Detail,
		Meta: map[string]any{"rule": r.Rule},
	}
	if r.Busy {
		p.Status = http.StatusConflict
	}
	if r.Field != "" {
		p.Pointer = "/data/attributes/" + r.Field
	}
	return p
}

// NotFound is a 404.
func NotFound(detail string) *Problem {
	return &Problem{Status: http.StatusNotFound, Code: CodeNotFound, Title: "Record not found", Detail: detail}
}

// BadRequest is a 400.
func BadRequest(detail string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Code: CodeBadRequest, Title: "Bad request", Detail: detail}
}

// MediaType is what JSON:API documents are sent as.
const MediaType = "application/vnd.api+json"

// ErrorObject is a problem as JSON:API words it.
type ErrorObject struct {
	Title  string         `json:"title"`
	Detail string         `json:"detail"`
	Code   string         `json:"code"`
	Source *ErrorSource   `json:"source,omitempty"`
	Status string         `json:"status"`
	Meta   map[string]any `json:"meta,omitempty"`
}

// ErrorSource names what caused an error: one of its members is set.
type ErrorSource struct {
	Pointer   *string `json:"pointer,omitempty"`
	Parameter string  `json:"parameter,omitempty"`
	Header    string  `json:"header,omitempty"`
}

// ErrorObjects words problems for a JSON:API document.
func ErrorObjects(problems []*Problem) []ErrorObject {
	objects := make([]ErrorObject, len(problems))
	for i, p := range problems {
		e := ErrorObject{Title: p.Title, Detail: p.Detail, Code: p.Code, Status: strconv.Itoa(p.Status), Meta: p.Meta}
		switch {
		case p.Parameter != "":
			e.Source = &ErrorSource{Parameter: p.Parameter}
		case p.Header != "":
			e.Source = &ErrorSource{Header: p.Header}
		case p.Pointer != "":
			e.Source = &ErrorSource{Pointer: &p.Pointer}
		}
		objects[i] = e
	}
	return objects
}

// RefuseJSONAPI writes problems as a JSON:API document.
func RefuseJSONAPI(w http.ResponseWriter, r *http.Request, problems []*Problem) {
	WriteJSON(w, problems[0].Status, MediaType, struct {
		Errors []ErrorObject  `json:"errors"`
		Meta   map[string]any `json:"meta"`
	}{ErrorObjects(problems), map[string]any{"request_id": RequestID(r.Context())}})
}

// WriteJSON writes a whole answer. v must be a value that marshals.
func WriteJSON(w http.ResponseWriter, status int, mediaType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // a mistake in the program; answered as 500, nothing is written yet
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone, which the access log shows by its size
}
