package adyen

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

const (
	testKey  = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
	otherKey = "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"
)

// fields are an item's, as a test writes them.
type fields struct {
	psp, original, account, reference string
	value                             int64
	currency, event, success          string
	reason, date, signature           string
}

func captureItem() fields {
	return fields{
		psp: testPSP, original: testHold, account: testAccount, reference: ourRef, value: 1500, currency: "EUR",
		event: "CAPTURE", success: "true", date: "2026-03-01T12:00:00+01:00",
	}
}

func (f fields) sign(key gateway.Secret) string {
	return sandbox.AdyenSignature(key, [8]string{f.psp, f.original, f.account, f.reference, fmt.Sprint(f.value), f.currency, f.event, f.success})
}

func (f fields) json(key gateway.Secret) string {
	if f.signature == "" {
		f.signature = f.sign(key)
	}
	raw, _ := json.Marshal(map[string]any{"NotificationRequestItem": map[string]any{
		"pspReference": f.psp, "originalReference": f.original, "merchantAccountCode": f.account, "merchantReference": f.reference,
		"amount": map[string]any{"value": f.value, "currency": f.currency}, "eventCode": f.event, "success": f.success,
		"reason": f.reason, "eventDate": f.date, "additionalData": map[string]string{"hmacSignature": f.signature},
	}})
	return string(raw)
}

func messageOf(items ...string) string {
	return `{"live":"false","notificationItems":[` + strings.Join(items, ",") + `]}`
}

func parse(body string, keys ...gateway.Secret) ([]gateway.Notice, error) {
	if keys == nil {
		keys = []gateway.Secret{testKey}
	}
	return ParseWebhook([]byte(body), http.Header{}, keys, time.Now(), testAccount)
}

// TestPublishedSignature: the example that Adyen's own libraries are tested with.
func TestPublishedSignature(t *testing.T) {
	f := fields{
		psp: "7914073381342284", account: "TestMerchant", reference: "TestPayment-1407325143704", value: 1130, currency: "EUR", event: "AUTHORISATION", success: "true",
		signature: "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=",
	}
	if got := f.sign(testKey); got != f.signature {
		t.Errorf("the sandbox signs %s", got)
	}
	notices, err := ParseWebhook([]byte(messageOf(f.json(testKey))), nil, []gateway.Secret{otherKey, testKey}, time.Now(), "TestMerchant")
	if err != nil || len(notices) != 1 || notices[0].Type != "AUTHORISATION" || notices[0].Hold != "" || notices[0].Evidence.Outcome != models.OutcomeLost {
		t.Fatalf("%+v, %v", notices, err)
	}
}

// TestUnproven: what is not proven to be Adyen's is refused as a whole.
func TestUnproven(t *testing.T) {
	good := captureItem()
	with := func(change func(*fields)) string {
		f := captureItem()
		change(&f)
		return messageOf(f.json(testKey))
	}
	signed := good.sign(testKey)
	changed := func(change func(*fields)) string { // under the signature of what it was
		return with(func(f *fields) { f.signature = signed; change(f) })
	}
	body := messageOf(good.json(testKey))
	for name, tt := range map[string]struct {
		body string
		keys []gateway.Secret
	}{
		"no key":                     {body, []gateway.Secret{}},
		"an empty key":               {body, []gateway.Secret{""}},
		"signed with nothing":        {messageOf(good.json("")), []gateway.Secret{""}},
		"a key that is not hex":      {messageOf(good.json("guessed key of no use")), []gateway.Secret{"guessed key of no use"}},
		"a short key":                {messageOf(good.json("ABCD")), []gateway.Secret{"ABCD"}},
		"another key":                {body, []gateway.Secret{otherKey}},
		"half a key":                 {body, []gateway.Secret{gateway.Secret(string(testKey)[:30])}},
		"no signature":               {with(func(f *fields) { f.signature = " " }), nil},
		"hex instead of base64":      {with(func(f *fields) { f.signature = fmt.Sprintf("%x", f.sign(testKey)) }), nil},
		"base64 without its end":     {with(func(f *fields) { f.signature = strings.TrimRight(f.sign(testKey), "=") }), nil},
		"base64 with a line end":     {with(func(f *fields) { f.signature = f.sign(testKey) + "\n x" }), nil},
		"URL's base64":               {with(func(f *fields) { f.signature = strings.NewReplacer("+", "-", "/", "_").Replace(f.sign(testKey)) + "_" }), nil},
		"a longer signature":         {with(func(f *fields) { f.signature = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 64))) }), nil},
		"another amount":             {changed(func(f *fields) { f.value = 9900 }), nil},
		"another currency":           {changed(func(f *fields) { f.currency = "USD" }), nil},
		"another outcome":            {changed(func(f *fields) { f.success = "false" }), nil},
		"another event":              {changed(func(f *fields) { f.event = "REFUND" }), nil},
		"another reference":          {changed(func(f *fields) { f.reference = "cap_bbbbbbbbbbbbbbbbbbbbbbbbbb" }), nil},
		"another payment":            {changed(func(f *fields) { f.original = testPSP }), nil},
		"another request":            {changed(func(f *fields) { f.psp = testHold }), nil},
		"another account":            {changed(func(f *fields) { f.account = "Other" }), nil},
		"a good and a forged item":   {messageOf(good.json(testKey), good.json(otherKey)), nil},
		"a good and an unsigned one": {messageOf(good.json(testKey), `{"NotificationRequestItem":{"pspReference":"x"}}`), nil},
		"no item":                    {messageOf(), nil},
		"an empty item":              {messageOf(`{}`), nil},
		"too many items":             {messageOf(strings.Split(strings.Repeat("{}|", maxItems+1), "|")[:maxItems+1]...), nil},
		"truncated":                  {body[:len(body)-10], nil},
		"twice":                      {body + body, nil},
		"oversized":                  {body + strings.Repeat(" ", maxWebhook), nil},
		"a form":                     {"pspReference=x&success=true", nil},
		"nothing":                    {"", nil},
		"null":                       {"null", nil},
		"an array":                   {"[" + body + "]", nil},
		"an amount with a point":     {strings.Replace(body, `"value":1500`, `"value":1500.5`, 1), nil},
		"an amount as text":          {strings.Replace(body, `"value":1500`, `"value":"1500"`, 1), nil},
		"success that is no text":    {strings.Replace(body, `"success":"true"`, `"success":true`, 1), nil},
		"deep":                       {strings.Repeat("[", 200_000), nil},
		"wrong encoding":             {strings.Replace(body, testAccount, "Capstan\xff", 1), nil},
	} {
		notices, err := parse(tt.body, tt.keys...)
		if tt.keys != nil && len(tt.keys) == 0 {
			notices, err = ParseWebhook([]byte(tt.body), nil, nil, time.Now(), testAccount)
		}
		if !errors.Is(err, gateway.ErrSignature) || notices != nil {
			t.Errorf("%s: %+v, %v", name, notices, err)
		}
		if err != nil && (strings.Contains(err.Error(), testKey) || strings.Contains(err.Error(), signed)) {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
	}
	// During a rotation both keys are good, whatever stands beside them.
	for _, key := range []gateway.Secret{testKey, otherKey} {
		if n, err := parse(messageOf(good.json(key)), "", "no hex", otherKey, testKey); err != nil || len(n) != 1 {
			t.Errorf("%v, %v", n, err)
		}
	}
	if _, err := parse(with(func(f *fields) { f.event = "" })); !errors.Is(err, gateway.ErrUnreadable) {
		t.Errorf("genuine and without an event: %v", err)
	}
}

// TestWhatEventsProve: every event code, as Adyen tells it.
func TestWhatEventsProve(t *testing.T) {
	refund := models.GatewayReference("adyen", testHold, models.Refund, 1)
	void := models.GatewayReference("adyen", testHold, models.Void, 1)
	const other = "order 1"
	lost, confirmed, refused, back := models.OutcomeLost, models.OutcomeConfirmed, models.OutcomeRefused, models.OutcomeTakenBack
	for _, tt := range []struct {
		event, success, reference string
		kind                      models.Kind
		ours                      bool
		want                      models.Outcome
		foreign                   bool
	}{
		{"CAPTURE", "true", ourRef, models.Capture, true, confirmed, false},
		{"CAPTURE", "false", ourRef, models.Capture, true, refused, false},
		{"CAPTURE", "TRUE", ourRef, models.Capture, true, lost, false},
		{"CAPTURE", "", ourRef, models.Capture, true, lost, false},
		{"CAPTURE", "true", other, models.Capture, false, confirmed, true},
		{"CAPTURE", "false", other, models.Capture, false, lost, false},
		{"CAPTURE", "true", refund, models.Capture, false, confirmed, true},
		{"CAPTURE_FAILED", "true", ourRef, models.Capture, true, back, false},
		{"CAPTURE_FAILED", "true", other, models.Capture, false, back, false},
		{"CAPTURE_FAILED", "false", ourRef, models.Capture, true, lost, false},
		{"REFUND", "true", refund, models.Refund, true, confirmed, false},
		{"REFUND", "false", refund, models.Refund, true, refused, false},
		{"REFUND", "true", other, models.Refund, false, confirmed, true},
		{"REFUND", "false", other, models.Refund, false, lost, false},
		{"REFUND_FAILED", "true", refund, models.Refund, true, back, false},
		{"REFUNDED_REVERSED", "true", refund, models.Refund, true, back, false},
		{"CANCELLATION", "true", void, models.Void, true, confirmed, false},
		{"CANCELLATION", "false", void, models.Void, true, refused, false},
		{"CANCELLATION", "true", other, models.Void, false, confirmed, false},
		{"CANCELLATION", "false", other, models.Void, false, lost, false},
		{"CANCEL_OR_REFUND", "true", void, models.Void, true, confirmed, false},
		{"CANCEL_OR_REFUND", "false", void, models.Void, true, refused, false},
		{"TECHNICAL_CANCEL", "true", other, models.Void, false, confirmed, false},
		{"EXPIRE", "true", other, models.Void, false, confirmed, false},
		{"EXPIRE", "false", other, models.Void, false, lost, false},
		{"CHARGEBACK", "true", other, models.Capture, false, back, false},
		{"CHARGEBACK", "true", ourRef, models.Capture, false, back, false},
		{"SECOND_CHARGEBACK", "true", other, models.Capture, false, back, false},
		{"CHARGEBACK", "false", other, models.Capture, false, lost, false},
		{"CHARGEBACK_REVERSED", "true", other, models.Capture, false, lost, false},
		{"NOTIFICATION_OF_CHARGEBACK", "true", other, models.Capture, false, lost, false},
		{"PREARBITRATION_WON", "true", other, models.Capture, false, lost, false},
		{"PREARBITRATION_LOST", "true", other, models.Capture, false, lost, false},
		{"POSTPONED_REFUND", "true", refund, models.Refund, false, lost, false},
		{"AUTHORISATION_ADJUSTMENT", "true", other, "", false, lost, false},
	} {
		f := captureItem()
		f.event, f.success, f.reference, f.reason = tt.event, tt.success, tt.reference, "because"
		name := tt.event + " " + tt.success + " " + tt.reference
		notices, err := parse(messageOf(f.json(testKey)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		n := notices[0]
		if n.Kind != tt.kind || n.Hold != testHold || (n.Reference == tt.reference) != tt.ours || n.Evidence.Outcome != tt.want || n.Evidence.Foreign != tt.foreign || n.Type != tt.event || n.Live {
			t.Errorf("%s: %+v", name, n)
		}
		if n.Evidence.Source != models.FromWebhook || n.Evidence.Message == "" {
			t.Errorf("%s: %s", name, n.Evidence.JSON())
		}
		money := n.Evidence.AmountCents == 1500 && n.Evidence.CurrencyCode == "EUR"
		if (tt.want == confirmed || tt.want == back) != money {
			t.Errorf("%s: amount %d %s", name, n.Evidence.AmountCents, n.Evidence.CurrencyCode)
		}
		if tt.want == refused && (n.Evidence.ErrorCode != tt.event || n.Evidence.ErrorDetail != "because" || n.Evidence.NextAction == "") {
			t.Errorf("%s: %s", name, n.Evidence.JSON())
		}
		f.account = "SomebodyElse"
		if notices, err = parse(messageOf(f.json(testKey))); err != nil || notices[0].Hold != "" || notices[0].Reference != "" || notices[0].Kind != "" || notices[0].Evidence.Outcome != lost {
			t.Errorf("%s of another account: %+v, %v", name, notices, err)
		}
	}
	for _, event := range []string{"AUTHORISATION", "REPORT_AVAILABLE", "RECURRING_CONTRACT", "SOMETHING_NEW", "capture", "OFFER_CLOSED", "PAYOUT_EXPIRE"} {
		f := captureItem()
		f.event = event
		if n, err := parse(messageOf(f.json(testKey))); err != nil || n[0].Hold != "" || n[0].Reference != "" || n[0].Evidence.Outcome != lost {
			t.Errorf("%s: %+v, %v", event, n, err)
		}
	}
}

// TestOneNotice is what is read of a capture, and nothing that is not signed.
func TestOneNotice(t *testing.T) {
	f := captureItem()
	f.reason = "Transaction Auto-recaptured"
	notices, err := parse(messageOf(f.json(testKey)))
	if err != nil {
		t.Fatal(err)
	}
	want := gateway.Notice{
		EventID: testPSP + ":CAPTURE:true:2026-03-01T11:00:00Z", Type: "CAPTURE", At: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC),
		Hold: testHold, Kind: models.Capture, Reference: ourRef,
		Evidence: models.Evidence{
			Source: models.FromWebhook, Outcome: models.OutcomeConfirmed, AmountCents: 1500, CurrencyCode: "EUR",
			GatewayTransactionID: testPSP, Token: testPSP, Message: "event CAPTURE: Transaction Auto-recaptured",
		},
	}
	if diff := cmp.Diff([]gateway.Notice{want}, notices); diff != "" {
		t.Error(diff)
	}
	live := strings.Replace(messageOf(f.json(testKey)), `"live":"false"`, `"live":"true"`, 1)
	if n, err := parse(live); err != nil || !n[0].Live {
		t.Errorf("live: %+v, %v", n, err)
	}
}

// TestAmbiguous: the fields of a signed text are not escaped. Where a colon lets
// it be read in two ways, nothing is believed.
func TestAmbiguous(t *testing.T) {
	genuine := captureItem()
	genuine.event, genuine.reference = "AUTHORISATION", "x:"+ourRef // a shop's own name for its order
	genuine.original, genuine.account = "", testAccount
	forged := genuine
	forged.account, forged.reference, forged.signature = testAccount+":x", ourRef, genuine.sign(testKey)
	if forged.sign(testKey) != forged.signature {
		t.Fatal("the two do not sign the same")
	}
	for _, f := range []fields{genuine, forged} {
		n, err := parse(messageOf(f.json(testKey)))
		if err != nil {
			t.Fatal(err)
		}
		if n[0].Reference != "" || n[0].Kind != "" || n[0].Evidence.Outcome != models.OutcomeLost || !strings.HasPrefix(n[0].EventID, "unusual:") {
			t.Errorf("%+v", n[0])
		}
	}
	shifted := captureItem()
	shifted.psp, shifted.original = testPSP+":"+testHold, ""
	shifted.signature = "" // signed as it stands, and still not to be taken apart
	if n, err := parse(messageOf(shifted.json(testKey))); err != nil || n[0].Evidence.Outcome != models.OutcomeLost || n[0].Reference != "" {
		t.Errorf("%+v, %v", n, err)
	}
}

// FuzzParseWebhook: nothing that was not signed with the key is ever believed, and
// nothing panics.
func FuzzParseWebhook(f *testing.F) {
	f.Add(messageOf(captureItem().json(testKey)))
	f.Add(messageOf(captureItem().json(otherKey)))
	f.Add(messageOf())
	f.Add(`{"notificationItems":[{"NotificationRequestItem":{"amount":null,"additionalData":{"hmacSignature":""}}}]}`)
	genuine := captureItem().sign(testKey)
	f.Fuzz(func(t *testing.T, body string) {
		notices, err := parse(body)
		if err != nil && !errors.Is(err, gateway.ErrSignature) && !errors.Is(err, gateway.ErrUnreadable) {
			t.Fatalf("an error of its own kind: %v", err)
		}
		if err == nil && !strings.Contains(body, genuine) && !strings.Contains(strings.ReplaceAll(body, `\/`, "/"), genuine) && !strings.Contains(body, `\u`) {
			t.Fatalf("believed without the one signature that there is: %q", body)
		}
		for _, n := range notices {
			if n.EventID == "" {
				t.Fatalf("a notice without a name: %+v", n)
			}
			if n.Evidence.Outcome != models.OutcomeLost && n.Evidence.Outcome != models.OutcomeConfirmed {
				t.Fatalf("the signed item is a confirmed capture, and was read as %s", n.Evidence.JSON())
			}
		}
	})
}
