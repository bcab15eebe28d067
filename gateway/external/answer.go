package external

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

// answer is what a receiver says, in its answer or to the callback.
type answer struct {
	success  bool
	token    string
	actionID string
	// cents is nil where the answer names no amount.
	cents    *int64
	currency string
	failure  *failure
	// What only a callback says.
	message, errorCode, errorDetail string
	// reference is ours, where the receiver repeats it.
	reference string
	// metadata is a JSON object of what is kept of it.
	metadata string
}

// failure is the error of an answer.
type failure struct{ code, message string }

// The limits of what is taken from an answer, in bytes.
const (
	maxToken    = 255
	maxMetadata = 16 << 10
	maxMembers  = 50
	maxKept     = 2 << 10
	maxName     = 64
)

// parse reads an answer strictly: one JSON object, names as the contract spells
// them, none of them twice, and everything that is there of the right type. What
// the contract does not name is skipped.
func parse(body []byte) (answer, error) {
	top, err := members(body)
	if err != nil {
		return answer{}, err
	}
	var a answer
	success, there := top["success"]
	if !there || json.Unmarshal(success, &a.success) != nil || bytes.Equal(success, []byte("null")) {
		return answer{}, errors.New("success is neither true nor false")
	}
	data, err := members(top["data"])
	if err != nil {
		return answer{}, fmt.Errorf("data: %w", err)
	}
	return a, errors.Join(a.ids(data), a.money(data), a.error(data), a.words(data), a.extras(data))
}

func (a *answer) ids(data map[string]json.RawMessage) (err error) {
	if a.token, err = name(data, "transaction_token"); err != nil {
		return err
	}
	a.actionID, err = name(data, "action_id")
	return err
}

func (a *answer) money(data map[string]json.RawMessage) (err error) {
	if raw, there := given(data, "amount_cents"); there {
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil || n < 0 || n > models.MaxCents {
			return errors.New("amount_cents is no whole number of cents")
		}
		a.cents = &n
	}
	if _, there := given(data, "currency_code"); !there {
		return nil
	}
	word, err := text(data, "currency_code")
	if err != nil {
		return err
	}
	if a.currency, err = models.ParseCurrency(word); err != nil || a.currency != word {
		return errors.New("currency_code is no currency")
	}
	return nil
}

func (a *answer) error(data map[string]json.RawMessage) error {
	raw, there := given(data, "error")
	if !there {
		return nil
	}
	inner, err := members(raw)
	if err != nil {
		return fmt.Errorf("error: %w", err)
	}
	a.failure = &failure{}
	if a.failure.code, err = text(inner, "code"); err != nil {
		return err
	}
	a.failure.message, err = text(inner, "message")
	return err
}

// words are what a callback may update.
func (a *answer) words(data map[string]json.RawMessage) (err error) {
	if a.message, err = text(data, "message"); err != nil {
		return err
	}
	if a.errorCode, err = text(data, "error_code"); err != nil {
		return err
	}
	a.errorDetail, err = text(data, "error_detail")
	return err
}

// extras reads the metadata: our own reference, and what is kept of the rest.
func (a *answer) extras(data map[string]json.RawMessage) error {
	raw, there := given(data, "metadata")
	if !there {
		return nil
	}
	inner, err := members(raw)
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	if len(raw) > maxMetadata || len(inner) > maxMembers {
		return fmt.Errorf("metadata has more than %d bytes or %d members", maxMetadata, maxMembers)
	}
	if word, err := text(inner, "capstan_reference"); err == nil && kindOf(word) != "" {
		a.reference = word
	}
	a.metadata = kept(inner)
	return nil
}

// kept is what of a receiver's metadata is stored with the operation: words, whole
// numbers and truths under plain names, in the order of the names, up to 2 KiB.
// Everything else of it, and our own, is dropped.
func kept(all map[string]json.RawMessage) string {
	out := map[string]any{}
	last := ""
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if len(name) > maxName || !plainName.MatchString(name) || strings.HasPrefix(name, "capstan_") {
			continue
		}
		var word string
		var truth bool
		switch n, err := strconv.ParseInt(string(all[name]), 10, 64); {
		case err == nil && n > -1<<53 && n < 1<<53:
			out[name] = n
		case err == nil: // more digits than every reader of JSON keeps
			out[name] = string(all[name])
		case json.Unmarshal(all[name], &word) == nil && string(all[name]) != "null":
			out[name] = gateway.CleanText(word)
		case json.Unmarshal(all[name], &truth) == nil && string(all[name]) != "null":
			out[name] = truth
		default:
			continue
		}
		text, err := json.Marshal(out)
		if err != nil || len(text) > maxKept {
			return last
		}
		last = string(text)
	}
	return last
}

// plainName is what a member may be called to be kept.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// kindOf says what a reference of ours is for; empty when it is none.
func kindOf(reference string) models.Kind {
	for prefix, kind := range map[string]models.Kind{"cap_": models.Capture, "ref_": models.Refund, "void_": models.Void} {
		rest, ok := strings.CutPrefix(reference, prefix)
		if ok && len(rest) == 26 && strings.Trim(rest, "abcdefghijklmnopqrstuvwxyz234567") == "" {
			return kind
		}
	}
	return ""
}

// members reads an object and refuses one that names something twice: two
// readers could take it for two different things.
func members(raw []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is no JSON object")
	}
	out := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errors.New("it is no whole JSON object")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("it is no whole JSON object")
		}
		if _, twice := out[name]; twice {
			return nil, errors.New("it names one member twice")
		}
		out[name] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("it is no whole JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the JSON object")
	}
	return out, nil
}

// given returns a member that is there and not null.
func given(m map[string]json.RawMessage, name string) (json.RawMessage, bool) {
	raw, there := m[name]
	return raw, there && !bytes.Equal(raw, []byte("null"))
}

func text(m map[string]json.RawMessage, name string) (string, error) {
	raw, there := given(m, name)
	if !there {
		return "", nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", fmt.Errorf("%s is no text", name)
	}
	return s, nil
}

// name reads an id of the receiver's: visible ASCII, so that it can be stored,
// compared and sent again as it is.
func name(m map[string]json.RawMessage, member string) (string, error) {
	s, err := text(m, member)
	if err != nil || s == "" {
		return "", err
	}
	if len(s) > maxToken || strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return "", fmt.Errorf("%s has blanks, characters beyond ASCII, or more than %d of them", member, maxToken)
	}
	return s, nil
}
