package devstacktest

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const (
	sharedMemory = "/dev/shm"
	tmpfsMagic   = 0x01021994
	// memoryNeeded is what must be free: the databases of two test binaries and
	// what Postgres logs of them before a checkpoint.
	memoryNeeded = 4 << 30
)

// memoryDir is a directory of this user's whose files are kept in memory; ""
// where the machine has none with room, as in most containers.
func memoryDir() string {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(sharedMemory, &fs); err != nil || int64(fs.Type) != tmpfsMagic {
		return ""
	}
	if fs.Bavail*uint64(fs.Bsize) < memoryNeeded {
		return ""
	}
	return filepath.Join(sharedMemory, "capstan-tests-"+strconv.Itoa(os.Getuid()))
}
