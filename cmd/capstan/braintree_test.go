package main

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

// TestBraintreeSenders: webhooks may be signed with the account's keys and with
// those that it had before, and the address answers for the present ones.
func TestBraintreeSenders(t *testing.T) {
	p := braintreeProvider()
	s := &system{settings: config.Role{}}
	s.settings.Mode = models.Live
	s.settings.Braintree = config.Braintree{
		BraintreeMerchantID: "shop", BraintreePublicKey: "public", BraintreePrivateKey: "hunter2", BraintreeOldKeys: []gateway.Secret{"", "older:hunter1"},
	}
	if !p.configured(s.settings.Gateways) || !p.verifiable(s.settings.Gateways) || p.configured(config.Gateways{}) {
		t.Fatal("the account is there where its keys are, and nowhere else")
	}
	source := p.read(s)
	body := []byte(`<notification><timestamp type="datetime">` + time.Now().UTC().Format(time.RFC3339) + `</timestamp><kind>check</kind><subject/></notification>`)
	for keys, good := range map[gateway.Secret]bool{"public:hunter2": true, "older:hunter1": true, "public:hunter1": false, "older:hunter2": false, "public:guessed": false} {
		notices, err := source.Parse(sandbox.BraintreeForm(body, keys), nil, time.Now())
		if (err == nil) != good || good && (len(notices) != 1 || !notices[0].Live || notices[0].Type != "check") {
			t.Errorf("%q: %+v, %v", keys.Reveal(), notices, err)
		}
	}
	if answer, ok := source.Challenge(url.Values{"bt_challenge": {strings.Repeat("a", 32)}}); !ok || !strings.HasPrefix(answer, "public|") || len(answer) != 47 {
		t.Errorf("challenge: %q, %v", answer, ok)
	}
	if answer, ok := source.Challenge(url.Values{}); ok {
		t.Errorf("no challenge: %q", answer)
	}
}
