package archtest

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// metrics are the names that alerts and panels may use.
var metrics = []string{
	"capstan_transitions_total", "capstan_attempts_total", "capstan_gateway_seconds", "capstan_open_operations",
	"capstan_holds_at_risk", "capstan_value_at_risk_cents", "capstan_oldest_open_seconds", "capstan_flagged_operations", "capstan_verdicts_total", "capstan_unpublished",
	"capstan_inbox_pending", "capstan_sweep_last_success_timestamp_seconds", "asynq_queue_size",
	"capstan_listing_through_timestamp_seconds", "capstan_listing_findings_total",
	"capstan_circuit_open",
	"capstan_invariant_broken", "capstan_audit_last_success_timestamp_seconds",
}

// A metric that was renamed would silence its alerts without a word.
func TestMetricsAreExported(t *testing.T) {
	literals := map[string]bool{}
	err := sources(os.DirFS(root), func(pkg, name string, file *ast.File) error {
		if pkg == "archtest" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok {
				literals[strings.Trim(lit.Value, `"`)] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range metrics {
		if !literals[name] {
			t.Errorf("nothing exports %s, which alerts and panels use", name)
		}
	}
}

var metricName = regexp.MustCompile(`\b(?:capstan|asynq)_[a-z_]+\b`)

func checkMetrics(t *testing.T, where, expr string) {
	t.Helper()
	found := metricName.FindAllString(expr, -1)
	for _, name := range found {
		if !slices.Contains(metrics, strings.TrimSuffix(name, "_bucket")) {
			t.Errorf("%s uses the unknown metric %s", where, name)
		}
	}
	if len(found) == 0 && !strings.Contains(expr, "up{") {
		t.Errorf("%s uses no metric of ours: %s", where, expr)
	}
	if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") {
		t.Errorf("%s: brackets do not match: %s", where, expr)
	}
}

func TestAlertsHaveRunbookSections(t *testing.T) {
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr         string
				Labels, Annotations map[string]string
			}
		}
	}
	parseYAML(t, "deploy/prometheus/rules.yml", &file)
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^## (Capstan\w+)$`).FindAllSubmatch(read(t, "docs/runbook.md"), -1) {
		sections[string(m[1])] = true
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			checkMetrics(t, r.Alert, r.Expr)
			if !sections[r.Alert] {
				t.Errorf("docs/runbook.md has no section %q", "## "+r.Alert)
			}
			delete(sections, r.Alert)
			if want := "docs/runbook.md#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
				t.Errorf("%s: runbook_url = %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
			}
			if r.Annotations["summary"] == "" || !slices.Contains([]string{"page", "ticket"}, r.Labels["severity"]) {
				t.Errorf("%s: summary %q, severity %q", r.Alert, r.Annotations["summary"], r.Labels["severity"])
			}
		}
	}
	if len(sections) > 0 {
		t.Errorf("docs/runbook.md has sections without an alert: %q", slices.Sorted(maps.Keys(sections)))
	}
}

func TestPrometheusScrapesEveryRole(t *testing.T) {
	var file struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	parseYAML(t, "deploy/prometheus/prometheus.yml", &file)
	var targets []string
	for _, s := range file.ScrapeConfigs {
		for _, c := range s.StaticConfigs {
			targets = append(targets, c.Targets...)
		}
	}
	slices.Sort(targets)
	if want := []string{"api:9090", "relay:9090", "worker:9090"}; !slices.Equal(targets, want) {
		t.Errorf("targets = %q, want %q", targets, want)
	}
	if !slices.Equal(file.RuleFiles, []string{"rules.yml"}) {
		t.Errorf("rule_files = %q", file.RuleFiles)
	}
}

func TestGrafanaDashboard(t *testing.T) {
	var sources struct{ Datasources []struct{ UID string } }
	parseYAML(t, "deploy/grafana/provisioning/datasources/prometheus.yml", &sources)
	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	parseYAML(t, "deploy/grafana/provisioning/dashboards/capstan.yml", &providers)
	if len(sources.Datasources) != 1 || len(providers.Providers) != 1 {
		t.Fatalf("provisioning: %+v, %+v", sources, providers)
	}
	if mount := "./deploy/grafana/dashboards:" + providers.Providers[0].Options.Path + ":ro"; !bytes.Contains(read(t, "docker-compose.yml"), []byte(mount)) {
		t.Errorf("docker-compose.yml does not mount %s", mount)
	}

	var dashboard struct {
		UID    string
		Panels []struct {
			ID          int
			Type, Title string
			Targets     []struct {
				Expr       string
				Datasource struct{ UID string }
			}
		}
	}
	if err := json.Unmarshal(read(t, "deploy/grafana/dashboards/capstan.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have id %d", p.ID)
		}
		ids[p.ID] = true
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			checkMetrics(t, p.Title, target.Expr)
			if target.Datasource.UID != sources.Datasources[0].UID {
				t.Errorf("panel %q asks data source %q", p.Title, target.Datasource.UID)
			}
		}
	}
}
