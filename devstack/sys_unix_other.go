//go:build unix && !linux

package devstack

import "syscall"

// setDeathSignal does nothing: without Linux' parent-death signal the servers
// outlive a parent that was killed with SIGKILL. The lock they inherit makes the
// next Start say so instead of using their directory.
func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}
