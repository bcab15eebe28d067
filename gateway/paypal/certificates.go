package paypal

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The limits of certificates. A webhook names the certificate that it is
// signed with, so what is fetched is chosen by whoever sends something.
const (
	certTimeout = 5 * time.Second
	certLife    = 24 * time.Hour
	maxCert     = 64 << 10
	maxCerts    = 16
	maxChain    = 8
	minKeyBits  = 2048
)

// CertificatesConfig describes [Certificates]. The zero value is for PayPal itself.
type CertificatesConfig struct {
	// Fetch reads the certificates at an address that was found to be PayPal's:
	// PEM, the leaf first. Default: one GET over https, without redirects or proxy.
	Fetch func(ctx context.Context, address string) ([]byte, error)
	// Roots replace the system's.
	Roots *x509.CertPool
}

// Certificates finds and keeps the certificates that PayPal signs webhooks
// with. It is safe for concurrent use.
type Certificates struct {
	fetch   func(ctx context.Context, address string) ([]byte, error)
	roots   *x509.CertPool
	limit   *rate.Limiter
	reading sync.Mutex // one fetch at a time

	mu    sync.Mutex
	known map[string]certificate
}

type certificate struct {
	key   *rsa.PublicKey
	until time.Time
}

// NewCertificates returns an empty store. It makes no call.
func NewCertificates(c CertificatesConfig) *Certificates {
	if c.Fetch == nil {
		c.Fetch = fetcher()
	}
	return &Certificates{fetch: c.Fetch, roots: c.Roots, limit: rate.NewLimiter(rate.Every(2*time.Second), 5), known: map[string]certificate{}}
}

// key returns the public key behind an address, proven to be PayPal's.
func (c *Certificates) key(ctx context.Context, address string, now time.Time) (*rsa.PublicKey, error) {
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	if k, ok := c.kept(address, now); ok {
		return k, nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if k, ok := c.kept(address, now); ok {
		return k, nil
	}
	if !c.limit.Allow() {
		return nil, errors.New("too many certificates were named in a short time")
	}
	ctx, cancel := context.WithTimeout(ctx, certTimeout)
	defer cancel()
	raw, err := c.fetch(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("its certificate cannot be fetched: %w", err)
	}
	leaf, err := c.verified(raw, now)
	if err != nil {
		return nil, err
	}
	key, ok := leaf.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minKeyBits {
		return nil, errors.New("its certificate has no RSA key of a fit length")
	}
	c.keep(address, certificate{key: key, until: earlier(leaf.NotAfter, now.Add(certLife))}, now)
	return key, nil
}

func (c *Certificates) kept(address string, now time.Time) (*rsa.PublicKey, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x, ok := c.known[address]
	return x.key, ok && now.Before(x.until)
}

func (c *Certificates) keep(address string, x certificate, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxCerts {
		for name, old := range c.known {
			if !now.Before(old.until) {
				delete(c.known, name)
			}
		}
	}
	if len(c.known) >= maxCerts { // all are good: begin anew rather than grow
		clear(c.known)
	}
	c.known[address] = x
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// verified parses a chain and returns its leaf, if a root vouches for it and
// it names PayPal.
func (c *Certificates) verified(raw []byte, now time.Time) (*x509.Certificate, error) {
	var chain []*x509.Certificate
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("its certificate file holds something else")
		}
		one, err := x509.ParseCertificate(block.Bytes)
		if err != nil || len(chain) == maxChain {
			return nil, errors.New("its certificates cannot be read")
		}
		chain = append(chain, one)
	}
	if len(chain) == 0 {
		return nil, errors.New("its certificate file holds no certificate")
	}
	between := x509.NewCertPool()
	for _, one := range chain[1:] {
		between.AddCert(one)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, fmt.Errorf("its certificate is vouched for by nobody we trust: %w", err)
	}
	for _, name := range append([]string{chain[0].Subject.CommonName}, chain[0].DNSNames...) {
		if ofPayPal(name) {
			return chain[0], nil
		}
	}
	return nil, errors.New("its certificate is not PayPal's")
}

func ofPayPal(host string) bool {
	host = strings.ToLower(host)
	return host == "paypal.com" || strings.HasSuffix(host, ".paypal.com")
}

// certPath is where PayPal keeps these certificates.
const certPath = "/v1/notifications/certs/"

// checkAddress pins the address of a certificate. It comes from the sender.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	bad := err != nil || len(address) > 500 || u.Scheme != "https" || u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != ""
	if bad || !ofPayPal(u.Host) || !strings.HasPrefix(u.EscapedPath(), certPath) {
		return errors.New("its certificate's address is not PayPal's")
	}
	id := strings.TrimPrefix(u.EscapedPath(), certPath)
	if id == "" || strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return errors.New("its certificate's address is not PayPal's")
	}
	return nil
}

func fetcher() func(context.Context, string) ([]byte, error) {
	client := &http.Client{
		Timeout:       certTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: certTimeout, DisableKeepAlives: true},
	}
	return func(ctx context.Context, address string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("status %d", resp.StatusCode)
		}
		raw, err := io.ReadAll(io.LimitReader(resp.Body, maxCert+1))
		if err == nil && len(raw) > maxCert {
			err = fmt.Errorf("more than %d bytes", maxCert)
		}
		return raw, err
	}
}
