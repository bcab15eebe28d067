package webhooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/store"
)

// unverified is all that the sender of a message without proof is told.
func (w *Webhooks) unverified(source string) error {
	w.metrics.received.WithLabelValues(source, resultUnverified).Inc()
	return &api.Problem{Status: http.StatusUnauthorized, Code: api.CodeUnauthorized, Title: "Unauthorized", Detail: "the message is not verified"}
}

// unfit counts a message that cannot be taken as it is.
func (w *Webhooks) unfit(source string, err error) error {
	w.metrics.received.WithLabelValues(source, resultUnfit).Inc()
	return err
}

func noSecret(source string) error {
	return &api.Problem{
		Status: http.StatusServiceUnavailable, Code: api.CodeUnavailable, Title: "Service unavailable",
		Detail: "no signing secret is configured for " + source + ", so nothing it sends can be verified; configure one and have it sent again",
	}
}

// receiveNotice answers POST /webhooks/{slug}.
func (w *Webhooks) receiveNotice(s Source) api.Handler {
	return func(rw http.ResponseWriter, r *http.Request) error {
		if s.Parse == nil {
			return noSecret(s.Slug)
		}
		body, err := api.ReadBody(rw, r, api.MaxWebhook)
		if err != nil {
			return w.unfit(s.Slug, err)
		}
		notices, err := s.Parse(body, r.Header, w.now())
		if errors.Is(err, gateway.ErrUnreadable) || err == nil && len(notices) == 0 {
			// It is genuine: somebody will want to know what it was.
			return w.keep(rw, r, s.Slug, s.Reply, store.InboxMessage{EventID: digest(body), Topic: topicUnreadable, Body: body})
		}
		if err != nil {
			w.log.WarnContext(r.Context(), "webhook refused", "source", s.Slug, "request_id", api.RequestID(r.Context()), "error", err)
			return w.unverified(s.Slug)
		}
		messages, err := wrapAll(notices, body)
		if err != nil {
			return err
		}
		return w.keep(rw, r, s.Slug, s.Reply, messages...)
	}
}

// topicUnreadable marks what is genuine and was not understood.
const topicUnreadable = "unreadable"

// keep stores what a verified message says, all of it or nothing, and answers.
// From here on it is ours.
func (w *Webhooks) keep(rw http.ResponseWriter, r *http.Request, source string, reply Reply, messages ...store.InboxMessage) error {
	fresh, err := w.store.ReceiveAll(r.Context(), source, messages)
	if err != nil {
		return err
	}
	result := resultDuplicate
	if fresh > 0 {
		result = resultStored
		w.nudge()
	}
	w.metrics.received.WithLabelValues(source, result).Inc()
	if reply.Body == nil {
		api.WriteJSON(rw, http.StatusOK, "application/json", map[string]string{"status": result})
		return nil
	}
	rw.Header().Set("Content-Type", reply.ContentType)
	rw.Header().Set("Content-Length", strconv.Itoa(len(reply.Body)))
	_, _ = rw.Write(reply.Body) // a sender that is gone sends again
	return nil
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// The headers of Commerce Layer's webhooks.
const (
	signatureHeader = "X-CommerceLayer-Signature"
	topicHeader     = "X-CommerceLayer-Topic"
)

var topicForm = regexp.MustCompile(`^[a-z_]{1,64}\.[a-z_]{1,64}$`)

// receiveOrder answers POST /webhooks/commercelayer.
func (w *Webhooks) receiveOrder(rw http.ResponseWriter, r *http.Request) error {
	if len(w.cl.Secrets) == 0 {
		return noSecret("Commerce Layer")
	}
	body, err := api.ReadBody(rw, r, api.MaxWebhook)
	if err != nil {
		return w.unfit(commerceLayer, err)
	}
	if !w.signed(r, body) {
		return w.unverified(commerceLayer)
	}
	topic := r.Header.Get(topicHeader)
	if !topicForm.MatchString(topic) {
		p := api.BadRequest("the header names no topic such as orders.approve")
		p.Header = topicHeader
		return w.unfit(commerceLayer, p)
	}
	messages := []store.InboxMessage{{EventID: orderEventID(topic, body), Topic: topic, Body: body}}
	if id := paidOrder(topic, body); id != "" {
		messages = append(messages, store.InboxMessage{EventID: paidEventID(id), Topic: topicPaidNote, Body: []byte{}})
	}
	return w.keep(rw, r, commerceLayer, Reply{}, messages...)
}

// signed compares the signature with what every secret would have made.
func (w *Webhooks) signed(r *http.Request, body []byte) bool {
	headers := r.Header.Values(signatureHeader)
	if len(headers) != 1 {
		return false
	}
	given, err := base64.StdEncoding.DecodeString(headers[0])
	if err != nil {
		return false
	}
	good := false
	for _, secret := range w.cl.Secrets {
		if secret == "" {
			continue // anybody can sign with an empty key
		}
		mac := hmac.New(sha256.New, []byte(secret.Reveal()))
		mac.Write(body)
		good = hmac.Equal(given, mac.Sum(nil)) || good
	}
	return good
}

// orderEventID names a message of Commerce Layer, which has no id of its own. A
// cancel is named after its order, so that an approval that comes later than it
// can ask whether there was one; only if the order itself, which is signed, says
// that it is cancelled.
func orderEventID(topic string, body []byte) string {
	if topic == topicCancel {
		if d, err := readOrder(body); err == nil && d.attributes.Status == statusCancelled {
			return cancelEventID(d.order.ID)
		}
	}
	return topic + ":" + digest(body)
}

func cancelEventID(order string) string { return topicCancel + ":" + order }

// topicPaidNote is of a note that an order's money was taken there, stored with
// the first message that says so: an approval that comes later asks for it.
const topicPaidNote = "orders.paid"

func paidEventID(order string) string { return topicPaidNote + ":" + order }

// paidOrder is the order of which a message says, in what is signed, that its
// money was taken there; "" for any other message.
func paidOrder(topic string, body []byte) string {
	if topic != topicPay && topic != topicRefund {
		return ""
	}
	d, err := readOrder(body)
	if err != nil || !slices.Contains(saysPaid, d.attributes.PaymentStatus) {
		return ""
	}
	return d.order.ID
}

// clientID is the form of Commerce Layer's ids.
var clientID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
