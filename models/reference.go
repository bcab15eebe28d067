package models

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"
)

// referenceLength is the length of the hashed part of a reference: 130 bits.
const referenceLength = 26

var referencePrefix = map[Kind]string{Capture: "cap_", Refund: "ref_", Void: "void_"}

// GatewayReference names the sequence-th operation of a kind on one hold of
// one gateway account. It is derived, never random: a database restored from a
// backup that has forgotten an operation makes the same name again, and finds
// the money that was already moved under it. It travels to the gateway, and a
// look-up matches on it.
func GatewayReference(account, hold string, kind Kind, sequence int) string {
	h := sha256.New()
	for _, part := range []string{account, hold, string(kind), strconv.Itoa(sequence)} {
		h.Write([]byte(strconv.Itoa(len(part))))
		h.Write([]byte{':'})
		h.Write([]byte(part))
	}
	sum := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil))
	return referencePrefix[kind] + strings.ToLower(sum)[:referenceLength]
}

// IdempotencyKey is the key under which an operation is sent. The epoch rises
// only after proof that the key before had no effect.
func IdempotencyKey(reference string, epoch int) string {
	return reference + "_e" + strconv.Itoa(epoch)
}
