package config

import (
	"errors"
	"fmt"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// Reconciling is the command reconcile: a sweep where nothing else is said.
type Reconciling struct {
	Sweep  Reconcile `cmd:"" default:"withargs" help:"One reconciliation sweep over open work, with --once or --dry-run; --look-first is for after a restore."`
	Import Import    `cmd:"" help:"Compare a gateway's balance, payout or settlement report with the ledger; exit status 1 if something needs a person."`
}

// Import compares a report.
type Import struct {
	DatabaseURL gateway.Secret `env:"DATABASE_URL" required:"" placeholder:"URL" help:"Postgres, postgres://user:password@host:5432/name."`
	Gateways    `embed:""`
	Mode        models.Mode `enum:"test,live" default:"test" env:"CAPSTAN_MODE" help:"test or live."`
	TimeScale   int         `default:"1" env:"CAPSTAN_TIME_SCALE" help:"As the workers have it: how long anything may wait depends on it."`
	Gateway     string      `required:"" placeholder:"SLUG" help:"The account whose report it is, for example stripe."`
	Format      string      `name:"report-format" enum:"auto,stripe,capstan" default:"auto" help:"stripe: an itemized report of Stripe's; capstan: type,transaction_id,hold,reference,amount_cents,currency,at,reason; auto: as the gateway's provider writes it."`
	File        string      `arg:"" type:"existingfile" help:"The report, as CSV."`
	DryRun      bool        `help:"Show what differs, asking the gateway but changing nothing."`
	JSON        bool        `name:"json" help:"Print the result as JSON."`
}

// Validate names everything that is wrong, at once.
func (i Import) Validate() error {
	var scale error
	if i.TimeScale < 1 || i.TimeScale > 100 {
		scale = fmt.Errorf("CAPSTAN_TIME_SCALE %d: from 1 to 100", i.TimeScale)
	}
	return errors.Join(scale, i.Gateways.Validate(i.Mode))
}
