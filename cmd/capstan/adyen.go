package main

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/adyen"
	"github.com/capstan-pay/capstan/gateway/sandbox"
)

const adyenAccount = "adyen"

// adyenProvider is Adyen. It cannot be asked: its webhooks tell every result.
func adyenProvider() provider {
	return provider{
		slug: adyenAccount, source: "adyen_payments", setting: "ADYEN_API_KEY and ADYEN_MERCHANT_ACCOUNT", secret: "ADYEN_HMAC_KEY",
		configured: func(c config.Gateways) bool { return c.AdyenKey != "" },
		verifiable: func(c config.Gateways) bool { return given(c.AdyenHMACKeys) },
		adapter: func(o accountOptions) gateway.Gateway {
			base := o.settings.AdyenURL
			if base == "" {
				base = adyen.SandboxURL // of a live account the address is required
			}
			return adyen.New(adyen.Config{
				Account: adyenAccount, APIKey: o.settings.AdyenKey, MerchantAccount: o.settings.AdyenMerchant, BaseURL: base,
				MultiCapture: o.settings.AdyenMultiCapture, Timeout: o.tempo.Budget(), Registerer: o.reg, Log: o.log, UserAgent: "capstan",
			})
		},
		read: func(s *system) webhooks.Source {
			keys, merchant := s.settings.AdyenHMACKeys, s.settings.AdyenMerchant
			return webhooks.Source{
				TellsOnce: true,
				Reply:     webhooks.Reply{ContentType: "text/plain; charset=utf-8", Body: []byte(adyen.Accepted)},
				Parse: func(body []byte, header http.Header, now time.Time) ([]gateway.Notice, error) {
					return adyen.ParseWebhook(body, header, keys, now, merchant)
				},
			}
		},
		pretend: pretendAdyen,
	}
}

// sandboxMerchant is the merchant account of the sandbox that stands for Adyen.
const sandboxMerchant = "sandbox"

// pretendAdyen makes an HMAC key of the given secret, since Adyen's are hexadecimal.
func pretendAdyen(e *environment, c *config.Gateways, secret gateway.Secret) (sandbox.Endpoint, error) {
	sum := sha256.Sum256([]byte(secret.Reveal()))
	key := gateway.Secret(strings.ToUpper(hex.EncodeToString(sum[:])))
	c.AdyenKey, c.AdyenMerchant, c.AdyenURL, c.AdyenHMACKeys = "sandbox", sandboxMerchant, e.sandboxURL+"/adyen/v72", []gateway.Secret{key}
	return sandbox.Endpoint{Secret: key, OldSecret: gateway.Secret(strings.Repeat("0", 64)), Wire: adyen.Provider}, nil
}
