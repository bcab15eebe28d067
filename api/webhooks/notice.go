package webhooks

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// stored is how a gateway's notice lies in the inbox: what its adapter read when
// it was verified, beside the message itself. It is not parsed again: by the
// time it is applied its signature may be too old, or its secret retired.
type stored struct {
	EventID   string      `json:"event_id"`
	Type      string      `json:"type"`
	At        time.Time   `json:"at"`
	Live      bool        `json:"live"`
	Hold      string      `json:"hold,omitempty"`
	Kind      models.Kind `json:"kind,omitempty"`
	Reference string      `json:"reference,omitempty"`
	// Transaction and AsAnswered are those of gateway.Notice.
	Transaction string         `json:"transaction,omitempty"`
	AsAnswered  bool           `json:"as_answered,omitempty"`
	Evidence    storedEvidence `json:"evidence"`
	// Message is the body as it came, for people.
	Message []byte `json:"message"`
}

// storedEvidence has the outcome as a word.
type storedEvidence struct {
	models.Evidence
	Outcome string `json:"outcome"`
}

func wrap(n gateway.Notice, body []byte) ([]byte, error) {
	return json.Marshal(stored{
		EventID: n.EventID, Type: n.Type, At: n.At, Live: n.Live, Hold: n.Hold, Kind: n.Kind, Reference: n.Reference,
		Transaction: n.Transaction, AsAnswered: n.AsAnswered,
		Evidence: storedEvidence{n.Evidence, n.Evidence.Outcome.String()}, Message: body,
	})
}

// wrapAll wraps the notices of one message. The message lies beside each, unless
// that were more than a message may weigh; then beside the first.
func wrapAll(notices []gateway.Notice, body []byte) ([]store.InboxMessage, error) {
	messages := make([]store.InboxMessage, 0, len(notices))
	for i, n := range notices {
		if i > 0 && len(notices)*len(body) > api.MaxWebhook {
			body = nil
		}
		raw, err := wrap(n, body)
		if err != nil {
			return nil, err
		}
		messages = append(messages, store.InboxMessage{EventID: n.EventID, Topic: n.Type, Body: raw})
	}
	return messages, nil
}

func unwrap(raw []byte) (gateway.Notice, error) {
	var s stored
	if err := json.Unmarshal(raw, &s); err != nil {
		return gateway.Notice{}, fmt.Errorf("read the stored notice: %w", err)
	}
	n := gateway.Notice{
		EventID: s.EventID, Type: s.Type, At: s.At, Live: s.Live, Hold: s.Hold, Kind: s.Kind, Reference: s.Reference, Evidence: s.Evidence.Evidence,
		Transaction: s.Transaction, AsAnswered: s.AsAnswered,
	}
	n.Evidence.Outcome = models.OutcomeLost // a word nobody knows proves nothing
	for _, o := range models.Outcomes {
		if o.String() == s.Evidence.Outcome {
			n.Evidence.Outcome = o
		}
	}
	return n, nil
}
