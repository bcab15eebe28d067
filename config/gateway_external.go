package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/netguard"
	"github.com/capstan-pay/capstan/models"
)

// External is the merchant's external payment gateway.
type External struct {
	ExternalCaptureURL    string           `name:"external-capture-url" env:"EXTERNAL_CAPTURE_URL" placeholder:"URL" help:"capture_url of an external payment gateway, as Commerce Layer calls it."`
	ExternalVoidURL       string           `name:"external-void-url" env:"EXTERNAL_VOID_URL" placeholder:"URL" help:"Its void_url; without it voids are refused."`
	ExternalRefundURL     string           `name:"external-refund-url" env:"EXTERNAL_REFUND_URL" placeholder:"URL" help:"Its refund_url; without it refunds are refused."`
	ExternalSharedSecrets []gateway.Secret `name:"external-shared-secret" env:"EXTERNAL_SHARED_SECRET" placeholder:"SECRET" help:"Its shared secrets, comma-separated while one is replaced: calls are signed with the first, callbacks to /webhooks/external may be with any."`
	ExternalPorts         []uint16         `name:"external-ports" env:"EXTERNAL_PORTS" placeholder:"PORT" help:"Ports that its URLs may name beside 443, comma-separated."`
	ExternalAllowPrivate  bool             `name:"external-allow-private" env:"EXTERNAL_ALLOW_PRIVATE" help:"Let its URLs lead to private addresses, to any port and by http. For development only."`
}

// validate wants URLs that may be called, and a secret to sign with.
func (e External) validate(mode models.Mode) error {
	var errs []error
	guard := netguard.Guard{AllowPrivate: e.ExternalAllowPrivate, Ports: e.ExternalPorts}
	urls := []struct{ setting, value string }{
		{"EXTERNAL_CAPTURE_URL", e.ExternalCaptureURL}, {"EXTERNAL_VOID_URL", e.ExternalVoidURL}, {"EXTERNAL_REFUND_URL", e.ExternalRefundURL},
	}
	for _, u := range urls {
		if u.value == "" {
			continue
		}
		if _, err := guard.URL(u.value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u.setting, err))
		}
		if e.ExternalCaptureURL == "" {
			errs = append(errs, fmt.Errorf("%s is set and EXTERNAL_CAPTURE_URL is not: nothing could be captured", u.setting))
		}
	}
	if e.ExternalCaptureURL != "" && !slices.ContainsFunc(e.ExternalSharedSecrets[:min(1, len(e.ExternalSharedSecrets))], func(s gateway.Secret) bool { return len(s) >= minToken }) {
		errs = append(errs, fmt.Errorf("EXTERNAL_SHARED_SECRET: the first needs at least %d characters to sign what goes to EXTERNAL_CAPTURE_URL; make one with: openssl rand -hex 32", minToken))
	}
	if e.ExternalAllowPrivate && mode == models.Live {
		errs = append(errs, errors.New("EXTERNAL_ALLOW_PRIVATE is for development, and CAPSTAN_MODE is live"))
	}
	return errors.Join(errs...)
}
