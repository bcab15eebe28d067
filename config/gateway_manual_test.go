package config_test

import (
	"io"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/config"
)

// TestAWord: what a person says of money is said whole, and why.
func TestAWord(t *testing.T) {
	for args, want := range map[string]string{
		"assert ID --succeeded --reason x":                        "",
		"assert ID --failed --reason x --kind void --by Ada":      "",
		"assert ID --succeeded --manual --reason x --kind refund": "",
		"assert ID --succeeded":                                   "--reason",
		"assert ID --reason x":                                    "--succeeded",
		"assert ID --succeeded --failed --reason x":               "--succeeded",
		"assert ID --failed --manual --reason x":                  "--manual",
		"assert ID --succeeded --manual --reason x --kind void":   "--manual",
		"assert ID --succeeded --reason x --kind order":           "--kind",
		"refund ID --manual --reason x":                           "",
		"refund ID --manual":                                      "--reason",
		"refund ID --reason why":                                  "",
	} {
		_, _, err := config.Parse(append([]string{"captures"}, strings.Fields(args)...), io.Discard, io.Discard)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("captures %s: %v, want %q", args, err, want)
		}
	}
}
