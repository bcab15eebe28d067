//go:build unix

package store

import (
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// An idle connection is asked for a sign of life only when something happened on it.
func TestQuietConnections(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for name, happens := range map[string]func(net.Conn) error{
		"the server said something": func(c net.Conn) error { _, err := c.Write([]byte("E")); return err },
		"the server hung up":        net.Conn.Close,
	} {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if !quiet(client) {
			t.Errorf("%s: not quiet before", name)
		}
		if err := happens(server); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); quiet(client); { // until the kernel has brought it
			if time.Now().After(deadline) {
				t.Fatalf("%s: still quiet", name)
			}
		}
	}
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	if quiet(one) {
		t.Error("a connection that cannot be looked at counts as quiet")
	}
}

// Whoever looks at a connection does not wait for whoever reads from it: on a
// busy machine the driver leaves a reader on an idle connection, and a pool that
// waited for it would hang.
func TestQuietWhileSomebodyReads(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	reading := make(chan struct{})
	looked := make(chan bool)
	var reader sync.WaitGroup
	reader.Go(func() {
		var b [1]byte
		_, _ = client.Read(b[:]) // a first byte says that the reader is at it
		close(reading)
		_, _ = client.Read(b[:])
	})
	if _, err := server.Write([]byte("E")); err != nil {
		t.Fatal(err)
	}
	<-reading
	go func() {
		for range 1000 { // the second read begins meanwhile
			if !quiet(client) {
				looked <- false
				return
			}
			runtime.Gosched()
		}
		looked <- true
	}()
	select {
	case ok := <-looked:
		if !ok {
			t.Error("a connection that is being read from is not quiet")
		}
	case <-time.After(time.Minute):
		t.Error("it waits for the reader")
	}
	_ = server.Close()
	_ = client.Close()
	reader.Wait()
}
