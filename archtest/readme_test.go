package archtest

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/models"
)

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The README's diagram is the transition table, neither more nor less.
func TestReadmeDrawsTheTransitionTable(t *testing.T) {
	drawn := map[[2]models.State]bool{}
	for _, m := range regexp.MustCompile(`(?m)^    (\w+) --> (\w+):`).FindAllStringSubmatch(readme(t), -1) {
		drawn[[2]models.State{models.State(m[1]), models.State(m[2])}] = true
	}
	for edge := range models.Edges() {
		if !drawn[edge] {
			t.Errorf("the diagram lacks %s --> %s", edge[0], edge[1])
		}
		delete(drawn, edge)
	}
	for edge := range drawn {
		t.Errorf("the diagram draws %s --> %s, which does not exist", edge[0], edge[1])
	}
}

// The README shows the example script as it is; cmd's tests run it.
func TestReadmeShowsTheExample(t *testing.T) {
	script, err := os.ReadFile("../examples/first-order.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, body, found := strings.Cut(string(script), "set -euo pipefail\n")
	if !found || !strings.Contains(readme(t), strings.TrimSpace(body)) {
		t.Error("the README does not show examples/first-order.sh as it is")
	}
}

// Every relative link of the documents leads somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, document := range []string{"../README.md", "../CONTRIBUTING.md", "../docs/architecture.md", "../docs/runbook.md"} {
		b, err := os.ReadFile(document)
		if err != nil {
			t.Fatal(err)
		}
		dir := document[:strings.LastIndex(document, "/")+1]
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`).FindAllStringSubmatch(string(b), -1) {
			if _, err := os.Stat(dir + m[1]); err != nil {
				t.Errorf("%s links to %s, which is not there", document, m[1])
			}
		}
	}
}
