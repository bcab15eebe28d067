package webhooks

import (
	"io"
	"net/http"

	"github.com/capstan-pay/capstan/api"
)

// challenged answers a sender that tests the address. It proves that we have the
// account's secret, and accepts nothing.
func challenged(s Source) api.Handler {
	return func(rw http.ResponseWriter, r *http.Request) error {
		answer, ok := s.Challenge(r.URL.Query())
		if !ok {
			return api.NotFound("there is no such path")
		}
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(rw, answer) // a sender that is gone asks again
		return nil
	}
}
