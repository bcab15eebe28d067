package devstack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	tempPrefix      = "capstan-stack-"
	standInPrefix   = "capstan-data-" // lasting: the sweep must not match it
	ephemeralPrefix = "ephemeral-"
	// sweepAge keeps the sweep away from a directory that is being made.
	sweepAge = time.Minute
)

// takeDir settles on the data directory and locks it.
func (s *Stack) takeDir(ctx context.Context, o Options) error {
	var err error
	switch {
	case o.Dir == "":
		s.remove = true
		s.Dir, err = tempDir(ctx, s.account)
	case o.Ephemeral:
		s.remove = true
		s.Dir, err = s.ephemeralDir(ctx, o.Dir)
	default:
		s.Dir, err = s.lastingDir(ctx, o.Dir)
	}
	if err != nil {
		return err
	}
	s.lock, err = lockDir(ctx, s.Dir)
	return err
}

// leaveDir removes temporary data and gives the lock back. A directory that we
// could not lock is another's: it stays.
func (s *Stack) leaveDir() error {
	if s.lock == nil {
		return nil
	}
	var err error
	if s.remove {
		err = removeAll(s.Dir)
	}
	return errors.Join(err, s.lock.Close())
}

// removeAll removes dir. The last processes of a server that was killed may still
// be writing a file into it for a moment.
func removeAll(dir string) error {
	const tries, pause = 40, 25 * time.Millisecond
	for try := 1; ; try++ {
		err := os.RemoveAll(dir)
		if err == nil || try == tries {
			return err
		}
		time.Sleep(pause)
	}
}

// lastingDir makes dir, or, where the servers' account cannot reach it, the
// directory that stands in for it.
func (s *Stack) lastingDir(ctx context.Context, dir string) (string, error) {
	dir, err := makeDir(dir, s.account)
	if err != nil {
		return "", err
	}
	if reachable(ctx, s.account, dir) {
		return dir, nil
	}
	name := sha256.Sum256([]byte(dir))
	for _, parent := range tempParents() {
		other := filepath.Join(parent, standInPrefix+hex.EncodeToString(name[:6]))
		if err := makePrivate(other, s.account); err != nil {
			return "", err
		}
		if reachable(ctx, s.account, other) {
			s.log.Warn("the data goes to another directory: the servers do not run as root, and their user cannot enter the one asked for",
				"asked", dir, "used", other, "user", s.account.name)
			return other, nil
		}
	}
	return "", unreachable(s.account, dir)
}

func (s *Stack) ephemeralDir(ctx context.Context, dir string) (string, error) {
	parent, err := makeDir(dir, s.account)
	if err != nil {
		return "", err
	}
	if !reachable(ctx, s.account, parent) {
		return tempDir(ctx, s.account)
	}
	sweep(parent, ephemeralPrefix)
	return freshDir(parent, ephemeralPrefix, s.account)
}

func tempDir(ctx context.Context, acc account) (string, error) {
	for _, parent := range tempParents() {
		if !reachable(ctx, acc, parent) {
			continue
		}
		sweep(parent, tempPrefix)
		return freshDir(parent, tempPrefix, acc)
	}
	return "", unreachable(acc, os.TempDir())
}

func tempParents() []string { return []string{os.TempDir(), "/tmp", "/var/tmp"} }

func unreachable(acc account, dir string) error {
	return fmt.Errorf("find a data directory: user %s, as whom the servers run, can enter neither %s nor a temporary directory; name one with --data", acc.name, dir)
}

func makeDir(dir string, acc account) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("make the data directory: %w", err)
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("make the data directory: %w", err)
	}
	return dir, makePrivate(dir, acc)
}

// makePrivate makes dir so that only we write to it and the account may pass.
func makePrivate(dir string, acc account) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make the data directory: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := private(dir, info); err != nil {
		return err
	}
	return letPass(dir, acc)
}

func freshDir(parent, prefix string, acc account) (string, error) {
	dir, err := os.MkdirTemp(parent, prefix)
	if err != nil {
		return "", fmt.Errorf("make a temporary data directory: %w", err)
	}
	return dir, letPass(dir, acc)
}

func letPass(dir string, acc account) error {
	if !acc.other {
		return nil
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("let user %s into the data directory: %w", acc.name, err)
	}
	return nil
}

// reachable tries it: permission bits alone do not tell (access lists, mounts).
func reachable(ctx context.Context, acc account, dir string) bool {
	if !acc.other {
		return true
	}
	_, err := command{path: "/bin/sh", args: []string{"-c", ":"}, dir: dir, account: acc, death: sigTerm}.run(ctx)
	return err == nil
}

// sweep removes temporary directories of stacks whose processes were all killed.
// It is a courtesy: what it cannot remove stays.
func sweep(parent, prefix string) {
	locks, err := filepath.Glob(filepath.Join(parent, prefix+"*", "lock"))
	if err != nil {
		return
	}
	for _, name := range locks {
		info, err := os.Stat(name)
		if err != nil || time.Since(info.ModTime()) < sweepAge {
			continue
		}
		sweepOne(name)
	}
}

func sweepOne(lock string) {
	dir := filepath.Dir(lock)
	info, err := os.Lstat(dir)
	if err != nil || private(dir, info) != nil {
		return
	}
	f, err := os.OpenFile(lock, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if tryLock(f) == nil {
		_ = os.RemoveAll(dir)
	}
}
