package config

import (
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// TestExternalSettings: hostile URLs, missing secrets and a development's
// laxness in live mode are refused.
func TestExternalSettings(t *testing.T) {
	with := func(change func(*External)) External {
		e := External{
			ExternalCaptureURL: "https://pay.example.com/capture", ExternalVoidURL: "https://pay.example.com/void", ExternalRefundURL: "https://pay.example.com/refund",
			ExternalSharedSecrets: []gateway.Secret{"0123456789abcdef", "old"},
		}
		if change != nil {
			change(&e)
		}
		return e
	}
	for _, tt := range []struct {
		name string
		e    External
		mode models.Mode
		want string // in the error; empty is none
	}{
		{"none", External{}, models.Live, ""},
		{"whole", with(nil), models.Live, ""},
		{"without void and refund", with(func(e *External) { e.ExternalVoidURL, e.ExternalRefundURL = "", "" }), models.Test, ""},
		{"http", with(func(e *External) { e.ExternalVoidURL = "http://pay.example.com/" }), models.Test, "EXTERNAL_VOID_URL"},
		{"a private address", with(func(e *External) { e.ExternalRefundURL = "https://10.0.0.1/" }), models.Test, "EXTERNAL_REFUND_URL"},
		{"metadata", with(func(e *External) { e.ExternalCaptureURL = "https://169.254.169.254/" }), models.Test, "EXTERNAL_CAPTURE_URL"},
		{"another port", with(func(e *External) { e.ExternalCaptureURL = "https://pay.example.com:8443/" }), models.Test, "port"},
		{"a port that is allowed", with(func(e *External) {
			e.ExternalCaptureURL, e.ExternalPorts = "https://pay.example.com:8443/", []uint16{8443}
		}), models.Test, ""},
		{"private for tests", with(func(e *External) { e.ExternalCaptureURL, e.ExternalAllowPrivate = "http://127.0.0.1:1/", true }), models.Test, ""},
		{"private for real", with(func(e *External) { e.ExternalAllowPrivate = true }), models.Live, "EXTERNAL_ALLOW_PRIVATE"},
		{"no secret", with(func(e *External) { e.ExternalSharedSecrets = nil }), models.Test, "EXTERNAL_SHARED_SECRET"},
		{"a short secret", with(func(e *External) { e.ExternalSharedSecrets = []gateway.Secret{"hunter2", "0123456789abcdef"} }), models.Test, "EXTERNAL_SHARED_SECRET"},
		{"no capture", with(func(e *External) { e.ExternalCaptureURL = "" }), models.Test, "nothing could be captured"},
		{"a password in it", with(func(e *External) { e.ExternalCaptureURL = "https://u:hunter2@pay.example.com/" }), models.Test, "password"},
	} {
		err := tt.e.validate(tt.mode)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
