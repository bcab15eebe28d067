package config

import (
	"io"
	"strings"
	"testing"
)

func TestRate(t *testing.T) {
	for text, want := range map[string]Rate{"1000": {PerSecond: 1000}, "0": {}, "commercelayer": {CommerceLayer: true}} {
		t.Run(text, func(t *testing.T) {
			t.Setenv("CAPSTAN_API_RATE", text)
			cli, _, err := Parse([]string{"dev"}, io.Discard, io.Discard)
			if err != nil || cli.Dev.Rate != want {
				t.Errorf("%+v, %v, want %+v", cli.Dev.Rate, err, want)
			}
		})
	}
	for _, text := range []string{"-1", "fast", "1.5"} {
		if _, _, err := Parse([]string{"dev", "--api-rate=" + text}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "commercelayer") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if cli, _, err := Parse([]string{"dev"}, io.Discard, io.Discard); err != nil || cli.Dev.Rate != (Rate{PerSecond: 1000}) {
		t.Errorf("by default %+v, %v", cli.Dev.Rate, err)
	}
}
