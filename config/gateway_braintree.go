package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Braintree is the account at Braintree.
type Braintree struct {
	BraintreeMerchantID string           `name:"braintree-merchant-id" env:"BRAINTREE_MERCHANT_ID" placeholder:"ID" help:"Id of the Braintree gateway account."`
	BraintreePublicKey  string           `name:"braintree-public-key" env:"BRAINTREE_PUBLIC_KEY" placeholder:"KEY" help:"Public API key of a Braintree user who may settle, void and refund."`
	BraintreePrivateKey gateway.Secret   `name:"braintree-private-key" env:"BRAINTREE_PRIVATE_KEY" placeholder:"KEY" help:"Private API key of that user. Webhooks are signed with it, too."`
	BraintreeOldKeys    []gateway.Secret `name:"braintree-old-keys" env:"BRAINTREE_OLD_KEYS" placeholder:"PUBLIC:PRIVATE" help:"Other pairs of API keys that webhooks may be signed with while one is replaced, comma-separated."`
	BraintreeURL        string           `name:"braintree-base-url" env:"BRAINTREE_BASE_URL" placeholder:"URL" help:"Where Braintree answers; empty is Braintree itself, its sandbox in test mode."`
}

// The hosts of Braintree's gateway.
const (
	braintreeLive    = "api.braintreegateway.com"
	braintreeSandbox = "api.sandbox.braintreegateway.com"
)

// validate wants credentials whole and of the right mode: Braintree's keys tell
// nothing, but its addresses do.
func (b Braintree) validate(mode models.Mode) error {
	var errs []error
	if whole := b.BraintreeMerchantID != ""; whole != (b.BraintreePublicKey != "") || whole != (b.BraintreePrivateKey != "") {
		errs = append(errs, errors.New("BRAINTREE_MERCHANT_ID, BRAINTREE_PUBLIC_KEY and BRAINTREE_PRIVATE_KEY: each is useless without the others"))
	}
	for i, pair := range b.BraintreeOldKeys {
		if public, private, ok := strings.Cut(pair.Reveal(), ":"); pair != "" && (!ok || public == "" || private == "") {
			errs = append(errs, fmt.Errorf("BRAINTREE_OLD_KEYS: pair %d is not of the form public:private", i+1))
		}
	}
	return errors.Join(append(errs, b.validateURL(mode))...)
}

func (b Braintree) validateURL(mode models.Mode) error {
	if err := baseURL("BRAINTREE_BASE_URL", b.BraintreeURL); err != nil || b.BraintreeURL == "" {
		return err
	}
	u, _ := url.Parse(b.BraintreeURL) // baseURL parsed it
	switch host := u.Hostname(); {
	case mode == models.Test && host == braintreeLive:
		return errors.New("BRAINTREE_BASE_URL is Braintree itself and CAPSTAN_MODE is test: it would move real money for test orders")
	case mode == models.Live && host == braintreeSandbox:
		return errors.New("BRAINTREE_BASE_URL is Braintree's sandbox and CAPSTAN_MODE is live: no payment would really be captured")
	}
	return nil
}
