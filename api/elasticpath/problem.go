package elasticpath

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// errorObject is a problem as Elastic Path words it. Its status is a number.
type errorObject struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
	Meta   any    `json:"meta,omitempty"`
}

// codeGateway marks a problem whose words are the gateway's own.
const codeGateway = "GATEWAY_REFUSED"

// titleRefund and detailManual are the published words, to the letter, in which
// a refund of what a person captured is refused.
const (
	titleRefund  = "Error while refunding"
	detailManual = "Unable to automatically refund a manually capture transaction "
)

// refuse writes problems. What a program needs of ours stands under meta, unless
// the document is one of the published ones.
func refuse(w http.ResponseWriter, r *http.Request, problems []*api.Problem) {
	objects := make([]errorObject, len(problems))
	for i, p := range problems {
		objects[i] = errorObject{Status: p.Status, Title: p.Title, Detail: p.Detail}
		if p.Code == codeGateway {
			if p.Meta != nil {
				objects[i].Meta = p.Meta
			}
			continue
		}
		meta := map[string]any{"code": p.Code, "request_id": api.RequestID(r.Context())}
		for name, v := range p.Meta {
			meta[name] = v
		}
		for name, v := range map[string]string{"pointer": p.Pointer, "header": p.Header} {
			if v != "" {
				meta[name] = v
			}
		}
		objects[i].Meta = meta
	}
	api.WriteJSON(w, problems[0].Status, "application/json", struct {
		Errors []errorObject `json:"errors"`
	}{objects})
}

// refused words a refusal of the ledger. Its pointer names what was sent here.
func (in *input) refused(err error) error {
	refusal, ok := errors.AsType[*store.Refusal](err)
	if !ok {
		return err
	}
	if refusal.Rule == store.RuleManuallyCaptured {
		return &api.Problem{Status: http.StatusBadRequest, Code: codeGateway, Title: titleRefund, Detail: detailManual}
	}
	p := api.Refused(refusal)
	p.Pointer = ""
	if _, sent := in.data["amount"]; sent {
		p.Pointer = "/data/amount"
	}
	return p
}

// failed says why an operation had no effect: in the gateway's own words, as far
// as they are kept.
func failed(a Account, op models.Operation) error {
	p := &api.Problem{Status: http.StatusBadRequest, Code: codeGateway, Title: "Payment gateway processing failed", Detail: cmp.Or(op.Message, op.ErrorDetail, op.ErrorCode, "the gateway refused it")}
	if a.Refuses != "" {
		p.Status, p.Title = http.StatusUnprocessableEntity, "Error received from "+a.Refuses
		p.Meta = map[string]any{"debug_id": op.GatewayRequestID, "details": present(map[string]string{"description": op.ErrorDetail, "issue": op.ErrorCode})}
		return p
	}
	p.Meta = map[string]any{"error": present(map[string]string{"code": op.ErrorCode, "message": p.Detail, "detail": op.ErrorDetail, "request_id": op.GatewayRequestID})}
	return p
}

func present(in map[string]string) map[string]string {
	for name, v := range in {
		if v == "" {
			delete(in, name)
		}
	}
	return in
}

// ended reports whether the hold can never be captured any more, though nobody
// took or released it.
func ended(h models.Authorization) bool {
	return h.ClosedReason == models.ClosedExpired || h.ClosedReason == models.ClosedGone
}

// gone is the answer to a capture of a hold that has ended: what the gateway said
// when it was asked, or that it ended.
func (c *call) gone(a Account, h models.Authorization) error {
	captures, err := c.operations(models.Capture, h)
	if err != nil {
		return err
	}
	for i := len(captures) - 1; i >= 0; i-- {
		if captures[i].State == models.Failed {
			return failed(a, captures[i])
		}
	}
	return failed(a, models.Operation{ErrorCode: models.ErrorHoldEnded, ErrorDetail: "Authorization has expired.", Message: "The authorization has expired, and cannot be captured."})
}
