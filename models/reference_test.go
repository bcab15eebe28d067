package models_test

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"

	"github.com/capstan-pay/capstan/models"
)

// These values stand for ever: a restored database must find its captures by
// them. A change here loses money.
func TestReferencesNeverChange(t *testing.T) {
	for _, c := range []struct {
		account, hold string
		kind          models.Kind
		sequence      int
		want          string
	}{
		{"stripe", "pi_1", models.Capture, 1, "cap_lmzkb22wnhe6n7ldphmsrlcwsn"},
		{"stripe", "pi_1", models.Capture, 2, "cap_b3p5lslg2uxegrcfesbikb5j6n"},
		{"stripe", "pi_1", models.Refund, 1, "ref_i4n5llrqxdxaxd46c2igcoqbbk"},
		{"stripe", "pi_1", models.Void, 1, "void_po2ubmvyxwlm3k6unwn6nbkjld"},
		{"stripe-eu", "pi_1", models.Capture, 1, "cap_4vyr4f2tffyaauz3khhwogji35"},
		{"", "", models.Capture, 0, "cap_px23h3icrl6inb3bjiyggy5ms6"},
	} {
		if got := models.GatewayReference(c.account, c.hold, c.kind, c.sequence); got != c.want {
			t.Errorf("%s %s %s %d = %q, want %q", c.account, c.hold, c.kind, c.sequence, got, c.want)
		}
	}
	o := models.Operation{GatewayReference: "cap_x", KeyEpoch: 3}
	if got := o.IdempotencyKey(); got != "cap_x_e3" {
		t.Errorf("key = %q", got)
	}
}

// name is what a reference is derived from.
type name struct {
	account, hold string
	kind          models.Kind
	sequence      int
}

func (n name) reference() string {
	return models.GatewayReference(n.account, n.hold, n.kind, n.sequence)
}

var names = rapid.Custom(func(t *rapid.T) name {
	word := rapid.OneOf(rapid.String(), rapid.StringMatching(`[0-9:]{0,4}`), rapid.SampledFrom([]string{"stripe", "1:", ":", "pi_1", "capture"}))
	return name{word.Draw(t, "account"), word.Draw(t, "hold"), rapid.SampledFrom(models.Kinds).Draw(t, "kind"), rapid.IntRange(0, 1000).Draw(t, "sequence")}
})

var form = regexp.MustCompile(`^(cap|ref|void)_[a-z2-7]{26}$`)

func TestReferencesAreOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		if !form.MatchString(a.reference()) {
			t.Fatalf("%q has not the form of a reference", a.reference())
		}
		if (a == b) != (a.reference() == b.reference()) {
			t.Fatalf("%+v is %s, %+v is %s", a, a.reference(), b, b.reference())
		}
	})
}

// Parts cannot slide into each other.
func TestReferencePartsAreApart(t *testing.T) {
	seen := map[string]name{}
	for _, n := range []name{
		{"a", "bc", models.Capture, 1}, {"ab", "c", models.Capture, 1}, {"abc", "", models.Capture, 1}, {"", "abc", models.Capture, 1},
		{"a", "1:b", models.Capture, 1}, {"a1:", "b", models.Capture, 1}, {"a", "bcapture", models.Capture, 1}, {"a", "b", models.Capture, 11}, {"a", "b1", models.Capture, 1},
		{"a", "b", models.Refund, 1}, {"a", "b", models.Void, 1}, {"a", "b", models.Capture, 1},
	} {
		hash := n.reference()[len(n.reference())-26:]
		if other, taken := seen[hash]; taken {
			t.Errorf("%+v and %+v have the same hash", n, other)
		}
		seen[hash] = n
	}
}
