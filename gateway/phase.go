package gateway

import (
	"context"
	"io"
	"net/http/httptrace"
	"sync/atomic"
)

// tracker learns whether a request ever got a connection. Once it had one,
// bytes may have left, and nobody can prove that they did not.
type tracker struct {
	connected atomic.Bool
}

func (t *tracker) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { t.connected.Store(true) },
	})
}

// onceBody is a request body that can be read once and never rewound.
type onceBody struct {
	rest []byte
}

func (b *onceBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *onceBody) Close() error { return nil }
