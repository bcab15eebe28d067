package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/capstan-pay/capstan/api/commercelayer"
	"github.com/capstan-pay/capstan/api/webhooks"
	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/external"
	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

const externalAccount = "external"

// externalProvider is the merchant's external gateway. Its calls say what the
// ledger knows of their operation.
func externalProvider() provider {
	return provider{
		slug: externalAccount, source: "external_payments", setting: "EXTERNAL_CAPTURE_URL", secret: "EXTERNAL_SHARED_SECRET",
		configured: func(c config.Gateways) bool { return c.ExternalCaptureURL != "" },
		verifiable: func(c config.Gateways) bool { return given(c.ExternalSharedSecrets) },
		adapter: func(o accountOptions) gateway.Gateway {
			c := o.settings
			return external.New(external.Config{
				Account: externalAccount, CaptureURL: c.ExternalCaptureURL, VoidURL: c.ExternalVoidURL, RefundURL: c.ExternalRefundURL,
				SharedSecrets: c.ExternalSharedSecrets, AllowPrivate: c.ExternalAllowPrivate, Ports: c.ExternalPorts, Describe: describer{o.store, o.mode}.describe,
				Timeout: o.tempo.Budget(), Registerer: o.reg, Log: o.log, UserAgent: "capstan",
			})
		},
		read: func(s *system) webhooks.Source {
			secrets, live := s.settings.ExternalSharedSecrets, s.settings.Mode == models.Live
			return webhooks.Source{TellsOnce: true, Parse: func(body []byte, header http.Header, now time.Time) ([]gateway.Notice, error) {
				return external.ParseWebhook(body, header, secrets, live, now)
			}}
		},
		pretend: func(e *environment, c *config.Gateways, secret gateway.Secret) (sandbox.Endpoint, error) {
			base := e.sandboxURL + "/external"
			c.ExternalCaptureURL, c.ExternalVoidURL, c.ExternalRefundURL = base+"/capture", base+"/void", base+"/refund"
			c.ExternalSharedSecrets, c.ExternalAllowPrivate = []gateway.Secret{sandbox.ExternalSecret, secret}, true
			return sandbox.Endpoint{Secret: secret, OldSecret: "replaced", Wire: external.Provider}, nil
		},
	}
}

// externals are the external gateways that people may stop and reset.
func (s *system) externals() []commercelayer.ExternalGateway {
	if _, ok := s.accounts[externalAccount]; !ok {
		return nil
	}
	return []commercelayer.ExternalGateway{{
		Slug: externalAccount, CaptureURL: s.settings.ExternalCaptureURL, VoidURL: s.settings.ExternalVoidURL, RefundURL: s.settings.ExternalRefundURL,
		Includes: []string{"order", "reference_authorization"},
	}}
}

// describer tells an external gateway's calls what the ledger knows.
type describer struct {
	store *store.Store // nil where there is no ledger at hand
	mode  models.Mode
}

func (d describer) describe(ctx context.Context, r gateway.Request) (external.Document, error) {
	if d.store == nil {
		return external.Document{}, errors.New("there is no ledger here to describe the operation from")
	}
	op, err := d.store.FindOperation(ctx, externalAccount, r.Kind, r.Reference, "")
	if err != nil {
		return external.Document{}, err
	}
	hold, err := d.store.Authorization(ctx, d.mode, op.AuthorizationID)
	if err != nil {
		return external.Document{}, err
	}
	order, err := d.store.Order(ctx, d.mode, op.OrderID)
	if err != nil {
		return external.Document{}, err
	}
	doc := external.Document{
		Mode: op.Mode, OperationID: op.ID,
		Order:         external.Order{ID: order.ID, Number: strconv.FormatInt(order.Number, 10), CurrencyCode: order.CurrencyCode, TotalCents: op.OrderTotalCents, CreatedAt: order.CreatedAt},
		Authorization: external.Authorization{ID: hold.ID, Number: hold.Number, CurrencyCode: hold.CurrencyCode, AmountCents: hold.AmountCents, CreatedAt: hold.CreatedAt},
	}
	if op.CaptureID == nil {
		return doc, nil
	}
	taken, err := d.store.Operation(ctx, d.mode, models.Capture, *op.CaptureID)
	if err != nil {
		return external.Document{}, err
	}
	doc.Capture = &external.Capture{ID: taken.ID, Number: taken.Number, CurrencyCode: taken.CurrencyCode, AmountCents: taken.AmountCents, CreatedAt: taken.CreatedAt}
	if taken.ConfirmedCents != nil {
		doc.Capture.AmountCents = *taken.ConfirmedCents
	}
	return doc, nil
}
