//go:build unix

package sandbox

import (
	"os"
	"syscall"
)

// lockFile keeps a second sandbox away from the book. The lock dies with the
// process, however it dies.
func lockFile(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
