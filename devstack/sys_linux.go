package devstack

import "syscall"

// setDeathSignal asks the kernel to send s to the child when the thread that
// started it ends; child.go keeps that thread for as long as the child lives.
func setDeathSignal(attr *syscall.SysProcAttr, s syscall.Signal) { attr.Pdeathsig = s }
