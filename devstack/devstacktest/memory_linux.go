package devstacktest

import (
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	memory       = "/dev/shm"
	memoryPrefix = "capstan-tests-"
	tmpfs        = 0x01021994
	noExec       = 0x8
	// memoryNeeded is what must be free: the databases of two test binaries and
	// what Postgres logs of them before a checkpoint.
	memoryNeeded = 4 << 30
	// memoryStale is the age of a directory whose tests were killed long ago.
	memoryStale = 3 * time.Hour
)

// useMemory has temporary files made in a directory in memory, which it returns;
// "" where there is none with room, as in most containers.
func useMemory() (string, error) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(memory, &fs); err != nil || int64(fs.Type) != tmpfs || fs.Flags&noExec != 0 || fs.Bavail*uint64(fs.Bsize) < memoryNeeded {
		return "", nil
	}
	left, _ := filepath.Glob(filepath.Join(memory, memoryPrefix+"*"))
	for _, dir := range left {
		if info, err := os.Lstat(dir); err == nil && time.Since(info.ModTime()) > memoryStale {
			_ = os.RemoveAll(dir) // another user's stays
		}
	}
	dir, err := os.MkdirTemp(memory, memoryPrefix)
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // the servers' user passes
		return dir, err
	}
	return dir, os.Setenv("TMPDIR", dir)
}
