package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Adyen is the account at Adyen.
type Adyen struct {
	AdyenKey          gateway.Secret   `name:"adyen-api-key" env:"ADYEN_API_KEY" placeholder:"KEY" help:"API key of an Adyen credential that may modify payments."`
	AdyenMerchant     string           `name:"adyen-merchant-account" env:"ADYEN_MERCHANT_ACCOUNT" placeholder:"NAME" help:"Name of the merchant account at Adyen."`
	AdyenHMACKeys     []gateway.Secret `name:"adyen-hmac-key" env:"ADYEN_HMAC_KEY" placeholder:"KEY" help:"HMAC keys of Adyen's standard webhook, comma-separated while one is replaced. Adyen tells results by webhook only."`
	AdyenURL          string           `name:"adyen-base-url" env:"ADYEN_BASE_URL" placeholder:"URL" help:"Where Adyen answers; empty is Adyen's test platform. A live account has an address of its own: https://PREFIX-checkout-live.adyenpayments.com/checkout/v72"`
	AdyenMultiCapture bool             `name:"adyen-multi-capture" env:"ADYEN_MULTI_CAPTURE" help:"Adyen has enabled multiple partial captures for the account. Without that the first capture of a part cancels the rest."`
}

// adyenKeyBytes is how long Adyen's HMAC keys are.
const adyenKeyBytes = 32

// validate wants credentials whole, an address of the right mode, and keys that
// can verify something: results come by webhook only.
func (a Adyen) validate(mode models.Mode) error {
	var errs []error
	if (a.AdyenKey == "") != (a.AdyenMerchant == "") {
		errs = append(errs, errors.New("ADYEN_API_KEY and ADYEN_MERCHANT_ACCOUNT: one is useless without the other"))
	}
	if a.AdyenKey != "" && !slices.ContainsFunc(a.AdyenHMACKeys, func(k gateway.Secret) bool { return k != "" }) {
		errs = append(errs, errors.New("ADYEN_HMAC_KEY is empty: Adyen tells results by webhook only, and without a key none can be believed"))
	}
	for i, key := range a.AdyenHMACKeys {
		if raw, err := hex.DecodeString(key.Reveal()); key != "" && (err != nil || len(raw) != adyenKeyBytes) {
			errs = append(errs, fmt.Errorf("ADYEN_HMAC_KEY: key %d is not %d hexadecimal digits", i+1, 2*adyenKeyBytes))
		}
	}
	return errors.Join(append(errs, a.validateURL(mode))...)
}

func (a Adyen) validateURL(mode models.Mode) error {
	if a.AdyenURL == "" {
		if a.AdyenKey != "" && mode == models.Live {
			return errors.New("ADYEN_BASE_URL is empty and CAPSTAN_MODE is live: set the live address with your account's prefix, https://PREFIX-checkout-live.adyenpayments.com/checkout/v72")
		}
		return nil
	}
	if err := baseURL("ADYEN_BASE_URL", a.AdyenURL); err != nil {
		return err
	}
	u, _ := url.Parse(a.AdyenURL) // baseURL parsed it
	test, live := u.Hostname() == "checkout-test.adyen.com", strings.HasSuffix(u.Hostname(), "-checkout-live.adyenpayments.com")
	switch {
	case (test || live) && !strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/v72"):
		return fmt.Errorf("ADYEN_BASE_URL %q: must end in /v72, the version of the API that is spoken here", a.AdyenURL)
	case live && mode == models.Test:
		return errors.New("ADYEN_BASE_URL is Adyen's live platform and CAPSTAN_MODE is test: it would move real money for test orders")
	case test && mode == models.Live:
		return errors.New("ADYEN_BASE_URL is Adyen's test platform and CAPSTAN_MODE is live: no payment would really be captured")
	}
	return nil
}
