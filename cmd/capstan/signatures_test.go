package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/braintree"
	"github.com/capstan-pay/capstan/models"
)

// seal is where a sender's signature stands: in a header, or in the body. The
// first group is the signature itself.
type seal struct {
	header string
	at     *regexp.Regexp
	// stale is after how long it is refused, where the time is signed as well.
	stale time.Duration
}

var whole = regexp.MustCompile(`^(.*)$`)

// seals are by sender. A provider that is not here fails the test.
var seals = map[string]seal{
	"stripe":        {header: "Stripe-Signature", at: regexp.MustCompile(`v1=([0-9a-f]*)`), stale: time.Hour},
	"paypal":        {header: "Paypal-Transmission-Sig", at: whole, stale: time.Hour},
	"adyen":         {at: regexp.MustCompile(`"hmacSignature":"([^"]*)"`)},
	"checkoutcom":   {header: "Cko-Signature", at: whole},
	"external":      {header: "X-Commercelayer-Signature", at: whole},
	"braintree":     {at: regexp.MustCompile(`bt_signature=(?:[^&|%]*(?:\||%7C))?([^&]*)`), stale: braintree.DefaultTolerance + time.Hour},
	"commercelayer": {header: "X-Commercelayer-Signature", at: whole},
}

// signature finds it.
func (s seal) signature(m message) string {
	text := m.header.Get(s.header)
	if s.header == "" {
		text = string(m.body)
	}
	found := s.at.FindStringSubmatch(text)
	if len(found) < 2 {
		return ""
	}
	return found[1]
}

// with puts another signature into its place.
func (s seal) with(m message, signature string) message {
	replace := func(text string) string {
		at := s.at.FindStringSubmatchIndex(text)
		return text[:at[2]] + signature + text[at[3]:]
	}
	m.header = m.header.Clone()
	if s.header == "" {
		m.body = []byte(replace(string(m.body)))
	} else {
		m.header.Set(s.header, replace(m.header.Get(s.header)))
	}
	return m
}

// changed says something else under the same signature.
func changed(m message) message {
	for _, amount := range []string{`"value":1500`, "1500", "15.00"} {
		if bytes.Contains(m.body, []byte(amount)) {
			m.body = bytes.Replace(m.body, []byte(amount), []byte(strings.Replace(amount, "15", "99", 1)), 1)
			return m
		}
	}
	m.body = bytes.Clone(m.body)
	m.body[len(m.body)-len(m.body)/4] ^= 1
	return m
}

// reencoded writes a signature in the encoding that its sender does not use.
func reencoded(signature string) string {
	if raw, err := hex.DecodeString(signature); err == nil {
		return base64.StdEncoding.EncodeToString(raw)
	}
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		raw = []byte(signature)
	}
	return hex.EncodeToString(raw)
}

// flipped changes the first character to another of the same alphabet.
func flipped(signature string) string {
	if strings.HasPrefix(signature, "a") {
		return "b" + signature[1:]
	}
	return "a" + signature[1:]
}

// forgeries are messages that are not proven to come from their sender, by what
// is wrong with them.
func forgeries(s seal, m, other message) map[string]message {
	genuine := s.signature(m)
	all := map[string]message{
		"no signature":              s.with(m, ""),
		"half a signature":          s.with(m, genuine[:len(genuine)/2]),
		"a character another":       s.with(m, flipped(genuine)),
		"too long":                  s.with(m, genuine+genuine),
		"no encoding at all":        s.with(m, "!!!???"),
		"another encoding":          s.with(m, reencoded(genuine)),
		"another message's":         s.with(m, s.signature(other)),
		"another message under it":  changed(m),
		"half the message under it": {slug: m.slug, header: m.header, body: m.body[:len(m.body)/2]},
		"nothing under it":          {slug: m.slug, header: m.header, body: nil},
	}
	if s.header != "" {
		bare := message{slug: m.slug, header: m.header.Clone(), body: m.body}
		bare.header.Del(s.header)
		twice := message{slug: m.slug, header: m.header.Clone(), body: m.body}
		twice.header.Add(s.header, flipped(genuine))
		all["no header"], all["two signatures"] = bare, twice
		all["a blank more"] = message{slug: m.slug, header: m.header, body: append(bytes.Clone(m.body), ' ')}
	}
	return all
}

// shopMessage is an order as Commerce Layer sends it.
func shopMessage(id string) message {
	body := fmt.Sprintf(`{"data":{"type":"orders","id":%q,"attributes":{"status":"placed","currency_code":"EUR","total_amount_cents":1500},"meta":{"mode":"test"}}}`, id)
	mac := hmac.New(sha256.New, []byte(doorSecret))
	mac.Write([]byte(body))
	return message{slug: "commercelayer", body: []byte(body), header: http.Header{
		"Content-Type": {"application/vnd.api+json"}, "X-Commercelayer-Topic": {"orders.approve"},
		"X-Commercelayer-Signature": {base64.StdEncoding.EncodeToString(mac.Sum(nil))},
	}}
}

// TestForgedWebhooks: at the door of every sender, what is forged, stale,
// truncated, oversized or wrongly encoded is refused and counted, and leaves
// nothing behind in any table; and the genuine message passes after all that.
func TestForgedWebhooks(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	messages := map[string][]message{"commercelayer": {shopMessage("order00001"), shopMessage("order00002")}}
	foreign := map[string][]message{}
	for _, slug := range d.slugs {
		for i := 0; len(messages[slug]) < 2; i++ {
			messages[slug] = append(messages[slug], d.tell(t, slug, fmt.Sprint("genuine-", i), "").messages...)
		}
		foreign[slug] = d.tell(t, slug, "replaced", ",webhook_old_secret").messages
	}
	before := d.rows(t)
	for slug, ms := range messages {
		s, ok := seals[slug]
		if !ok || s.signature(ms[0]) == "" {
			t.Errorf("%s: nobody knows where its signature stands: %s", slug, ms[0].body)
			continue
		}
		refused := func(what string, m message, at string, want int) {
			t.Helper()
			unverified, unfit := d.received(t, slug, "unverified"), d.received(t, slug, "unfit")
			status := d.postTo(t, at, m)
			counted := d.received(t, slug, "unverified") - unverified + d.received(t, slug, "unfit") - unfit
			if status != want || counted != 1 && at == d.url {
				t.Errorf("%s, %s: answered %d, counted %v", slug, what, status, counted)
			}
		}
		for what, m := range forgeries(s, ms[0], ms[1]) {
			refused(what, m, d.url, http.StatusUnauthorized)
		}
		for _, m := range foreign[slug] {
			refused("signed with another secret", m, d.url, http.StatusUnauthorized)
		}
		large := ms[0]
		large.body = append(bytes.Clone(large.body), bytes.Repeat([]byte(" "), api.MaxWebhook)...)
		refused("oversized", large, d.url, http.StatusRequestEntityTooLarge)
		if s.stale > 0 {
			refused("stale", ms[0], d.atAnotherTime(t, s.stale), http.StatusUnauthorized)
		}
		d.halfSent(t, ms[0])
	}
	if diff := cmp.Diff(before, d.rows(t)); diff != "" {
		t.Errorf("something was written (-before +after):\n%s", diff)
	}
	for slug, ms := range messages {
		for _, m := range ms {
			if status := d.post(t, m); status != http.StatusOK || d.received(t, slug, "stored") == 0 {
				t.Errorf("%s: its genuine message is answered %d: %s", slug, status, m.body)
			}
		}
	}
}

// atAnotherTime is the same door, later.
func (d *door) atAnotherTime(t *testing.T, later time.Duration) string {
	t.Helper()
	hooks, err := webhooks.New(webhooks.Config{
		Store: d.store, Enqueuer: d.enqueuer, Sources: d.senders(), Now: func() time.Time { return time.Now().Add(later) }, Log: d.log, Registerer: prometheus.NewRegistry(),
		CommerceLayer: webhooks.CommerceLayer{Secrets: []gateway.Secret{doorSecret}, Mode: models.Test}, CompareTold: d.runner.CompareTold,
	})
	if err != nil {
		t.Fatal(err)
	}
	handler, err := api.New(api.Config{Log: d.log, Registerer: prometheus.NewRegistry(), Now: time.Now}, hooks.Dialect())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// halfSent begins to send a message and hangs up.
func (d *door) halfSent(t *testing.T, m message) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /webhooks/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n", m.slug, len(m.body))
	for name, values := range m.header {
		if name != "Content-Length" && name != "Accept-Encoding" {
			fmt.Fprintf(conn, "%s: %s\r\n", name, values[0])
		}
	}
	fmt.Fprintf(conn, "\r\n%s", m.body[:len(m.body)/2])
	_ = conn.(*net.TCPConn).CloseWrite()
	if answer, _ := io.ReadAll(conn); len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 400")) {
		t.Errorf("%s: half a message was answered %q", m.slug, answer)
	}
}

// received is the count of a sender's messages at the door.
func (d *door) received(t *testing.T, source, result string) float64 {
	t.Helper()
	families, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "capstan_webhooks_received_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["source"] == source && labels["result"] == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// rows counts the rows of every table, and sums the transactions that wrote them.
func (d *door) rows(t *testing.T) map[string]string {
	t.Helper()
	tables, err := d.conn.Query(t.Context(), `SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for tables.Next() {
		var name string
		if err := tables.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	counts := map[string]string{}
	for _, name := range names {
		var rows, writes int64
		if err := d.conn.QueryRow(t.Context(), `SELECT count(*), COALESCE(sum(xmin::text::bigint), 0) FROM `+name).Scan(&rows, &writes); err != nil {
			t.Fatal(err)
		}
		counts[name] = fmt.Sprintf("%d rows of %d", rows, writes)
	}
	if len(counts) < 10 {
		t.Fatalf("only %d tables", len(counts))
	}
	return counts
}
