package commercelayer

import (
	"mime"
	"net/http"
	"strings"

	"github.com/capstan-pay/capstan/api"
)

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
