//go:build unix

package store

import (
	"errors"
	"net"
	"syscall"
)

// quiet reports whether a connection is open and has nothing to say. It reads
// nothing and does not wait, not even for somebody who is reading: on a busy
// machine the driver leaves a reader of its own on an idle connection.
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
	err = raw.Control(func(fd uintptr) { // Read would wait for the other reader, for ever
		var b [1]byte
		_, _, peeked = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return err == nil && (errors.Is(peeked, syscall.EAGAIN) || errors.Is(peeked, syscall.EWOULDBLOCK))
}
