package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/netguard"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// Deliverer sends outgoing webhooks, signed as Standard Webhooks. A receiver
// sees the same webhook-id on every try and keeps the first.
type Deliverer struct {
	store *store.Store
	// secrets by endpoint name.
	secrets map[string]gateway.Secret
	client  *http.Client
	guard   netguard.Guard
	tempo   models.Tempo
	now     func() time.Time
}

// deliverTimeout is how long a receiver may take.
const deliverTimeout = 5 * time.Second

// deliverySchedule is when a failed delivery is tried again. After its end the
// delivery is given up and stays in the table to be read.
var deliverySchedule = []time.Duration{
	5 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// NewDeliverer returns a Deliverer for endpoints with the given secrets. It
// delivers by https to public addresses; see [Deliverer.Anywhere].
func NewDeliverer(s *store.Store, secrets map[string]gateway.Secret, now func() time.Time) *Deliverer {
	d := &Deliverer{store: s, secrets: secrets, tempo: s.Tempo(), now: now}
	d.client = d.newClient()
	return d
}

// Anywhere lets webhooks go to private addresses, too, to any port and by http:
// for receivers in a network of one's own. Call it before the first delivery.
func (d *Deliverer) Anywhere() *Deliverer {
	d.guard.AllowPrivate = true
	d.client = d.newClient()
	return d
}

// newClient follows no redirect, uses no proxy, and checks the address that it
// connects to.
func (d *Deliverer) newClient() *http.Client {
	dialer := &net.Dialer{Timeout: deliverTimeout, Control: d.guard.Control}
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Deliver sends one webhook once. Sending it twice is harmless, so nothing is
// claimed: dying after the send repeats it under the same id.
func (d *Deliverer) Deliver(ctx context.Context, id string) error {
	delivery, err := d.store.Delivery(ctx, id)
	if err != nil || delivery.Done {
		return err
	}
	if delivery.DueInMicros > 0 {
		return &later{reason: "not due yet", at: time.Now().Add(time.Duration(delivery.DueInMicros) * time.Microsecond)}
	}
	status, err := d.post(ctx, delivery)
	try := store.DeliveryTry{Status: status, Delivered: err == nil && status/100 == 2}
	if !try.Delivered {
		try.Err = fmt.Sprintf("HTTP %d", status)
		if err != nil {
			try.Err = err.Error()
		}
		try.GiveUp = delivery.Tries >= len(deliverySchedule)
		if !try.GiveUp {
			try.Wait = d.tempo.Of(deliverySchedule[delivery.Tries])
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.tempo.RecordTimeout())
	defer cancel()
	if err := d.store.RecordDelivery(ctx, id, try); err != nil {
		return err
	}
	if try.Delivered || try.GiveUp {
		return nil
	}
	return &later{reason: "the receiver did not accept it: " + try.Err, at: time.Now().Add(try.Wait), failure: true}
}

func (d *Deliverer) post(ctx context.Context, delivery store.Delivery) (status int, err error) {
	body, err := json.Marshal(map[string]any{"type": delivery.Topic, "timestamp": delivery.CreatedAt.UTC().Format(time.RFC3339), "data": delivery.Payload})
	if err != nil {
		return 0, fmt.Errorf("encode delivery %s: %w", delivery.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, d.tempo.Of(deliverTimeout))
	defer cancel()
	if _, err := d.guard.URL(delivery.URL); err != nil {
		return 0, fmt.Errorf("deliver to %s: %w", delivery.Endpoint, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, delivery.URL, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("deliver to %s: %w", delivery.Endpoint, err)
	}
	now := d.now()
	signer, err := newSigner(d.secrets[delivery.Endpoint])
	if err != nil {
		return 0, fmt.Errorf("sign for %s: %w", delivery.Endpoint, err)
	}
	signature, err := signer.Sign(delivery.ID, now, body)
	if err != nil {
		return 0, fmt.Errorf("sign for %s: %w", delivery.Endpoint, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "capstan")
	req.Header.Set("Webhook-Id", delivery.ID)
	req.Header.Set("Webhook-Timestamp", fmt.Sprint(now.Unix()))
	req.Header.Set("Webhook-Signature", signature)
	res, err := d.client.Do(req)
	if errors.Is(err, netguard.ErrRefused) {
		return 0, fmt.Errorf("deliver to %s: %w", delivery.Endpoint, netguard.ErrRefused)
	}
	if err != nil {
		return 0, fmt.Errorf("deliver to %s: no answer", delivery.Endpoint)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	return res.StatusCode, nil
}

// newSigner reads a secret as Standard Webhooks writes them, whsec_ and base64,
// so that the receiver's library takes the same text; any other is used as it is.
func newSigner(secret gateway.Secret) (*standardwebhooks.Webhook, error) {
	text := secret.Reveal()
	if text == "" {
		return nil, errors.New("it has no secret; set one, since anyone can sign with none")
	}
	if !strings.HasPrefix(text, "whsec_") {
		return standardwebhooks.NewWebhookRaw([]byte(text))
	}
	signer, err := standardwebhooks.NewWebhook(text)
	if err != nil {
		return nil, errors.New("its secret begins with whsec_ and is not base64 after it")
	}
	return signer, nil
}
