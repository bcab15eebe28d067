package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/capstan-pay/capstan/store"
)

// idempotencyKey is the header under which a client may send a request again and
// is answered as the first time.
const (
	idempotencyKey      = "Idempotency-Key"
	hellgateKey         = "X-Idempotency-Key" // the same, as clients of Hellgate send it
	idempotencyReplayed = "Idempotency-Replayed"
	maxKey              = 255
)

const (
	// keyMargin is how long after its deadline a request may still be writing its
	// answer. Then its key is free: whoever ran it is dead.
	keyMargin = 30 * time.Second
	// keepTimeout bounds the write of an answer, which outlives the request.
	keepTimeout = 5 * time.Second
)

// keptHeaders are those of an answer that belong to what was done. The others
// belong to the one request.
var keptHeaders = []string{"Content-Type", "Location", "Link", "Etag"}

// notKept are refusals that say nothing about the request itself: sent again, it
// may be answered otherwise. What failed on our side is not kept either.
var notKept = []int{
	http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusConflict, http.StatusLocked, http.StatusTooEarly, http.StatusTooManyRequests,
}

func kept(status int) bool {
	return status >= 200 && status < 500 && !slices.Contains(notKept, status)
}

// keyOf returns the key of a request, "" for none.
func keyOf(r *http.Request) (string, *Problem) {
	keys := slices.Concat(r.Header.Values(idempotencyKey), r.Header.Values(hellgateKey))
	if len(keys) == 0 || r.Method != http.MethodPost && r.Method != http.MethodPatch {
		return "", nil
	}
	bad := &Problem{
		Status: http.StatusBadRequest, Code: CodeKey, Title: "Bad idempotency key", Header: idempotencyKey,
		Detail: "an idempotency key is sent once and has 1 to " + strconv.Itoa(maxKey) + " printable ASCII characters",
	}
	if len(keys) > 1 || keys[0] == "" || len(keys[0]) > maxKey {
		return "", bad
	}
	for _, c := range []byte(keys[0]) {
		if c < ' ' || c > '~' {
			return "", bad
		}
	}
	return keys[0], nil
}

// once answers a request with a key: the first time as ever, afterwards with the
// answer of the first time.
//
// A process that dies in between leaves the key taken until its lease is over, by
// the database's clock. Then the request runs again. That is safe: what only a key
// keeps from happening twice is remembered in the commit in which it happens (see
// store.WithRequest), everything else the rules of the ledger keep from it.
func (s *Server) once(w http.ResponseWriter, r *http.Request, d *Dialect, handle Handler, caller Caller, key string) error {
	body, err := ReadBody(w, r, MaxBody)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	request, err := s.store.BeginRequest(r.Context(), store.RequestKey{
		Caller: caller.Client, Mode: caller.Mode, Key: key, Fingerprint: fingerprint(r, body),
	}, s.timeout+keyMargin)
	switch {
	case err != nil:
		return err
	case !request.Same:
		return &Problem{
			Status: http.StatusUnprocessableEntity, Code: CodeKeyReused, Title: "Idempotency key reused", Header: idempotencyKey,
			Detail: "another request was sent with this key: its method, path, query, media type or body differ; take a new key for a new request, and the same bytes for the same one",
		}
	case request.Finished:
		return replay(w, request.Answer)
	case !request.Mine:
		w.Header().Set("Retry-After", "1")
		return &Problem{
			Status: http.StatusConflict, Code: CodeKeyInUse, Title: "Idempotency key in use", Header: idempotencyKey,
			Detail: "the first request with this key is being answered; send it again in a moment",
		}
	}
	return s.first(w, r, d, handle, request)
}

// first runs a request that has its key, keeps the answer, and gives it.
func (s *Server) first(w http.ResponseWriter, r *http.Request, d *Dialect, handle Handler, request store.Request) error {
	answer := &recorded{header: http.Header{}}
	finished := false
	defer func() {
		if !finished { // a panic: nobody knows how far it came
			s.letGo(r, request)
		}
	}()
	r = r.WithContext(store.WithRequest(r.Context(), request))
	err := handle(answer, r)
	if err != nil {
		answer = &recorded{header: http.Header{}}
		refuseIn(d, answer, r, Problems(err))
	}
	finished = true
	if kept(answer.status) && answer.body.Len() <= store.MaxStoredAnswer {
		s.keep(r, request, answer)
	} else {
		s.letGo(r, request)
	}
	if info, ok := r.Context().Value(requestKey).(*requestInfo); ok {
		info.err = err
	}
	answer.give(w)
	return nil
}

// keep stores an answer. If that fails the client has it all the same: what was
// done is done, and the same request again will say so.
func (s *Server) keep(r *http.Request, request store.Request, a *recorded) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), keepTimeout)
	defer cancel()
	headers := map[string][]string{}
	for _, name := range keptHeaders {
		if values := a.header.Values(name); len(values) > 0 {
			headers[name] = values
		}
	}
	encoded, err := json.Marshal(headers)
	if err == nil {
		err = s.store.FinishRequest(ctx, request, store.Answer{Status: a.status, Headers: encoded, Body: a.body.Bytes()})
	}
	if err != nil {
		s.log.WarnContext(ctx, "an answer was not kept; its idempotency key is free when its lease is over", "request_id", RequestID(ctx), "error", err)
	}
}

func (s *Server) letGo(r *http.Request, request store.Request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), keepTimeout)
	defer cancel()
	if err := s.store.ReleaseRequest(ctx, request); err != nil {
		s.log.WarnContext(ctx, "an idempotency key was not released; it is free when its lease is over", "request_id", RequestID(ctx), "error", err)
	}
}

// replay gives a kept answer.
func replay(w http.ResponseWriter, a store.Answer) error {
	var headers map[string][]string
	if err := json.Unmarshal(a.Headers, &headers); err != nil {
		return err
	}
	for name, values := range headers {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	w.Header().Set(idempotencyReplayed, "true")
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the client is gone, which the access log shows by its size
	return nil
}

// fingerprint is what makes two requests the same. Every part has its length
// before it, so that no two requests run together alike.
func fingerprint(r *http.Request, body []byte) []byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(r.Method), []byte(r.URL.EscapedPath()), []byte(r.URL.RawQuery), []byte(r.Header.Get("Content-Type")), body} {
		h.Write([]byte(strconv.Itoa(len(part)) + ":"))
		h.Write(part)
	}
	return h.Sum(nil)
}

// recorded is an answer that is held back until it is kept.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *recorded) Header() http.Header { return a.header }

func (a *recorded) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *recorded) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

func (a *recorded) give(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if a.status == 0 {
		a.status = http.StatusOK
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes())
}
