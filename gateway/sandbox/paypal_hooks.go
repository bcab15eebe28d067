package sandbox

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// paypalEventJSON is a webhook of PayPal's.
type paypalEventJSON struct {
	ID           string `json:"id"`
	EventVersion string `json:"event_version"`
	CreateTime   string `json:"create_time"`
	ResourceType string `json:"resource_type"`
	EventType    string `json:"event_type"`
	Resource     any    `json:"resource"`
}

// paypalEvent tells what an entry of the book did.
func (s *Server) paypalEvent(e entry, v view) event {
	kind, resource := "", ""
	switch e.Type {
	case entryHold:
		kind, resource = "PAYMENT.AUTHORIZATION.CREATED", "authorization"
	case entryCapture, entryUpdate:
		kind, resource = "PAYMENT.CAPTURE."+e.PayPal.Status, "capture"
	case entryRefund:
		kind, resource = "PAYMENT.CAPTURE.REFUNDED", "refund"
	case entryCancel:
		kind, resource = "PAYMENT.AUTHORIZATION.VOIDED", "authorization"
	}
	raw := paypalEventJSON{
		ID: "WH-" + newPayPalID() + "-" + newPayPalID(), EventVersion: "1.0", CreateTime: paypalTime(s.book.now()),
		ResourceType: resource, EventType: kind, Resource: v.render(nil),
	}
	return event{hold: e.Hold, wire: wirePayPal, body: eventJSON{ID: raw.ID}, raw: raw}
}

// settleLater tells when a pending capture completes. The book knows it by itself.
func (s *Server) settleLater(e entry, wait time.Duration) {
	s.work.Go(func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.stop.Done():
			return
		}
		var told event
		s.locked(func(*book) {
			done := *e.PayPal
			done.Status = paypalCompleted
			e.PayPal = &done
			told = s.paypalEvent(e, s.paypalCurrent(paypalKept{hold: e.Hold, kind: e.Type, id: e.ID}))
		})
		s.hooks.send([]event{told}, s.faults.pickHooks(e.Hold))
	})
}

// PayPalCertAddress is where the certificate of PayPal's webhooks is said to
// be. Nothing answers there: a program that verifies them takes the bytes from
// [Server.PayPalCertificate] and trusts [Server.PayPalRoots].
const PayPalCertAddress = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-sandbox"

// paypalSigner makes its root when it is asked for, and its key, which takes
// longer, when the first webhook goes out.
type paypalSigner struct {
	onceRoot sync.Once
	errRoot  error
	caKey    *ecdsa.PrivateKey
	ca       *x509.Certificate

	onceLeaf sync.Once
	errLeaf  error
	key      *rsa.PrivateKey
	chain    []byte // PEM, the leaf first
}

func (p *paypalSigner) ready() error {
	p.onceLeaf.Do(func() { p.errLeaf = p.makeLeaf() })
	return p.errLeaf
}

func (p *paypalSigner) root() (*x509.Certificate, error) {
	p.onceRoot.Do(func() { p.errRoot = p.makeRoot() })
	return p.ca, p.errRoot
}

func (p *paypalSigner) makeRoot() error {
	var err error
	if p.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return fmt.Errorf("make the key of PayPal's certificates: %w", err)
	}
	from := time.Unix(0, 0) // good at whatever time the sandbox's clock shows
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sandbox root"}, NotBefore: from, NotAfter: from.AddDate(200, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, ca, ca, p.caKey.Public(), p.caKey)
	if err == nil {
		p.ca, err = x509.ParseCertificate(raw)
	}
	if err != nil {
		return fmt.Errorf("make the root of PayPal's certificates: %w", err)
	}
	return nil
}

func (p *paypalSigner) makeLeaf() error {
	ca, err := p.root()
	if err != nil {
		return err
	}
	if p.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return fmt.Errorf("make the key of PayPal's webhooks: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "messageverificationcerts.sandbox.paypal.com"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	raw, err := x509.CreateCertificate(rand.Reader, leaf, ca, p.key.Public(), p.caKey)
	if err != nil {
		return fmt.Errorf("make the certificate of PayPal's webhooks: %w", err)
	}
	p.chain = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	return nil
}

// sign signs a webhook as PayPal does. The webhook id is the only secret in it.
func (p *paypalSigner) sign(h http.Header, d *delivery, now time.Time) error {
	if err := p.ready(); err != nil {
		return err
	}
	id, at := strings.ToLower(newPayPalID()), now.UTC().Format(time.RFC3339)
	sum := strconv.FormatUint(uint64(crc32.ChecksumIEEE(d.body)), 10)
	digest := sha256.Sum256([]byte(id + "|" + at + "|" + d.secret.Reveal() + "|" + sum))
	signature, err := rsa.SignPKCS1v15(rand.Reader, p.key, crypto.SHA256, digest[:])
	if err != nil {
		return fmt.Errorf("sign a webhook of PayPal's: %w", err)
	}
	h.Set("User-Agent", "PayPal/AUHR-1.0")
	h.Set("Paypal-Transmission-Id", id)
	h.Set("Paypal-Transmission-Time", at)
	h.Set("Paypal-Transmission-Sig", base64.StdEncoding.EncodeToString(signature))
	h.Set("Paypal-Cert-Url", PayPalCertAddress)
	h.Set("Paypal-Auth-Algo", "SHA256withRSA")
	return nil
}

// PayPalCertificate is what stands at [PayPalCertAddress].
func (s *Server) PayPalCertificate() ([]byte, error) {
	if err := s.hooks.paypal.ready(); err != nil {
		return nil, err
	}
	return s.hooks.paypal.chain, nil
}

// PayPalRoots vouch for that certificate, and for nothing else.
func (s *Server) PayPalRoots() (*x509.CertPool, error) {
	ca, err := s.hooks.paypal.root()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	return pool, nil
}

func (s *Server) showPayPalCertificate(w http.ResponseWriter, _ *http.Request) {
	chain, err := s.PayPalCertificate()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(chain)
}
