package netguard_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway/netguard"
)

// TestAddresses: what is connected to, in every form in which a resolver or a
// person writes it.
func TestAddresses(t *testing.T) {
	refused := []string{
		// this host and loopback
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.0.0.53", "127.255.255.255", "::", "::1",
		// private
		"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255",
		"fc00::1", "fd00::1", "fd00:ec2::254", "fdff:ffff::1", "fec0::1",
		// carrier-grade NAT
		"100.64.0.1", "100.100.100.200", "100.127.255.255",
		// link-local, metadata
		"169.254.0.1", "169.254.169.254", "169.254.170.2", "169.254.255.255", "fe80::1", "fe80::1%eth0", "febf::1", "168.63.129.16",
		// protocols, documentation, benchmarks
		"192.0.0.1", "192.0.0.192", "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "198.19.255.255", "192.88.99.1", "192.31.196.1",
		"192.52.193.1", "192.175.48.1", "2001:db8::1", "3fff::1", "3fff:fff::1", "3ffe::1", "2620:4f:8000::1",
		// multicast, reserved, broadcast
		"224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "ff02::1", "ff0e::1",
		// IPv4 inside IPv6
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::ffff:7f00:1", "::127.0.0.1", "::ffff:0:127.0.0.1",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1", "2001:0:4136:e378::1",
		"100::1", "5f00::1", "4000::1",
	}
	for _, s := range refused {
		addr, err := netip.ParseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := netguard.Public(addr); !errors.Is(err, netguard.ErrRefused) {
			t.Errorf("%s: %v", s, err)
		}
		network := "tcp4"
		if addr.Is6() {
			network = "tcp6"
		}
		at := netip.AddrPortFrom(addr, 443).String()
		if err := (netguard.Guard{}).Control(network, at, nil); !errors.Is(err, netguard.ErrRefused) {
			t.Errorf("%s: dialled: %v", at, err)
		}
		if err := (netguard.Guard{AllowPrivate: true}).Control(network, at, nil); err != nil {
			t.Errorf("%s: refused where everything is allowed: %v", at, err)
		}
	}
	if len(refused) < 60 {
		t.Errorf("only %d forms", len(refused))
	}
	for _, s := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.1", "168.63.129.15", "169.253.255.255", "172.15.255.255",
		"172.32.0.0", "192.0.1.1", "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450::1", "2001:4860:4860::8888", "2001:200::1", "2003::1",
	} {
		at := netip.AddrPortFrom(netip.MustParseAddr(s), 443)
		network := "tcp4"
		if at.Addr().Is6() {
			network = "tcp6"
		}
		if err := (netguard.Guard{}).Control(network, at.String(), nil); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	if err := netguard.Public(netip.Addr{}); err == nil {
		t.Error("no address at all is allowed")
	}
}

// TestPorts: 443 and what is named, on TCP.
func TestPorts(t *testing.T) {
	for _, tt := range []struct {
		guard            netguard.Guard
		network, address string
		good             bool
	}{
		{netguard.Guard{}, "tcp4", "1.1.1.1:443", true},
		{netguard.Guard{}, "tcp4", "1.1.1.1:80", false},
		{netguard.Guard{}, "tcp4", "1.1.1.1:8443", false},
		{netguard.Guard{Ports: []uint16{8443}}, "tcp4", "1.1.1.1:8443", true},
		{netguard.Guard{Ports: []uint16{8443}}, "tcp4", "127.0.0.1:8443", false},
		{netguard.Guard{Ports: []uint16{8443}}, "tcp4", "1.1.1.1:22", false},
		{netguard.Guard{}, "udp4", "1.1.1.1:443", false},
		{netguard.Guard{}, "unix", "/run/docker.sock", false},
		{netguard.Guard{}, "tcp4", "example.com:443", false},
		{netguard.Guard{}, "tcp4", "", false},
		{netguard.Guard{AllowPrivate: true}, "tcp4", "127.0.0.1:80", true},
	} {
		if err := tt.guard.Control(tt.network, tt.address, nil); (err == nil) != tt.good {
			t.Errorf("%+v %s %s: %v", tt.guard, tt.network, tt.address, err)
		}
	}
}

// TestURLs: what is wrong to the eye.
func TestURLs(t *testing.T) {
	for _, raw := range []string{
		"https://gateway.example/capture", "https://gateway.example:443/capture?code=a%2Fb", "https://1.1.1.1/", "https://[2606:4700:4700::1111]/x",
		"https://a-b.c_d.example.", "https://xn--bcher-kva.example/",
	} {
		if _, err := (netguard.Guard{}).URL(raw); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	for _, raw := range []string{
		"", "capture", "/capture", "//gateway.example/", "http://gateway.example/", "HTTP://gateway.example/", "ftp://gateway.example/", "file:///etc/passwd",
		"gopher://gateway.example/", "javascript:alert(1)", "unix:///run/docker.sock", "https:gateway.example", "https://", "https:///x", "https://:443/",
		"https://user:secret@gateway.example/", "https://user@gateway.example/", "https://gateway.example/#x", "https://gateway.example/#",
		"https://gateway.example:80/", "https://gateway.example:8443/", "https://gateway.example:99999/", "https://gateway.example:x/",
		"https://localhost/", "https://LOCALHOST./", "https://a.localhost/", "https://printer.local/", "https://metadata.google.internal/", "https://host.localdomain/",
		"https://127.0.0.1/", "https://127.1/", "https://0x7f000001/", "https://0x7f.1/", "https://2130706433/", "https://0177.0.0.1/", "https://017700000001/",
		"https://127.0.0.1./", "https://1.1.1.1.1/", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[fe80::1%25eth0]/", "https://[64:ff9b::1]/", "https://0/",
		"https://169.254.169.254/latest/meta-data/", "https://①②⑦.⓪.⓪.①/", "https://bücher.example/", "https://exa%6dple.com%00/", "https://a b/", "https://a\nb/",
		"https://gateway.example/" + strings.Repeat("x", 2048), "https://..../",
	} {
		if _, err := (netguard.Guard{}).URL(raw); !errors.Is(err, netguard.ErrRefused) {
			t.Errorf("%q: %v", raw, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: its password is told: %v", raw, err)
		}
	}
	for raw, good := range map[string]bool{
		"http://127.0.0.1:9100/external/capture": true, "https://localhost:1/": true, "ftp://localhost/": false, "http://": false, "http://u:p@localhost/": false,
	} {
		if _, err := (netguard.Guard{AllowPrivate: true}).URL(raw); (err == nil) != good {
			t.Errorf("%s, where private ones are allowed: %v", raw, err)
		}
	}
}

// FuzzURL: whatever is let through is https without credentials, and never a
// literal address that is not public.
func FuzzURL(f *testing.F) {
	for _, s := range []string{"https://gateway.example/", "https://127.0.0.1/", "https://[::1]:443/", "https://0x7f.1", "http://a", "https://a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := (netguard.Guard{}).URL(raw)
		if err != nil {
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Hostname() == "" {
			t.Fatalf("%q was let through as %s", raw, u)
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && netguard.Public(addr) != nil {
			t.Fatalf("%q was let through", raw)
		}
	})
}
