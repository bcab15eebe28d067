package main

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

var update = flag.Bool("update", false, "rewrite the generated part of docs/gateways.md")

// TestGatewaysPage: the capability table is what the adapters say of themselves.
// go test ./cmd/capstan -run TestGatewaysPage -update
func TestGatewaysPage(t *testing.T) {
	const path, begin, end = "../../docs/gateways.md", "<!-- capabilities -->\n", "<!-- /capabilities -->\n"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(page), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s lacks the marks %q and %q", path, begin, end)
	}
	want := before + begin + capabilityTable() + end + after
	if want == string(page) {
		return
	}
	if !*update {
		t.Fatalf("%s does not say what the adapters do: run go test ./cmd/capstan -run TestGatewaysPage -update and read what changed", path)
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func capabilityTable() string {
	var b strings.Builder
	b.WriteString("| account | payment source | a key protects for | a failure under a key | is asked by | \"not there\" is proof after | tells the result | captures of a hold | a fresh capture is undone by | a hold lives | renews holds | lists what it booked |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	settings := config.Gateways{}
	for _, p := range providers() {
		c := p.adapter(accountOptions{settings: settings, mode: models.Test, log: slog.New(slog.DiscardHandler)}).Capabilities()
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", p.slug, p.source, strings.Join([]string{
			keyProtects(c), pick(c.ByHand, "–", pick(c.ReplaysErrors, "is cached", "is not cached")), askedBy(c), proofAfter(c),
			pick(c.Async, "later", "at once, seldom later"), pick(c.MultiCapture, "several", "one"), pick(c.UndoesByVoid, "a void, later a refund", "a refund"), lives(c),
			pick(c.Reauthorize, "yes", "no"), pick(c.Lists, "yes", "no"),
		}, " | "))
	}
	return b.String()
}

func pick(yes bool, is, isNot string) string {
	if yes {
		return is
	}
	return isNot
}

func keyProtects(c gateway.Capabilities) string {
	switch {
	case c.ByHand:
		return "–"
	case c.IdempotencyWindow == 0:
		return "nothing: it has none"
	}
	return long(c.IdempotencyWindow)
}

func askedBy(c gateway.Capabilities) string {
	switch {
	case c.LookUp:
		return "a look-up"
	case c.RepeatIsLookUp:
		return "the same call again"
	case c.ByHand:
		return "a person"
	}
	return "nothing"
}

func proofAfter(c gateway.Capabilities) string {
	if !c.LookUp {
		return "never"
	}
	return long(models.Tempo{}.Budget() + c.SettleAfter)
}

func lives(c gateway.Capabilities) string {
	said := long(c.HoldLife)
	for _, l := range c.HoldLives {
		said += "; " + strings.TrimSpace(l.Network+" "+l.Initiator) + " " + long(l.Life)
	}
	return said
}

// long says a time as people do.
func long(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*365*day:
		return fmt.Sprintf("%d years", d/(365*day))
	case d >= 2*day && d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	case d >= 2*day:
		return fmt.Sprintf("%d days %d hours", d/day, d%day/time.Hour)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
