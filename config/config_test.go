package config_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/capstan-pay/capstan/config"
	"github.com/capstan-pay/capstan/models"
)

// enough is a complete environment of a production role.
var enough = map[string]string{
	"DATABASE_URL": "postgres://capstan:hunter2@db/capstan", "REDIS_URL": "redis://:hunter2@redis:6379/0",
	"CAPSTAN_API_TOKEN": "0123456789abcdef-hunter2", "STRIPE_SECRET_KEY": "sk_test_hunter2", "STRIPE_WEBHOOK_SECRET": "whsec_one,whsec_two",
}

func parse(t *testing.T, env map[string]string, args ...string) (config.CLI, string, error) {
	t.Helper()
	for _, set := range []map[string]string{enough, env} {
		for k, v := range set {
			t.Setenv(k, v)
		}
	}
	var out bytes.Buffer
	return config.Parse(args, &out, &out)
}

func TestRoleFromTheEnvironment(t *testing.T) {
	cli, command, err := parse(t, map[string]string{"CAPSTAN_SWEEP_EVERY": "10s", "CAPSTAN_MODE": "test"}, "worker", "--concurrency", "7")
	if err != nil || command != "worker" {
		t.Fatalf("%q %v", command, err)
	}
	r := cli.Worker
	if r.SweepEvery != 10*time.Second || r.Concurrency != 7 || r.Mode != models.Test || len(r.StripeWebhookSecrets) != 2 || r.StripeWebhookSecrets[1].Reveal() != "whsec_two" {
		t.Errorf("%+v", r)
	}
}

func TestCommandsAreNamed(t *testing.T) {
	for _, tt := range []struct{ args, command string }{
		{"captures list --size 3", "captures list"},
		{"captures forward 01a20280-0e16-733a-9307-bd18971d0caf --reason seen", "captures forward"},
		{"orders approve a b c", "orders approve"},
		{"report --json", "report"},
		{"captures check a b", "captures check"},
		{"verdicts list --status open --verdict forward,cancel --older-than 1h --at-least 100", "verdicts list"},
		{"verdicts show a", "verdicts show"},
		{"verdicts apply a --reason seen --by me", "verdicts apply"},
		{"verdicts dismiss a --reason seen", "verdicts dismiss"},
		{"health http://127.0.0.1/healthz", "health"},
		{"reconcile --once", "reconcile sweep"},
		{"reconcile sweep --dry-run --json", "reconcile sweep"},
		{"reconcile import --gateway stripe config_test.go", "reconcile import"},
		{"bench --captures 5000 --cases naive,capstan-10%", "bench"},
	} {
		if _, command, err := parse(t, nil, strings.Fields(tt.args)...); err != nil || command != tt.command {
			t.Errorf("%s: %q %v", tt.args, command, err)
		}
	}
	if _, _, err := parse(t, nil, "--help"); !errors.Is(err, config.ErrHelp) {
		t.Errorf("--help: %v", err)
	}
	if _, _, err := parse(t, nil); !errors.Is(err, config.ErrHelp) {
		t.Errorf("no command: %v", err)
	}
}

func TestRefusesWhatCannotWork(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  map[string]string
		args string
		want []string
	}{
		{"everything missing is named at once", map[string]string{"DATABASE_URL": "", "REDIS_URL": "", "CAPSTAN_API_TOKEN": ""}, "api", []string{"DATABASE_URL", "REDIS_URL", "CAPSTAN_API_TOKEN"}},
		{"a short token", map[string]string{"CAPSTAN_API_TOKEN": "dev"}, "api", []string{"CAPSTAN_API_TOKEN", "openssl"}},
		{"a live key in test mode", map[string]string{"STRIPE_SECRET_KEY": "sk_live_hunter2"}, "worker", []string{"live key"}},
		{"a test key in live mode", map[string]string{"CAPSTAN_MODE": "live"}, "worker", []string{"test key"}},
		{"a mode that does not exist", map[string]string{"CAPSTAN_MODE": "production"}, "worker", []string{"production"}},
		{"time standing still", map[string]string{"CAPSTAN_TIME_SCALE": "0"}, "worker", []string{"CAPSTAN_TIME_SCALE"}},
		{"a sweep without a pause", map[string]string{"CAPSTAN_SWEEP_EVERY": "0s"}, "worker", []string{"CAPSTAN_SWEEP_EVERY"}},
		{"a comparison without a pause", map[string]string{"CAPSTAN_LISTING_EVERY": "1ms"}, "worker", []string{"CAPSTAN_LISTING_EVERY"}},
		{"no hands", map[string]string{"CAPSTAN_CONCURRENCY": "0"}, "worker", []string{"CAPSTAN_CONCURRENCY"}},
		{"no servers", map[string]string{"CAPSTAN_SERVERS": "0"}, "worker", []string{"CAPSTAN_SERVERS"}},
		{"a webhook without a secret", map[string]string{"CAPSTAN_WEBHOOK_URL": "https://shop.example/hook"}, "worker", []string{"CAPSTAN_WEBHOOK_SECRET"}},
		{"a webhook to nowhere", map[string]string{"CAPSTAN_WEBHOOK_URL": "shop"}, "worker", []string{"CAPSTAN_WEBHOOK_URL"}},
		{"a gateway at no address", map[string]string{"STRIPE_BASE_URL": "localhost"}, "worker", []string{"STRIPE_BASE_URL"}},
		{"no port", map[string]string{"CAPSTAN_LISTEN": "localhost"}, "api", []string{"CAPSTAN_LISTEN"}},
		{"a tiny demo", nil, "demo --orders 3", []string{"--orders"}},
		{"a verdict applied for no reason", nil, "verdicts apply a", []string{"--reason"}},
		{"verdicts of the future", nil, "verdicts list --older-than -1h", []string{"--older-than"}},
		{"a benchmark of nothing", nil, "bench --captures 3 --reps 0", []string{"--captures", "--reps"}},
		{"a report of no gateway", nil, "reconcile import config_test.go", []string{"--gateway"}},
		{"a report that is not there", nil, "reconcile import --gateway stripe nothing.csv", []string{"nothing.csv"}},
		{"an unknown flag", nil, "api --frobnicate", []string{"frobnicate"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := parse(t, tt.env, strings.Fields(tt.args)...)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("does not say %q: %v", want, err)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("prints a secret: %v", err)
			}
		})
	}
}

func TestSettingsPrintNoSecret(t *testing.T) {
	cli, _, err := parse(t, nil, "all")
	if err != nil {
		t.Fatal(err)
	}
	if printed := fmt.Sprintf("%v %+v %#v", cli.All, cli.All, cli.All); strings.Contains(printed, "hunter2") || strings.Contains(printed, "whsec_") {
		t.Errorf("prints a secret: %s", printed)
	}
}
