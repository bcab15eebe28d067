package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/capstan-pay/capstan/gateway"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const value = "sk_live_hunter2"
	s := gateway.Secret(value)
	type config struct {
		Key  gateway.Secret
		Keys []gateway.Secret
		Map  map[string]gateway.Secret
		Ptr  *gateway.Secret
	}
	c := config{Key: s, Keys: []gateway.Secret{s}, Map: map[string]gateway.Secret{"a": s}, Ptr: &s}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T %[1]v", "%10.3s"} {
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", c)
	}
	fmt.Fprintln(&out, s, &s, s.String(), s.GoString(), fmt.Errorf("key %s", s))
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("starting", "key", s, "config", c)
	}
	for _, v := range []any{s, c} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	text := out.String()
	for _, bad := range []string{"hunter2", "736b5f6c6976655f", "736B5F6C6976655F", "sk_"} {
		if strings.Contains(text, bad) {
			t.Errorf("%q leaked:\n%s", bad, text)
		}
	}
	client := gateway.NewClient(gateway.ClientConfig{Provider: "test", BaseURL: "http://127.0.0.1:9", Redact: []gateway.Secret{s}})
	if text := fmt.Sprintf("%v %+v %#v %#v", client, client, client, *client); strings.Contains(text, "hunter2") {
		t.Errorf("a printed client leaks: %s", text)
	}
	if s.Reveal() != value {
		t.Error("Reveal does not give the value")
	}
}

func TestCleanText(t *testing.T) {
	for in, want := range map[string]string{
		"plain words":                            "plain words",
		" nul\x00 and\nlines\t ":                 "nul  and lines",
		"bad \xff utf8":                          "bad   utf8",
		"card 4242424242424242 declined":         "card *** declined",
		"card 4242-4242-4242-4242":               "card ***",
		"reference 1234567890123":                "reference 1234567890123", // no card: fails the check digit
		"key sk_live_abcDEF123 and rk_test_9":    "key *** and ***",
		"secret whsec_abcDEF":                    "secret ***",
		"header Bearer abc.def-ghi":              "header ***",
		"Invalid API Key provided: sk_test_**34": "Invalid API Key provided: ***",
		"pi_3MXQWxS5fsvVtlID1w1SejAP":            "pi_3MXQWxS5fsvVtlID1w1SejAP",
	} {
		if got := gateway.CleanText(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

// An id stays itself, whatever digits it has: one that is masked is taken for another.
func TestCleanID(t *testing.T) {
	for in, want := range map[string]string{
		"4242424242424242":       "4242424242424242",
		"0VF42424242424242":      "0VF42424242424242",
		" pi_3MX\x00WxS5 ":       "pi_3MX WxS5",
		"bad\xff":                "bad",
		"Bearer abc.def-ghi":     "***",
		strings.Repeat("é", 200): strings.Repeat("é", 127),
		"":                       "",
	} {
		if got := gateway.CleanID(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func FuzzCleanText(f *testing.F) {
	f.Add("card 4242424242424242")
	f.Add(strings.Repeat("ü", 400))
	f.Add("\x00\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := gateway.CleanText(s)
		if len(got) > 300 || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\n\r") {
			t.Fatalf("%q became %q", s, got)
		}
		if id := gateway.CleanID(s); len(id) > 255 || !utf8.ValidString(id) || strings.ContainsAny(id, "\x00\n\r") {
			t.Fatalf("the id %q became %q", s, id)
		}
	})
}
