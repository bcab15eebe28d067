//go:build unix

package devstack_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstallScript runs install.sh, which `make deps` calls, on machines that
// have only the named programs. Postgres cannot be hidden from it where it is in
// one of the usual places, so Redis and the compiler stand for what is missing.
func TestInstallScript(t *testing.T) {
	for _, tt := range []struct {
		name     string
		programs map[string]string // name: what the shell script of that name does
		args     []string
		fails    bool
		want     string
	}{
		{"root with apt installs", map[string]string{"id": "echo 0", "apt-get": "echo ran apt-get $*"}, nil, false,
			"ran apt-get install -y -q --no-install-recommends"},
		{"a user with apt is told the line", map[string]string{"id": "echo 1000", "apt-get": "echo ran"}, nil, true,
			"    sudo apt-get update && sudo apt-get install -y --no-install-recommends"},
		{"a Mac is told the line", map[string]string{"id": "echo 501", "uname": "echo Darwin"}, nil, true, "    brew install"},
		{"the compiler is asked for", map[string]string{"id": "echo 1000", "apt-get": "echo ran", "redis-server": ""},
			[]string{"race"}, true, "gcc libc6-dev"},
		{"a compiler is there", map[string]string{"redis-server": "", "gcc": "", "postgres": "", "initdb": ""}, []string{"race"}, false, ""},
		{"a compiler without headers is not enough", map[string]string{"id": "echo 1000", "apt-get": "", "redis-server": "", "gcc": "exit 1"},
			[]string{"race"}, true, "gcc libc6-dev"},
		{"nothing is missing", map[string]string{"redis-server": "", "postgres": "", "initdb": ""}, nil, false, ""},
		{"valkey is as good", map[string]string{"valkey-server": "", "postgres": "", "initdb": ""}, nil, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			programs := map[string]string{"uname": "echo Linux"}
			for name, does := range tt.programs {
				programs[name] = does
			}
			for name, does := range programs {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+does+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			bash, err := exec.LookPath("bash")
			if err != nil {
				t.Skip("bash is not installed")
			}
			cmd := exec.Command(bash, append([]string{"install.sh"}, tt.args...)...)
			cmd.Env = []string{"PATH=" + dir}
			out, err := cmd.CombinedOutput()
			if fails := err != nil; fails != tt.fails {
				t.Errorf("fails = %t (%v), want %t:\n%s", fails, err, tt.fails, out)
			}
			if !strings.Contains(string(out), tt.want) {
				t.Errorf("does not say %q:\n%s", tt.want, out)
			}
			if tt.want == "" && len(out) != 0 {
				t.Errorf("says %q though nothing is missing", out)
			}
		})
	}
}
