//go:build !unix

package devstack

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// canStart says whether this platform can run the servers as children. Here the
// servers must be given by address.
const canStart = false

const (
	sigFast      = syscall.SIGINT
	sigImmediate = syscall.SIGQUIT
	sigTerm      = syscall.SIGTERM
	sigKill      = syscall.SIGKILL
	sigPause     = syscall.SIGKILL
	sigResume    = syscall.SIGKILL
)

type account struct {
	name  string
	other bool
}

func serverAccount() (account, error) { return account{name: "the current user"}, nil }

func (account) attributes(syscall.Signal) *syscall.SysProcAttr { return nil }

func killGroup(p *os.Process) { _ = p.Kill() }

func (account) own(string) error { return nil }

var errLocked = errors.New("locked")

func tryLock(*os.File) error { return nil }

func alive(int) bool { return false }

func private(string, fs.FileInfo) error { return nil }
