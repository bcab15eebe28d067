//go:build unix

package store

import (
	"errors"
	"net"
	"syscall"
)

// quiet reports whether a connection is open and has nothing to say. It reads
// nothing and does not wait.
func quiet(conn net.Conn) bool {
	socket, ok := plain(conn).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	var peeked error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, peeked = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	return err == nil && (errors.Is(peeked, syscall.EAGAIN) || errors.Is(peeked, syscall.EWOULDBLOCK))
}
