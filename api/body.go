package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
)

// The limits of bodies, in bytes.
const (
	MaxBody    = 256 << 10
	MaxWebhook = 1 << 20
)

// ReadBody reads a request's whole body, at most limit bytes of it.
func ReadBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, &Problem{
			Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge, Title: "Payload too large", Detail: fmt.Sprintf("a body has at most %d bytes here", limit),
		}
	}
	if err != nil {
		return nil, BadRequest("the body did not arrive whole")
	}
	return body, nil
}
