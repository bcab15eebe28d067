package sandbox

import "time"

// paypalHost stands in the links of answers, as at PayPal's sandbox: links are
// read for their ids, and never followed to where they say.
const paypalHost = "https://api-m.sandbox.paypal.com"

type paypalLink struct {
	Href   string `json:"href"`
	Rel    string `json:"rel"`
	Method string `json:"method"`
}

func paypalSelf(method, rel, path string) paypalLink {
	return paypalLink{Href: paypalHost + path, Rel: rel, Method: method}
}

// authorizationView is an authorization at a moment.
type authorizationView struct {
	intent
	paypalHold
	at time.Time
}

// captureView and paypalRefundView are one movement, as it stands at the
// moment of its authorization's view.
type captureView struct {
	of authorizationView
	paypalMove
}

type paypalRefundView struct {
	of authorizationView
	paypalMove
}

func (s *Server) authorization(h *hold) authorizationView {
	return authorizationView{h.intent, h.paypal, s.book.now()}
}

func (s *Server) captureOf(h *hold, id string) view {
	m, _ := h.paypal.find(h.paypal.captures, id)
	return captureView{s.authorization(h), m}
}

func (s *Server) refundOf(h *hold, id string) view {
	m, _ := h.paypal.find(h.paypal.refunds, id)
	return paypalRefundView{s.authorization(h), m}
}

type paypalRelated struct {
	Related struct {
		Order         string `json:"order_id,omitempty"`
		Authorization string `json:"authorization_id,omitempty"`
	} `json:"related_ids"`
}

type paypalReason struct {
	Reason string `json:"reason"`
}

type authorizationJSON struct {
	ID             string         `json:"id"`
	Status         string         `json:"status"`
	Amount         *paypalMoney   `json:"amount,omitempty"`
	InvoiceID      string         `json:"invoice_id,omitempty"`
	CustomID       string         `json:"custom_id,omitempty"`
	ExpirationTime string         `json:"expiration_time,omitempty"`
	CreateTime     string         `json:"create_time,omitempty"`
	UpdateTime     string         `json:"update_time,omitempty"`
	Related        *paypalRelated `json:"supplementary_data,omitempty"`
	Links          []paypalLink   `json:"links"`
}

// word is the authorization's status. PayPal has none for an expired one: it
// stays as it was, and only its expiration time tells.
func (v authorizationView) word() string {
	switch {
	case v.intent.status == canceled && v.reason != "automatic", v.renewed != "":
		return "VOIDED"
	case v.intent.status == succeeded:
		return "CAPTURED"
	case v.intent.captured > 0:
		return "PARTIALLY_CAPTURED"
	}
	return "CREATED"
}

func (v authorizationView) ends() time.Time {
	if v.reason == "automatic" && v.canceledAt.Before(v.captureBefore) {
		return v.canceledAt
	}
	return v.captureBefore
}

func (v authorizationView) render(expand map[string]bool) any {
	path := "/v2/payments/authorizations/" + v.id
	j := authorizationJSON{ID: v.id, Status: v.word(), Links: []paypalLink{paypalSelf("GET", "self", path)}}
	if v.intent.status == needsCapture && v.renewed == "" {
		j.Links = append(j.Links, paypalSelf("POST", "capture", path+"/capture"), paypalSelf("POST", "void", path+"/void"),
			paypalSelf("POST", "reauthorize", path+"/reauthorize"))
	}
	j.Links = append(j.Links, paypalSelf("GET", "up", "/v2/checkout/orders/"+v.order))
	if expand["minimal"] {
		return j
	}
	amount := paypalMoneyOf(v.amount, v.currency)
	j.Amount, j.InvoiceID, j.CustomID = &amount, v.invoice, v.custom
	j.ExpirationTime, j.CreateTime, j.UpdateTime = paypalTime(v.ends()), paypalTime(v.created), paypalTime(v.updated)
	j.Related = &paypalRelated{}
	j.Related.Related.Order = v.order
	return j
}

type captureJSON struct {
	ID         string         `json:"id"`
	Status     string         `json:"status"`
	Details    *paypalReason  `json:"status_details,omitempty"`
	Amount     *paypalMoney   `json:"amount,omitempty"`
	Final      *bool          `json:"final_capture,omitempty"`
	InvoiceID  string         `json:"invoice_id,omitempty"`
	CustomID   string         `json:"custom_id,omitempty"`
	Mode       string         `json:"disbursement_mode,omitempty"`
	CreateTime string         `json:"create_time,omitempty"`
	UpdateTime string         `json:"update_time,omitempty"`
	Related    *paypalRelated `json:"supplementary_data,omitempty"`
	Links      []paypalLink   `json:"links"`
}

func (v captureView) render(expand map[string]bool) any {
	path := "/v2/payments/captures/" + v.id
	j := captureJSON{ID: v.id, Status: v.now(v.of.at), Links: []paypalLink{
		paypalSelf("GET", "self", path), paypalSelf("POST", "refund", path+"/refund"), paypalSelf("GET", "up", "/v2/payments/authorizations/"+v.of.id),
	}}
	if back := v.of.refundedOf(v.id); back >= v.amount {
		j.Status = "REFUNDED"
	} else if back > 0 {
		j.Status = "PARTIALLY_REFUNDED"
	}
	if j.Status == paypalPending || j.Status == paypalDeclined {
		j.Details = &paypalReason{v.paypalMove.reason}
	}
	if expand["minimal"] {
		return j
	}
	amount, final := paypalMoneyOf(v.amount, v.currency), v.final
	j.Amount, j.Final, j.InvoiceID, j.CustomID, j.Mode = &amount, &final, v.invoice, v.custom, "INSTANT"
	j.CreateTime, j.UpdateTime = paypalTime(v.paypalMove.at), paypalTime(v.of.updated)
	j.Related = &paypalRelated{}
	j.Related.Related.Order, j.Related.Related.Authorization = v.of.order, v.of.id
	return j
}

type paypalRefundJSON struct {
	ID         string        `json:"id"`
	Status     string        `json:"status"`
	Details    *paypalReason `json:"status_details,omitempty"`
	Amount     *paypalMoney  `json:"amount,omitempty"`
	InvoiceID  string        `json:"invoice_id,omitempty"`
	CustomID   string        `json:"custom_id,omitempty"`
	CreateTime string        `json:"create_time,omitempty"`
	UpdateTime string        `json:"update_time,omitempty"`
	Links      []paypalLink  `json:"links"`
}

func (v paypalRefundView) render(expand map[string]bool) any {
	j := paypalRefundJSON{ID: v.id, Status: v.now(v.of.at), Links: []paypalLink{
		paypalSelf("GET", "self", "/v2/payments/refunds/"+v.id), paypalSelf("GET", "up", "/v2/payments/captures/"+v.capture),
	}}
	if j.Status == paypalPending {
		j.Details = &paypalReason{v.reason}
	}
	if expand["minimal"] {
		return j
	}
	amount := paypalMoneyOf(v.amount, v.currency)
	j.Amount, j.InvoiceID, j.CustomID = &amount, v.invoice, v.custom
	j.CreateTime, j.UpdateTime = paypalTime(v.at), paypalTime(v.at)
	return j
}

func paypalTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
