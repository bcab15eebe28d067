package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// orphanWait is how long the servers of a killed owner are given to end.
const orphanWait = 15 * time.Second

// ErrInUse is part of the error of Start when another process has its stack in
// the same data directory.
var ErrInUse = errors.New("data directory in use")

// lockDir takes the lock of a data directory. The lock belongs to the open file,
// which the servers inherit: it is free only when we and they have ended, and the
// kernel frees it however that end comes.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := waitLock(ctx, f, dir); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", f.Name(), err), f.Close())
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return nil, errors.Join(fmt.Errorf("write %s: %w", f.Name(), err), f.Close())
	}
	return f, nil
}

func waitLock(ctx context.Context, f *os.File, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, orphanWait)
	defer cancel()
	for {
		err := tryLock(f)
		if err == nil {
			return nil
		}
		if !errors.Is(err, errLocked) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		owner := lockOwner(f)
		if owner != 0 && alive(owner) {
			return fmt.Errorf("%w: %s is used by process %d; stop that one, or give this one a directory of its own", ErrInUse, dir, owner)
		}
		// The owner is gone and its servers are still shutting down.
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the servers that process %d started in %s outlived it; end them with: kill -INT %s",
				ErrInUse, owner, dir, strings.Join(orphans(dir), " "))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lockOwner is the process that took the lock, 0 while it is being written.
func lockOwner(f *os.File) int {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// orphans lists the process ids that the servers wrote into the directory.
func orphans(dir string) []string {
	var pids []string
	for _, name := range []string{postgresPIDFile(dir), redisPIDFile(dir)} {
		b, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		pid, _, _ := strings.Cut(string(b), "\n")
		pids = append(pids, strings.TrimSpace(pid))
	}
	return pids
}
