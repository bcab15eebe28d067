package config

import (
	"errors"
	"net/url"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Klarna is the account at Klarna.
type Klarna struct {
	KlarnaUsername string         `name:"klarna-username" env:"KLARNA_USERNAME" placeholder:"NAME" help:"Username of a Klarna API credential."`
	KlarnaPassword gateway.Secret `name:"klarna-password" env:"KLARNA_PASSWORD" placeholder:"SECRET" help:"Password, or API key, of that credential."`
	KlarnaURL      string         `name:"klarna-base-url" env:"KLARNA_BASE_URL" placeholder:"URL" help:"Where Klarna answers; empty is its European address, the playground's in test mode. Other regions: https://api-na.klarna.com, https://api-oc.klarna.com"`
}

// validate wants credentials whole and of the right mode, which the newer of
// Klarna's name, and its addresses do.
func (k Klarna) validate(mode models.Mode) error {
	key := k.KlarnaPassword.Reveal()
	switch {
	case (k.KlarnaUsername == "") != (key == ""):
		return errors.New("KLARNA_USERNAME and KLARNA_PASSWORD: one is useless without the other")
	case mode == models.Test && strings.HasPrefix(key, "klarna_live_"):
		return errors.New("KLARNA_PASSWORD is a live key and CAPSTAN_MODE is test: it would move real money for test orders")
	case mode == models.Live && strings.HasPrefix(key, "klarna_test_"):
		return errors.New("KLARNA_PASSWORD is a test key and CAPSTAN_MODE is live: no payment would really be captured")
	}
	if err := baseURL("KLARNA_BASE_URL", k.KlarnaURL); err != nil || k.KlarnaURL == "" {
		return err
	}
	u, _ := url.Parse(k.KlarnaURL) // baseURL parsed it
	playground := strings.HasSuffix(u.Hostname(), ".playground.klarna.com")
	switch {
	case !strings.HasSuffix(u.Hostname(), ".klarna.com"):
		return nil
	case mode == models.Test && !playground:
		return errors.New("KLARNA_BASE_URL is Klarna itself and CAPSTAN_MODE is test: it would move real money for test orders")
	case mode == models.Live && playground:
		return errors.New("KLARNA_BASE_URL is Klarna's playground and CAPSTAN_MODE is live: no payment would really be captured")
	}
	return nil
}
