package paypal_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/paypal"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

const (
	webhookID = "8PT597110X687430LKGECATA"
	certURL   = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-1"
)

var hookTime = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// issuer makes certificates as PayPal's authority does, and keeps one key for
// all of them: making keys is what costs time.
type issuer struct {
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	roots *x509.CertPool
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: hookTime.AddDate(-1, 0, 0), NotAfter: hookTime.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key, roots: x509.NewCertPool()}
	if i.cert, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	i.roots.AddCert(i.cert)
	return i
}

func (i *issuer) leaf(t testing.TB, name string, key crypto.PublicKey, until time.Time) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: hookTime.AddDate(0, -6, 0), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, i.cert, key, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

func newKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, key *rsa.PrivateKey, id, at, hook, body string) string {
	t.Helper()
	digest := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%d", id, at, hook, crc32.ChecksumIEEE([]byte(body))))
	s, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(s)
}

func headers(signature string) http.Header {
	h := http.Header{}
	h.Set("PAYPAL-TRANSMISSION-ID", "trans-1")
	h.Set("PAYPAL-TRANSMISSION-TIME", hookTime.Format(time.RFC3339))
	h.Set("PAYPAL-TRANSMISSION-SIG", signature)
	h.Set("PAYPAL-CERT-URL", certURL)
	h.Set("PAYPAL-AUTH-ALGO", "SHA256withRSA")
	return h
}

const captureEvent = `{"id":"WH-1","event_type":"PAYMENT.CAPTURE.COMPLETED","create_time":"2026-03-01T09:59:58Z","resource":{"id":"C1","status":"COMPLETED",
	"amount":{"currency_code":"EUR","value":"15.00"},"invoice_id":"cap_aaaaaaaaaaaaaaaaaaaaaaaaaa","supplementary_data":{"related_ids":{"authorization_id":"AUTH1"}}}}`

func TestWebhookSignature(t *testing.T) {
	authority, stranger := newIssuer(t), newIssuer(t)
	key, other, weak := newKey(t, 2048), newKey(t, 2048), newKey(t, 1024)
	year := hookTime.AddDate(1, 0, 0)
	files := map[string][]byte{
		certURL:       authority.leaf(t, "messageverificationcerts.paypal.com", key.Public(), year),
		certURL + "o": authority.leaf(t, "messageverificationcerts.paypal.com", other.Public(), year),
		certURL + "w": authority.leaf(t, "messageverificationcerts.paypal.com", weak.Public(), year),
		certURL + "e": authority.leaf(t, "messageverificationcerts.paypal.com", key.Public(), hookTime.Add(-time.Hour)),
		certURL + "n": authority.leaf(t, "messageverificationcerts.paypal.com.evil.example", key.Public(), year),
		certURL + "m": authority.leaf(t, "notpaypal.com", key.Public(), year),
		certURL + "s": stranger.leaf(t, "messageverificationcerts.paypal.com", key.Public(), year),
		certURL + "c": authority.leaf(t, "messageverificationcerts.paypal.com", authority.key.Public(), year),
		certURL + "x": []byte("<html>"),
		certURL + "k": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}),
	}
	at := hookTime.Format(time.RFC3339)
	good := sign(t, key, "trans-1", at, webhookID, captureEvent)
	with := func(name, value string) http.Header {
		h := headers(good)
		h.Set(name, value)
		return h
	}
	without := func(name string) http.Header {
		h := headers(good)
		h.Del(name)
		return h
	}
	twice := headers(good)
	twice.Add("PAYPAL-TRANSMISSION-SIG", good)
	both := []string{"NEWWEBHOOKID", webhookID}
	for _, tt := range []struct {
		name   string
		body   string
		header http.Header
		ids    []string
		now    time.Time
		ok     bool
	}{
		{"good", captureEvent, headers(good), both, hookTime, true},
		{"299 s old", captureEvent, headers(good), both, hookTime.Add(299 * time.Second), true},
		{"301 s old", captureEvent, headers(good), both, hookTime.Add(301 * time.Second), false},
		{"301 s early", captureEvent, headers(good), both, hookTime.Add(-301 * time.Second), false},
		{"the old webhook id after its rotation", captureEvent, headers(good), both[:1], hookTime, false},
		{"no webhook id", captureEvent, headers(good), nil, hookTime, false},
		{"an empty webhook id signs nothing", captureEvent, headers(sign(t, key, "trans-1", at, "", captureEvent)), []string{""}, hookTime, false},
		{"signed for another webhook", captureEvent, headers(sign(t, key, "trans-1", at, "ANOTHER", captureEvent)), both, hookTime, false},
		{"another key", captureEvent, headers(sign(t, other, "trans-1", at, webhookID, captureEvent)), both, hookTime, false},
		{"another certificate of PayPal's", captureEvent, with("PAYPAL-CERT-URL", certURL+"o"), both, hookTime, false},
		{"changed body", strings.Replace(captureEvent, "15.00", "99.00", 1), headers(good), both, hookTime, false},
		{"truncated body", captureEvent[:len(captureEvent)-1], headers(good), both, hookTime, false},
		{"space added", captureEvent + " ", headers(good), both, hookTime, false},
		{"another transmission", captureEvent, with("PAYPAL-TRANSMISSION-ID", "trans-2"), both, hookTime, false},
		{"another time than signed", captureEvent, with("PAYPAL-TRANSMISSION-TIME", hookTime.Add(time.Second).Format(time.RFC3339)), both, hookTime, false},
		{"a time that is none", captureEvent, with("PAYPAL-TRANSMISSION-TIME", "soon"), both, hookTime, false},
		{"an id that swallows the time", captureEvent, with("PAYPAL-TRANSMISSION-ID", "trans|1"), both, hookTime, false},
		{"a weaker algorithm", captureEvent, with("PAYPAL-AUTH-ALGO", "SHA1withRSA"), both, hookTime, false},
		{"no algorithm", captureEvent, with("PAYPAL-AUTH-ALGO", "none"), both, hookTime, false},
		{"half a signature", captureEvent, headers(good[:len(good)/2]), both, hookTime, false},
		{"a signature in hex", captureEvent, headers(fmt.Sprintf("%x", good)), both, hookTime, false},
		{"a signature in URL base64", captureEvent, headers(strings.NewReplacer("+", "-", "/", "_").Replace(good) + "-"), both, hookTime, false},
		{"a line break in the signature", captureEvent, headers(good[:20] + "\n" + good[20:] + "="), both, hookTime, false},
		{"an empty signature", captureEvent, headers(""), both, hookTime, false},
		{"two signatures", captureEvent, twice, both, hookTime, false},
		{"no signature", captureEvent, without("PAYPAL-TRANSMISSION-SIG"), both, hookTime, false},
		{"no id", captureEvent, without("PAYPAL-TRANSMISSION-ID"), both, hookTime, false},
		{"no time", captureEvent, without("PAYPAL-TRANSMISSION-TIME"), both, hookTime, false},
		{"no certificate", captureEvent, without("PAYPAL-CERT-URL"), both, hookTime, false},
		{"no headers", captureEvent, http.Header{}, both, hookTime, false},
		{"a huge header", captureEvent, with("PAYPAL-TRANSMISSION-ID", strings.Repeat("x", 4000)), both, hookTime, false},
		{"a huge body", captureEvent + strings.Repeat(" ", 1<<20), headers(good), both, hookTime, false},
		{"a certificate that has ended", captureEvent, with("PAYPAL-CERT-URL", certURL+"e"), both, hookTime, false},
		{"a certificate of somebody else", captureEvent, with("PAYPAL-CERT-URL", certURL+"n"), both, hookTime, false},
		{"a certificate of a namesake", captureEvent, with("PAYPAL-CERT-URL", certURL+"m"), both, hookTime, false},
		{"a certificate that nobody vouches for", captureEvent, with("PAYPAL-CERT-URL", certURL+"s"), both, hookTime, false},
		{"a certificate with another kind of key", captureEvent, with("PAYPAL-CERT-URL", certURL+"c"), both, hookTime, false},
		{"a weak key, rightly signed", captureEvent, func() http.Header {
			h := headers(sign(t, weak, "trans-1", at, webhookID, captureEvent))
			h.Set("PAYPAL-CERT-URL", certURL+"w")
			return h
		}(), both, hookTime, false},
		{"a page instead of a certificate", captureEvent, with("PAYPAL-CERT-URL", certURL+"x"), both, hookTime, false},
		{"a key instead of a certificate", captureEvent, with("PAYPAL-CERT-URL", certURL+"k"), both, hookTime, false},
		{"a certificate that is not there", captureEvent, with("PAYPAL-CERT-URL", certURL+"gone"), both, hookTime, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			certs := paypal.NewCertificates(paypal.CertificatesConfig{Roots: authority.roots, Fetch: func(_ context.Context, address string) ([]byte, error) {
				if raw, ok := files[address]; ok {
					return raw, nil
				}
				return nil, errors.New("status 404")
			}})
			n, err := paypal.ParseWebhook(t.Context(), []byte(tt.body), tt.header, tt.ids, certs, tt.now, 0)
			if tt.ok {
				if err != nil || n.EventID != "WH-1" || n.Evidence.Outcome != models.OutcomeLost {
					t.Fatalf("got %+v, %v", n, err)
				}
				return
			}
			if !errors.Is(err, gateway.ErrSignature) {
				t.Fatalf("got %v, want %v", err, gateway.ErrSignature)
			}
			if diff := cmp.Diff(gateway.Notice{}, n); diff != "" {
				t.Errorf("something of an unproven message was kept:\n%s", diff)
			}
			if strings.Contains(err.Error(), good[:40]) || strings.Contains(err.Error(), webhookID) {
				t.Errorf("the error helps a forger: %v", err)
			}
		})
	}
}

// TestCertificateAddresses: nothing is fetched from where a sender may want it.
func TestCertificateAddresses(t *testing.T) {
	for _, address := range []string{
		"http://api.paypal.com/v1/notifications/certs/CERT-1", "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1",
		"https://evil.example/v1/notifications/certs/CERT-1?api.paypal.com", "https://evilpaypal.com/v1/notifications/certs/CERT-1",
		"https://user@api.paypal.com/v1/notifications/certs/CERT-1", "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
		"https://api.paypal.com:8443/v1/notifications/certs/CERT-1", "https://api.paypal.com/v1/notifications/certs/../../../go",
		"https://api.paypal.com/v1/notifications/certs/%2e%2e", "https://api.paypal.com/v1/notifications/certs/", "https://api.paypal.com/",
		"https://api.paypal.com/v1/notifications/certs/CERT-1?x=1", "https://api.paypal.com/v1/notifications/certs/CERT-1#x",
		"https://127.0.0.1/v1/notifications/certs/CERT-1", "https://169.254.169.254/v1/notifications/certs/CERT-1", "https://[::1]/v1/notifications/certs/CERT-1",
		"file:///etc/passwd", "//api.paypal.com/v1/notifications/certs/CERT-1", "https:api.paypal.com", "", "https://paypal.com\\@evil.example/",
		"https://api.paypal.com\x00.evil.example/v1/notifications/certs/CERT-1", "https://api.paypal.com/v1/notifications/certs/" + strings.Repeat("x", 500),
	} {
		certs := paypal.NewCertificates(paypal.CertificatesConfig{Fetch: func(_ context.Context, address string) ([]byte, error) {
			t.Errorf("fetched %q", address)
			return nil, errors.New("no")
		}})
		h := headers("AAAA")
		h.Set("PAYPAL-CERT-URL", address)
		if _, err := paypal.ParseWebhook(t.Context(), []byte("{}"), h, []string{webhookID}, certs, hookTime, 0); !errors.Is(err, gateway.ErrSignature) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestCertificatesAreKept: one fetch serves all, a flood of other addresses is
// cut off, and does not harm what is known.
func TestCertificatesAreKept(t *testing.T) {
	authority, key := newIssuer(t), newKey(t, 2048)
	leaf := authority.leaf(t, "messageverificationcerts.paypal.com", key.Public(), hookTime.AddDate(1, 0, 0))
	var fetched atomic.Int32
	certs := paypal.NewCertificates(paypal.CertificatesConfig{Roots: authority.roots, Fetch: func(_ context.Context, address string) ([]byte, error) {
		fetched.Add(1)
		if address != certURL {
			return nil, errors.New("status 404")
		}
		return leaf, nil
	}})
	at := hookTime.Format(time.RFC3339)
	good := headers(sign(t, key, "trans-1", at, webhookID, captureEvent))
	parse := func(h http.Header, now time.Time) error {
		_, err := paypal.ParseWebhook(t.Context(), []byte(captureEvent), h, []string{webhookID}, certs, now, 1000*time.Hour)
		return err
	}
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			if err := parse(good, hookTime); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := fetched.Load(); n != 1 {
		t.Fatalf("%d fetches for one certificate", n)
	}
	for i := range 1000 {
		h := good.Clone()
		h.Set("PAYPAL-CERT-URL", fmt.Sprintf("%s%d", certURL, i))
		if err := parse(h, hookTime); !errors.Is(err, gateway.ErrSignature) {
			t.Fatal(err)
		}
	}
	if n := fetched.Load(); n > 50 {
		t.Errorf("%d fetches in a flood", n)
	}
	if err := parse(good, hookTime); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

func TestWebhookEvents(t *testing.T) {
	authority, key := newIssuer(t), newKey(t, 2048)
	leaf := authority.leaf(t, "messageverificationcerts.paypal.com", key.Public(), hookTime.AddDate(1, 0, 0))
	certs := paypal.NewCertificates(paypal.CertificatesConfig{Roots: authority.roots, Fetch: func(context.Context, string) ([]byte, error) { return leaf, nil }})
	at := hookTime.Format(time.RFC3339)
	const ours, back = "cap_aaaaaaaaaaaaaaaaaaaaaaaaaa", "ref_aaaaaaaaaaaaaaaaaaaaaaaaaa"
	event := func(kind, resource string) string {
		return fmt.Sprintf(`{"id":"WH-9","event_type":%q,"create_time":"2026-03-01T09:59:58Z","resource":%s}`, kind, resource)
	}
	capture := func(invoice string) string {
		return fmt.Sprintf(`{"id":"C1","status":"COMPLETED","invoice_id":%q,"links":[{"rel":"up","href":"https://x/v2/payments/authorizations/AUTH1"}]}`, invoice)
	}
	refund := func(custom string) string {
		return fmt.Sprintf(`{"id":"R1","status":"COMPLETED","custom_id":%q,"links":[{"rel":"up","href":"https://x/v2/payments/captures/C1"}]}`, custom)
	}
	for _, tt := range []struct {
		name, body      string
		hold, reference string
		kind            models.Kind
		unreadable      bool
	}{
		{"captured", event("PAYMENT.CAPTURE.COMPLETED", capture(ours)), "AUTH1", ours, models.Capture, false},
		{"captured by somebody", event("PAYMENT.CAPTURE.COMPLETED", capture("INV-7")), "AUTH1", "", models.Capture, false},
		{"pending", event("PAYMENT.CAPTURE.PENDING", capture(ours)), "AUTH1", ours, models.Capture, false},
		{"denied", event("PAYMENT.CAPTURE.DENIED", capture(ours)), "AUTH1", ours, models.Capture, false},
		{"refunded", event("PAYMENT.CAPTURE.REFUNDED", refund(back)), "", back, models.Refund, false},
		{"refunded by somebody", event("PAYMENT.CAPTURE.REFUNDED", refund("thanks")), "", "", models.Refund, false},
		{"reversed", event("PAYMENT.CAPTURE.REVERSED", refund("")), "", "", models.Refund, false},
		{"voided", event("PAYMENT.AUTHORIZATION.VOIDED", `{"id":"AUTH1","status":"VOIDED"}`), "AUTH1", "", models.Void, false},
		{"authorized", event("PAYMENT.AUTHORIZATION.CREATED", `{"id":"AUTH1","status":"CREATED"}`), "AUTH1", "", "", false},
		{"a type that is not used", event("BILLING.PLAN.CREATED", `{"id":"P1"}`), "", "", "", false},
		{"a resource that is none", event("PAYMENT.CAPTURE.COMPLETED", `17`), "", "", "", false},
		{"an id that is none", event("PAYMENT.AUTHORIZATION.VOIDED", `{"id":"../x","status":"VOIDED"}`), "", "", "", false},
		{"no json", `hello`, "", "", "", true},
		{"empty", ``, "", "", "", true},
		{"no event", `{"id":"WH-9"}`, "", "", "", true},
		{"very deep", strings.Repeat(`{"a":`, 20_000) + strings.Repeat("}", 20_000), "", "", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := headers(sign(t, key, "trans-1", at, webhookID, tt.body))
			n, err := paypal.ParseWebhook(t.Context(), []byte(tt.body), h, []string{webhookID}, certs, hookTime, 0)
			if tt.unreadable {
				if !errors.Is(err, gateway.ErrUnreadable) || errors.Is(err, gateway.ErrSignature) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil || n.Hold != tt.hold || n.Reference != tt.reference || n.Kind != tt.kind || n.EventID != "WH-9" || !n.Live {
				t.Fatalf("got %+v, %v", n, err)
			}
			if n.Evidence.Outcome != models.OutcomeLost || n.Evidence.AmountCents != 0 || n.Evidence.Source != models.FromWebhook {
				t.Errorf("a body that nothing protects was believed: %s", n.Evidence.JSON())
			}
			if want := time.Date(2026, 3, 1, 9, 59, 58, 0, time.UTC); !n.At.Equal(want) {
				t.Errorf("at %s, want %s", n.At, want)
			}
		})
	}
}

// TestSandboxEventsAreUnderstood: what the sandbox sends, the parser verifies.
func TestSandboxEventsAreUnderstood(t *testing.T) {
	var w *world
	var certs *paypal.Certificates
	var mu sync.Mutex
	seen, refused := map[string]int{}, 0
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		n, err := paypal.ParseWebhook(r.Context(), body, r.Header, []string{webhookID}, certs, time.Now(), 0)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			refused++
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		if n.Live {
			t.Errorf("a sandbox's event says it is live: %+v", n)
		}
		seen[n.Type+" "+n.Hold+" "+n.Reference]++
	}))
	defer srv.Close()
	w = newWorld(t, sandbox.Config{Webhooks: []sandbox.Endpoint{{URL: srv.URL, Secret: webhookID, Wire: "paypal"}, {URL: srv.URL + "/stripe", Secret: "whsec_x"}}})
	roots, err := w.sandbox.PayPalRoots()
	if err != nil {
		t.Fatal(err)
	}
	certs = paypal.NewCertificates(paypal.CertificatesConfig{Roots: roots, Fetch: func(context.Context, string) ([]byte, error) { return w.sandbox.PayPalCertificate() }})
	hold := w.hold(t, 1500, "webhook_forged,webhook_dup=2,pending=1ms")
	capture, refund := request(models.Capture, hold, 1200), request(models.Refund, hold, 300)
	ev := w.Capture(t.Context(), capture)
	for ev.Outcome == models.OutcomeAccepted {
		ev = w.LookUp(t.Context(), capture)
	}
	refund.Capture = ev.GatewayTransactionID
	must(t, w.Refund(t.Context(), refund), models.OutcomeConfirmed, 300)
	void := w.hold(t, 900, "")
	must(t, w.Void(t.Context(), request(models.Void, void, 900)), models.OutcomeConfirmed, 900)
	completed := "PAYMENT.CAPTURE.COMPLETED " + hold + " " + capture.Reference
	for done := false; !done; {
		if err := w.sandbox.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		done = seen[completed] > 0
		mu.Unlock()
	}
	if err := w.sandbox.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := map[string]int{
		"PAYMENT.AUTHORIZATION.CREATED " + hold + " ":               2,
		"PAYMENT.CAPTURE.PENDING " + hold + " " + capture.Reference: 2,
		completed: 2,
		"PAYMENT.CAPTURE.REFUNDED  " + refund.Reference: 2,
		"PAYMENT.AUTHORIZATION.CREATED " + void + " ":   1,
		"PAYMENT.AUTHORIZATION.VOIDED " + void + " ":    1,
	}
	if diff := cmp.Diff(want, seen); diff != "" || refused == 0 {
		t.Errorf("%d forged events refused\n%s", refused, diff)
	}
}

// FuzzParseWebhook: nothing unsigned is ever believed.
func FuzzParseWebhook(f *testing.F) {
	authority, key := newIssuer(f), newKey(f, 2048)
	leaf := authority.leaf(f, "messageverificationcerts.paypal.com", key.Public(), hookTime.AddDate(1, 0, 0))
	certs := paypal.NewCertificates(paypal.CertificatesConfig{Roots: authority.roots, Fetch: func(context.Context, string) ([]byte, error) { return leaf, nil }})
	at := hookTime.Format(time.RFC3339)
	f.Add(captureEvent, "trans-1", at, sign(f, key, "trans-1", at, "another", captureEvent), certURL)
	f.Add("{}", "", "", "AAAA", "https://api.paypal.com/v1/notifications/certs/CERT-1")
	f.Add("", "a|b", at, "====", "http://127.0.0.1/")
	f.Fuzz(func(t *testing.T, body, id, when, signature, address string) {
		h := http.Header{
			"Paypal-Transmission-Id": {id}, "Paypal-Transmission-Time": {when}, "Paypal-Transmission-Sig": {signature},
			"Paypal-Cert-Url": {address}, "Paypal-Auth-Algo": {"SHA256withRSA"},
		}
		if _, err := paypal.ParseWebhook(t.Context(), []byte(body), h, []string{webhookID}, certs, hookTime, 0); !errors.Is(err, gateway.ErrSignature) {
			t.Fatalf("believed %q: %v", body, err)
		}
		signed := headers(sign(t, key, "trans-1", at, webhookID, body))
		n, err := paypal.ParseWebhook(t.Context(), []byte(body), signed, []string{webhookID}, certs, hookTime, 0)
		if err != nil {
			if !errors.Is(err, gateway.ErrUnreadable) && len(body) <= 1<<20 {
				t.Fatalf("signed and refused: %v", err)
			}
			return
		}
		if n.Evidence.Outcome != models.OutcomeLost || n.EventID == "" {
			t.Fatalf("notice %+v of %q", n, body)
		}
	})
}
