package main

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/paypal"
)

// paypalSenders is the PayPal account, if there is one, as a sender of webhooks.
// Its messages are hints to look, and nothing else.
func (s *system) paypalSenders() []webhooks.Source {
	if _, ok := s.accounts[paypalAccount]; !ok {
		return nil
	}
	source := webhooks.Source{Slug: paypalAccount, Mode: s.settings.Mode}
	ids := slices.DeleteFunc(slices.Clone(s.settings.PayPalWebhookIDs), func(id string) bool { return id == "" })
	if len(ids) > 0 {
		certs := s.paypalCerts
		if certs == nil {
			certs = paypal.NewCertificates(paypal.CertificatesConfig{})
		}
		source.Parse = func(body []byte, header http.Header, now time.Time) ([]gateway.Notice, error) {
			return webhooks.One(paypal.ParseWebhook(context.Background(), body, header, ids, certs, now, webhookTolerance))
		}
	}
	return []webhooks.Source{source}
}
