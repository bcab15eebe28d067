package config

import (
	"fmt"
	"time"
)

// Report is the one report.
type Report struct {
	Remote `embed:""`
}

// Verdicts are the operator's hands on what was found.
type Verdicts struct {
	Remote  `embed:""`
	List    VerdictsList `cmd:"" help:"List verdicts, newest first."`
	Show    VerdictShow  `cmd:"" help:"One verdict with both sides of its evidence."`
	Apply   VerdictID    `cmd:"" help:"Do what a verdict asks for: forward, cancel, look again, acknowledge, capture, or record a refund made at the gateway, under the same guards as by hand."`
	Dismiss VerdictID    `cmd:"" help:"Set a verdict aside; nothing else changes."`
}

// VerdictsList selects verdicts.
type VerdictsList struct {
	Status    string        `placeholder:"STATUS" help:"open, applied or dismissed."`
	Verdict   []string      `placeholder:"VERDICT" help:"One or several, comma-separated: in_sync, republish, forward, retry, fail, cancel, amount_conflict, duplicate, late_success, expiring, wait, needs_attention."`
	Gateway   string        `placeholder:"SLUG" help:"Of one gateway account."`
	Order     string        `placeholder:"ID" help:"Of one order."`
	Operation string        `placeholder:"ID" help:"Of one capture, refund or void."`
	Run       string        `placeholder:"ID" help:"Of one reconciliation."`
	OlderThan time.Duration `placeholder:"DURATION" help:"Written longer ago than this: 30m, 48h."`
	NewerThan time.Duration `placeholder:"DURATION" help:"Written within this."`
	AtLeast   *int64        `placeholder:"CENTS" help:"Of at least this amount, in minor units."`
	AtMost    *int64        `placeholder:"CENTS" help:"Of at most this amount, in minor units."`
	Currency  string        `placeholder:"CODE" help:"In one currency."`
	Size      int           `default:"25" help:"How many, at most 25."`
	Page      int           `default:"1" help:"Which page."`
}

// Validate keeps ages from meaning the future.
func (v VerdictsList) Validate() error {
	if v.OlderThan < 0 || v.NewerThan < 0 {
		return fmt.Errorf("--older-than %s, --newer-than %s: not negative", v.OlderThan, v.NewerThan)
	}
	return nil
}

// VerdictShow names a verdict.
type VerdictShow struct {
	ID string `arg:"" help:"The verdict's id."`
}

// VerdictID names a verdict, and says why and by whom.
type VerdictID struct {
	ID     string `arg:"" help:"The verdict's id."`
	Reason string `required:"" placeholder:"TEXT" help:"Why; it is kept with the verdict."`
	By     string `env:"CAPSTAN_BY" placeholder:"NAME" help:"Your name, beside the token's."`
}

// CaptureIDs names captures.
type CaptureIDs struct {
	IDs []string `arg:"" name:"id" help:"The captures' ids."`
}
