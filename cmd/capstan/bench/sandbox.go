package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/capstan-pay/capstan/devstack/meter"
)

// SandboxServer is the case that serves the sandbox gateway at the job's
// GatewayURL until its parent lets go.
const SandboxServer = "sandbox-server"

// sandbox is the sandbox gateway in a process of its own.
type sandbox struct {
	url  string
	stop func() error
}

// startSandbox starts it and waits until it answers.
func startSandbox(ctx context.Context, program []string) (*sandbox, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a port for the sandbox: %w", err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, fmt.Errorf("find a port for the sandbox: %w", err)
	}
	var said bytes.Buffer
	cmd, in, err := child(ctx, program, &said)
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the sandbox: %w", err)
	}
	s := &sandbox{url: "http://" + address, stop: sync.OnceValue(func() error {
		closeErr := in.Close()
		err := cmd.Wait()
		if _, ended := errors.AsType[*exec.ExitError](err); ended {
			err = nil // it says that its parent has gone, and that is what was asked
		}
		return errors.Join(closeErr, err)
	})}
	if err := json.NewEncoder(in).Encode(meter.Job{Case: SandboxServer, GatewayURL: address}); err != nil {
		return nil, errors.Join(fmt.Errorf("tell the sandbox where to listen: %w", err), s.stop())
	}
	if err := s.answers(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w%s", err, lastLines(said.String())), s.stop())
	}
	return s, nil
}

func (s *sandbox) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, errors.New("the sandbox did not start"))
	defer cancel()
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/_sandbox/book", nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			return res.Body.Close()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-retry.C:
		}
	}
}

// holdHands is how many holds are made at once.
const holdHands = 8

// hold makes a hold at the sandbox for each open capture and writes its id into
// the ledger, as the checkout would have.
func (s *sandbox) hold(ctx context.Context, target string) (err error) {
	conn, err := pgx.Connect(ctx, target)
	if err != nil {
		return fmt.Errorf("connect to write the holds: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	rows, err := conn.Query(ctx, "SELECT id::text, amount_cents FROM authorizations WHERE live_operation_id IS NOT NULL ORDER BY id")
	if err != nil {
		return fmt.Errorf("read the holds: %w", err)
	}
	var ids []string
	var cents []int64
	var id string
	var amount int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &amount}, func() error {
		ids, cents = append(ids, id), append(cents, amount)
		return nil
	}); err != nil {
		return fmt.Errorf("read the holds: %w", err)
	}
	intents := make([]string, len(ids))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(holdHands)
	for i := range ids {
		g.Go(func() (err error) {
			intents[i], err = s.intent(gctx, cents[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, `UPDATE authorizations AS a SET gateway_transaction_id = h.intent FROM unnest($1::uuid[], $2::text[]) AS h (id, intent)
		WHERE a.id = h.id`, ids, intents); err != nil {
		return fmt.Errorf("write the holds: %w", err)
	}
	if _, err := conn.Exec(ctx, "VACUUM ANALYZE authorizations", pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("analyze the holds: %w", err)
	}
	return nil
}

// intent makes one hold at the sandbox.
func (s *sandbox) intent(ctx context.Context, cents int64) (string, error) {
	form := url.Values{"amount": {fmt.Sprint(cents)}, "currency": {"eur"}, "capture_method": {"manual"}, "confirm": {"true"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/payment_intents", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer sk_test_bench")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("make a hold at the sandbox: %w", err)
	}
	defer res.Body.Close()
	var made struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil || made.Status != "requires_capture" {
		return "", fmt.Errorf("make a hold at the sandbox: HTTP %d, status %q", res.StatusCode, made.Status)
	}
	return made.ID, nil
}
