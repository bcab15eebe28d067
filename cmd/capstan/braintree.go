package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/braintree"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
)

const braintreeAccount = "braintree"

// braintreeProvider is Braintree. Its webhooks are signed with the API keys, and
// prove what they say.
func braintreeProvider() provider {
	return provider{
		slug: braintreeAccount, source: "braintree_payments", setting: "BRAINTREE_MERCHANT_ID, BRAINTREE_PUBLIC_KEY and BRAINTREE_PRIVATE_KEY", secret: "BRAINTREE_PRIVATE_KEY",
		configured: func(c config.Gateways) bool { return c.BraintreeMerchantID != "" },
		verifiable: func(c config.Gateways) bool { return c.BraintreePrivateKey != "" },
		adapter: func(o accountOptions) gateway.Gateway {
			base := o.settings.BraintreeURL
			if base == "" {
				base = map[models.Mode]string{models.Test: braintree.SandboxURL, models.Live: braintree.LiveURL}[o.mode]
			}
			return braintree.New(braintree.Config{
				Account: braintreeAccount, MerchantID: o.settings.BraintreeMerchantID, PublicKey: o.settings.BraintreePublicKey, PrivateKey: o.settings.BraintreePrivateKey,
				BaseURL: base, Timeout: o.tempo.Budget(), AskAgain: o.tempo.Of(time.Hour), Registerer: o.reg, Log: o.log, UserAgent: "capstan",
			})
		},
		read: func(s *system) webhooks.Source {
			keys, live := braintreeKeys(s.settings.Braintree), s.settings.Mode == models.Live
			return webhooks.Source{
				Parse: func(body []byte, header http.Header, now time.Time) ([]gateway.Notice, error) {
					return webhooks.One(braintree.ParseWebhook(body, header, keys, live, now, 0))
				},
				Challenge: func(query url.Values) (string, bool) {
					return braintree.Challenge(query.Get("bt_challenge"), keys[0])
				},
			}
		},
		pretend: func(e *environment, c *config.Gateways, secret gateway.Secret) (sandbox.Endpoint, error) {
			c.BraintreeMerchantID, c.BraintreePublicKey, c.BraintreePrivateKey = "sandbox", "sandbox", secret
			c.BraintreeURL = e.sandboxURL + "/braintree"
			return sandbox.Endpoint{Secret: "sandbox:" + secret, OldSecret: "sandbox:replaced", Wire: braintree.Provider}, nil
		},
	}
}

// braintreeKeys are the pairs that webhooks may be signed with, the present one first.
func braintreeKeys(c config.Braintree) []braintree.Key {
	keys := []braintree.Key{{Public: c.BraintreePublicKey, Private: c.BraintreePrivateKey}}
	for _, pair := range c.BraintreeOldKeys {
		if public, private, ok := strings.Cut(pair.Reveal(), ":"); ok {
			keys = append(keys, braintree.Key{Public: public, Private: gateway.Secret(private)})
		}
	}
	return keys
}

// braintreeCheckout makes a sale at the sandbox, as the demo's shop does. Its
// wire is XML.
func braintreeCheckout(ctx context.Context, s *shop, o *sale) (string, error) {
	type fields struct {
		Fault string `xml:"fault,omitempty"`
	}
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"transaction"`
		Type    string   `xml:"type"`
		Amount  string   `xml:"amount"`
		OrderID string   `xml:"order-id"`
		Account string   `xml:"merchant-account-id"`
		Nonce   string   `xml:"payment-method-nonce"`
		Fields  fields   `xml:"custom-fields"`
	}{Type: "sale", Amount: models.Decimal(o.HoldCents, "EUR"), OrderID: o.Reference, Account: "EUR", Nonce: "fake-valid-visa-nonce", Fields: fields{o.story.fault}})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.gateway+"/braintree/merchants/sandbox/transactions", strings.NewReader(string(body)))
	if err != nil {
		return "", err
	}
	req.SetBasicAuth("sandbox", "demo")
	req.Header.Set("Content-Type", "application/xml")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("HTTP %d %.300s", res.StatusCode, raw)
	}
	var made struct {
		ID     string `xml:"id"`
		Status string `xml:"status"`
	}
	if err = xml.Unmarshal(raw, &made); err == nil && made.Status != "authorized" {
		err = fmt.Errorf("the sale is %s", made.Status)
	}
	return made.ID, err
}
