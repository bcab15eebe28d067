// Package netguard decides which addresses may be called where a URL comes from
// outside: the URLs of an external gateway, the receivers of webhooks.
//
// A name is checked twice. [Guard.URL] refuses at once what is wrong to the eye.
// [Guard.Control] stands between resolving and connecting, on the address that
// is really connected to: a name that resolves to a public address when it is
// checked and to a private one when it is called gains nothing.
//
// What follows an answer is not this package's business: a client that uses it
// follows no redirect, uses no proxy, and bounds what it reads.
package netguard

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrRefused is wrapped by every refusal.
var ErrRefused = errors.New("this address is not called")

// Guard says what may be called. The zero value allows https to port 443 of
// public addresses. It is safe for concurrent use.
type Guard struct {
	// AllowPrivate allows every address and port, and http: for development, and
	// where the network is one's own.
	AllowPrivate bool
	// Ports are allowed beside 443.
	Ports []uint16
}

// maxURL bounds a URL, in bytes.
const maxURL = 2048

// URL reads an absolute URL and refuses what can be seen to be wrong without
// resolving its host. Its error does not quote the URL, which may hold a password.
func (g Guard) URL(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, refuse("it is longer than %d bytes", maxURL)
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, refuse("it cannot be read as a URL")
	case u.Scheme != "https" && (u.Scheme != "http" || !g.AllowPrivate):
		return nil, refuse("it does not begin with https://")
	case u.Host == "" || u.Hostname() == "":
		return nil, refuse("it names no host")
	case u.User != nil:
		return nil, refuse("it holds a user name or a password")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, refuse("it has a fragment")
	}
	if g.AllowPrivate {
		return u, nil
	}
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || !g.port(uint16(n)) {
			return nil, refuse("its port is not 443, nor one that is allowed beside it")
		}
	}
	return u, host(u.Hostname())
}

func (g Guard) port(n uint16) bool { return n == 443 || slices.Contains(g.Ports, n) }

// host refuses names that never lead outside, and spellings of an address that
// some resolver may read in another way than this program.
func host(name string) error {
	if addr, err := netip.ParseAddr(name); err == nil {
		return Public(addr)
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	switch {
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "":
		return refuse("its host is no name of letters, digits and hyphens; write others as xn--")
	case last == "", strings.Trim(last, "0123456789") == "", strings.HasPrefix(last, "0x"):
		return refuse("its host is a number that could be read as several addresses")
	case last == "localhost", last == "local", last == "internal", last == "localdomain":
		return refuse("its host leads to this machine or network")
	}
	return nil
}

// Control is for net.Dialer.Control: it refuses an address that was resolved and
// is about to be connected to.
func (g Guard) Control(network, address string, _ syscall.RawConn) error {
	if g.AllowPrivate {
		return nil
	}
	if network != "tcp4" && network != "tcp6" {
		return refuse("the network %s is not TCP", network)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return refuse("%q is no address and port", address)
	}
	if !g.port(ap.Port()) {
		return refuse("port %d is not 443, nor one that is allowed beside it", ap.Port())
	}
	return Public(ap.Addr())
}

// Public returns nil for an address on the public internet, and else says what
// the address is for.
func Public(addr netip.Addr) error {
	switch {
	case !addr.IsValid():
		return refuse("it is no address")
	case addr.Zone() != "":
		return refuse("%s belongs to one link of this machine", addr)
	case addr.Is4In6():
		return refuse("%s hides an IPv4 address in an IPv6 one", addr)
	case addr.Is6() && !globalUnicast.Contains(addr):
		return refuse("%s is no global unicast address", addr)
	}
	for _, r := range special {
		if r.prefix.Contains(addr) {
			return refuse("%s is %s", addr, r.what)
		}
	}
	return nil
}

// globalUnicast is all of IPv6 that the public internet uses. What it leaves out:
// unspecified, loopback, mapped and translated IPv4 (64:ff9b::/96 and its local
// twin), unique local, link and site local, multicast, segment routing.
var globalUnicast = netip.MustParsePrefix("2000::/3")

type span struct {
	prefix netip.Prefix
	what   string
}

// special are the registered special-purpose ranges, and two that are not: the
// address at which one cloud keeps its machines' secrets, and the old test network.
var special = func() []span {
	var out []span
	for _, r := range [][2]string{
		{"0.0.0.0/8", "this host"},
		{"10.0.0.0/8", "private"},
		{"100.64.0.0/10", "shared by a carrier's customers"},
		{"127.0.0.0/8", "loopback"},
		{"168.63.129.16/32", "a cloud's own host"},
		{"169.254.0.0/16", "link-local, with the metadata of clouds"},
		{"172.16.0.0/12", "private"},
		{"192.0.0.0/24", "reserved for protocols"},
		{"192.0.2.0/24", "documentation"},
		{"192.31.196.0/24", "reserved for name servers"},
		{"192.52.193.0/24", "reserved for multicast relays"},
		{"192.88.99.0/24", "a 6to4 relay"},
		{"192.168.0.0/16", "private"},
		{"192.175.48.0/24", "reserved for name servers"},
		{"198.18.0.0/15", "for benchmarks"},
		{"198.51.100.0/24", "documentation"},
		{"203.0.113.0/24", "documentation"},
		{"224.0.0.0/4", "multicast"},
		{"240.0.0.0/4", "reserved, or broadcast"},
		{"2001::/23", "reserved for protocols, Teredo among them"},
		{"2001:db8::/32", "documentation"},
		{"2002::/16", "6to4, which hides an IPv4 address"},
		{"2620:4f:8000::/48", "reserved for name servers"},
		{"3ffe::/16", "the old test network"},
		{"3fff::/20", "documentation"},
	} {
		out = append(out, span{netip.MustParsePrefix(r[0]), r[1]})
	}
	return out
}()

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}
