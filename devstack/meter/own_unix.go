//go:build unix

package meter

import "syscall"

// own is this process's processor time in microseconds.
func own() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return Unmeasured
	}
	return (u.Utime.Nano() + u.Stime.Nano()) / 1000
}
