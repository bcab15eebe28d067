package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parseYAML(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.Unmarshal(read(t, name), into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// service is the part of a compose service that the checks need.
type service struct {
	Image string
	Build struct {
		Context    string
		Dockerfile string
	}
	Command     any // a list, or a string
	User        string
	ReadOnly    bool `yaml:"read_only"`
	Environment map[string]string
	Ports       []string
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Grace       string   `yaml:"stop_grace_period"`
	Healthcheck *struct{ Test []string }
	DependsOn   any `yaml:"depends_on"`
}

func (s service) words() []string {
	list, _ := s.Command.([]any)
	var words []string
	for _, w := range list {
		if text, ok := w.(string); ok {
			words = append(words, text)
		}
	}
	return words
}

func composeServices(t *testing.T) map[string]service {
	t.Helper()
	var file struct{ Services map[string]service }
	parseYAML(t, "docker-compose.yml", &file)
	return file.Services
}

// roles are the services that run our binary.
var roles = []string{"migrate", "api", "worker", "relay", "sandbox"}

func TestComposeServices(t *testing.T) {
	services := composeServices(t)
	for _, name := range append([]string{"postgres", "redis", "prometheus", "grafana"}, roles...) {
		if _, ok := services[name]; !ok {
			t.Errorf("there is no service %s", name)
		}
	}
	for name, s := range services {
		if s.Image == "" || !strings.Contains(s.Image, ":") {
			t.Errorf("%s: image %q names no version", name, s.Image)
		}
		if name != "migrate" && s.Healthcheck == nil {
			t.Errorf("%s has no healthcheck", name)
		}
		if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may gain privileges", name)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond this machine", name, p)
			}
		}
	}
}

func TestComposeRoles(t *testing.T) {
	services := composeServices(t)
	for _, name := range roles {
		s := services[name]
		if got := s.words(); !slices.Equal(got, []string{name}) {
			t.Errorf("%s runs %q", name, got)
		}
		if s.Build.Dockerfile != "deploy/Dockerfile" || s.Build.Context != "." {
			t.Errorf("%s is built from %+v", name, s.Build)
		}
		if s.User != "65532:65532" || !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s: user %q, read_only %t, cap_drop %q", name, s.User, s.ReadOnly, s.CapDrop)
		}
		if name != "migrate" && !slices.Contains(s.Healthcheck.Test, "health") {
			t.Errorf("%s: healthcheck %q is not the binary's own", name, s.Healthcheck.Test)
		}
		if name == "sandbox" || name == "migrate" {
			continue
		}
		for _, key := range []string{"DATABASE_URL", "REDIS_URL", "CAPSTAN_API_TOKEN", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"} {
			if s.Environment[key] == "" {
				t.Errorf("%s: %s is not set", name, key)
			}
		}
		conditions := dependencies(s.DependsOn)
		if conditions["migrate"] != "service_completed_successfully" || conditions["redis"] != "service_healthy" {
			t.Errorf("%s does not wait for migrate and redis: %v", name, conditions)
		}
	}
	if worker := services["worker"]; worker.Grace != "60s" || !slices.Contains(worker.Ports, "127.0.0.1:9090:9090") {
		t.Errorf("worker: grace %q, ports %q", worker.Grace, worker.Ports)
	}
}

// dependencies reads the long form of depends_on: service to condition.
func dependencies(dependsOn any) map[string]string {
	conditions := map[string]string{}
	long, _ := dependsOn.(map[string]any)
	for name, v := range long {
		fields, _ := v.(map[string]any)
		conditions[name], _ = fields["condition"].(string)
	}
	return conditions
}

func TestComposeRedisLosesNothing(t *testing.T) {
	words := strings.Join(composeServices(t)["redis"].words(), " ")
	for _, want := range []string{"--maxmemory-policy noeviction", "--appendonly yes"} {
		if !strings.Contains(words, want) {
			t.Errorf("redis runs %q, want %s", words, want)
		}
	}
}

var (
	// interpolated is ${NAME}, ${NAME:-default} or ${NAME:?message}.
	interpolated = regexp.MustCompile(`\$\{([A-Z0-9_]+)(:\?)?`)
	example      = regexp.MustCompile(`(?m)^(# )?([A-Z][A-Z0-9_]+)=(.*)$`)
)

func TestEnvExample(t *testing.T) {
	explained := map[string]bool{} // name: must be filled in
	for _, m := range example.FindAllStringSubmatch(string(read(t, ".env.example")), -1) {
		if _, twice := explained[m[2]]; twice {
			t.Errorf(".env.example has %s twice", m[2])
		}
		explained[m[2]] = m[1] == "" && m[3] == ""
	}
	for _, m := range interpolated.FindAllStringSubmatch(string(read(t, "docker-compose.yml")), -1) {
		empty, ok := explained[m[1]]
		if !ok {
			t.Errorf(".env.example does not explain %s", m[1])
		}
		if needed := m[2] == ":?"; ok && needed != empty {
			t.Errorf("%s: needed by compose = %t, but to be filled in by .env.example = %t", m[1], needed, empty)
		}
	}
	services := composeServices(t)
	for _, name := range roles {
		for key := range services[name].Environment {
			if _, ok := explained[key]; !ok {
				t.Errorf(".env.example does not explain %s, which %s is given", key, name)
			}
		}
	}
	for key := range configVariables(t) {
		if _, ok := explained[key]; !ok {
			t.Errorf(".env.example does not explain %s, which config reads", key)
		}
	}
}

var envTag = regexp.MustCompile(`\benv:"([A-Z0-9_,]+)"`)

// configVariables are the variables that the struct tags of config name.
func configVariables(t *testing.T) map[string]bool {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "config/*.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range names {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range envTag.FindAllSubmatch(src, -1) {
			for key := range strings.SplitSeq(string(m[1]), ",") {
				found[key] = true
			}
		}
	}
	return found
}

// What compose gives a role has to be something config reads.
func TestComposeVariablesAreRead(t *testing.T) {
	known := configVariables(t)
	services := composeServices(t)
	for _, name := range roles {
		for key := range services[name].Environment {
			if !known[key] {
				t.Errorf("%s is given %s, which config does not read", name, key)
			}
		}
	}
}

func TestDockerfile(t *testing.T) {
	text := string(read(t, "deploy/Dockerfile"))
	for _, want := range []string{"CGO_ENABLED=0", "-trimpath", "FROM scratch", "USER 65532:65532", "ca-certificates.crt", `ENTRYPOINT ["/capstan"]`} {
		if !strings.Contains(text, want) {
			t.Errorf("deploy/Dockerfile does not contain %s", want)
		}
	}
	ignored := string(read(t, ".dockerignore"))
	for _, want := range []string{".env\n", ".git\n"} {
		if !strings.Contains(ignored, want) {
			t.Errorf(".dockerignore lets %s into the image's build", strings.TrimSpace(want))
		}
	}
}
