package sandbox

import "fmt"

// The types of errors on the wire.
const (
	invalidRequest = "invalid_request_error"
	cardError      = "card_error"
	apiFailure     = "api_error"
	idempotency    = "idempotency_error"
)

// apiError is an error as the wire shows it.
type apiError struct {
	Status      int    `json:"-"`
	Type        string `json:"type"`
	Code        string `json:"code,omitempty"`
	DeclineCode string `json:"decline_code,omitempty"`
	Charge      string `json:"charge,omitempty"`
	Message     string `json:"message"`
	Param       string `json:"param,omitempty"`
	DocURL      string `json:"doc_url,omitempty"`
	Intent      any    `json:"payment_intent,omitempty"`
	LogURL      string `json:"request_log_url,omitempty"`
	// kept: the endpoint ran, so the error is repeated for the key.
	kept bool
}

func invalid(param, code, format string, args ...any) *apiError {
	e := &apiError{Status: 400, Type: invalidRequest, Code: code, Param: param, Message: fmt.Sprintf(format, args...)}
	if code != "" {
		e.DocURL = "https://stripe.com/docs/error-codes/" + code
	}
	return e
}

func missing(kind, id, param string) *apiError {
	e := invalid(param, "resource_missing", "No such %s: '%s'", kind, id)
	e.Status = 404
	return e
}

func unauthorized(message string) *apiError {
	return &apiError{Status: 401, Type: invalidRequest, Message: message}
}

// unexpected is payment_intent_unexpected_state: the state is in the embedded
// PaymentIntent.
func unexpected(i intent, verb, allowed string) *apiError {
	e := invalid("", "payment_intent_unexpected_state",
		"This PaymentIntent could not be %s because it has a status of %s. Only a PaymentIntent with one of the following statuses may be %s: %s.",
		verb, i.status, verb, allowed)
	e.Intent, e.kept = intentView{i}.render(nil), true
	return e
}

func cardDeclined(i intent, decline, message string) *apiError {
	return &apiError{
		Status: 402, Type: cardError, Code: "card_declined", DeclineCode: decline, Charge: i.charge, Message: message,
		DocURL: "https://stripe.com/docs/error-codes/card-declined", Intent: intentView{i}.render(nil), kept: true,
	}
}

func serverError(kept bool) *apiError {
	return &apiError{Status: 500, Type: apiFailure, Message: "An unknown error occurred", kept: kept}
}

func (e *apiError) body() any {
	return struct {
		Error *apiError `json:"error"`
	}{e}
}
