//go:build unix

package devstack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// canStart says whether this platform can run the servers as children.
const canStart = true

// Signals by what they mean to the servers.
const (
	sigFast      = syscall.SIGINT  // Postgres: roll back what is open, checkpoint, exit
	sigImmediate = syscall.SIGQUIT // Postgres: exit now, recover at the next start
	sigTerm      = syscall.SIGTERM // Redis: write what is left, exit
	sigKill      = syscall.SIGKILL
	sigPause     = syscall.SIGSTOP
	sigResume    = syscall.SIGCONT
)

// account is the system user that the servers run as. Postgres refuses to run as
// root, so root hands over to an account without rights.
type account struct {
	name     string
	uid, gid uint32
	other    bool // differs from the calling user
}

func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{name: "the current user"}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if errUID != nil || errGID != nil || uid == 0 {
			continue
		}
		return account{name: name, uid: uint32(uid), gid: uint32(gid), other: true}, nil
	}
	return account{}, errors.New("find an account for Postgres, which refuses to run as root: " +
		"there is neither a user postgres nor a user nobody; run as another user, or give DATABASE_URL")
}

// attributes describes a child that runs as a, outside of our process group: a
// Ctrl-C in the terminal is for us, and we stop the servers after their clients.
func (a account) attributes(death syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a.other {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	setDeathSignal(attr, death)
	return attr
}

// killGroup kills a child that leads a group, with all of the group.
func killGroup(p *os.Process) {
	_ = syscall.Kill(-p.Pid, syscall.SIGKILL) // fails only if all have ended, which is what is wanted
}

// own gives path to the account.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// errLocked says that another process holds the lock.
var errLocked = errors.New("locked")

func tryLock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

// alive reports whether a process of that id exists, a zombie included.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// private checks that the directory info describes is ours and that nobody else
// can write into it: a name under a shared temporary directory can be guessed.
func private(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("use %s: it is not a directory of user %d that only this user can write to; "+
			"remove it, or name another data directory", path, os.Geteuid())
	}
	return nil
}
