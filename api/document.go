package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep a document may nest.
const maxDepth = 32

// maxNumber is the longest number that is accepted anywhere, in characters.
const maxNumber = 40

// ParseDocument reads one JSON document strictly: valid UTF-8, no member twice, no NUL
// in a string, no number that a database could not keep, nothing behind the
// end. Numbers stay as they were written.
func ParseDocument(body []byte) (any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, Malformed("the body is empty; send a JSON document", "")
	}
	if !utf8.Valid(body) {
		return nil, Malformed("the body is not valid UTF-8", "")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	p := parser{d}
	v, err := p.value(nil)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, Malformed("something follows the end of the document", "")
	}
	return v, nil
}

// Malformed is a document that cannot be read; pointer names the place, if it is known.
func Malformed(detail, pointer string) *Problem {
	return &Problem{Status: http.StatusBadRequest, Code: "INVALID_DOCUMENT", Title: "Invalid document", Detail: detail, Pointer: pointer}
}

// Pointer writes a JSON pointer, RFC 6901, at most as long as is useful.
func Pointer(path []string) string {
	var b strings.Builder
	for _, name := range path {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
		if b.Len() > 200 {
			return b.String()[:200]
		}
	}
	return strings.ToValidUTF8(b.String(), "")
}

type parser struct{ d *json.Decoder }

func (p parser) value(path []string) (any, error) {
	t, err := p.d.Token()
	if err != nil {
		return nil, p.syntax(err)
	}
	switch t := t.(type) {
	case json.Delim:
		if len(path) >= maxDepth {
			return nil, Malformed(fmt.Sprintf("the document is nested deeper than %d levels", maxDepth), Pointer(path))
		}
		if t == '{' {
			return p.object(path)
		}
		return p.array(path)
	case string:
		return t, checkText(t, path)
	case json.Number:
		return t, checkNumber(t, path)
	}
	return t, nil
}

func (p parser) object(path []string) (any, error) {
	object := map[string]any{}
	for p.d.More() {
		t, err := p.d.Token()
		if err != nil {
			return nil, p.syntax(err)
		}
		name, ok := t.(string)
		if !ok {
			return nil, Malformed("a member of an object has no name", Pointer(path))
		}
		inner := append(path[:len(path):len(path)], name)
		if _, twice := object[name]; twice {
			return nil, Malformed("the member is there twice", Pointer(inner))
		}
		if err := checkText(name, path); err != nil {
			return nil, err
		}
		if object[name], err = p.value(inner); err != nil {
			return nil, err
		}
	}
	_, err := p.d.Token()
	return object, p.syntax(err)
}

func (p parser) array(path []string) (any, error) {
	list := []any{}
	for p.d.More() {
		v, err := p.value(append(path[:len(path):len(path)], strconv.Itoa(len(list))))
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := p.d.Token()
	return list, p.syntax(err)
}

func (p parser) syntax(err error) error {
	if err == nil {
		return nil
	}
	if problem, ok := errors.AsType[*Problem](err); ok {
		return problem
	}
	return Malformed(fmt.Sprintf("the body is not valid JSON near byte %d", p.d.InputOffset()), "")
}

// checkText refuses what Postgres cannot keep.
func checkText(s string, path []string) error {
	if strings.ContainsRune(s, 0) {
		return Malformed("a string contains the character U+0000", Pointer(path))
	}
	return nil
}

func checkNumber(n json.Number, path []string) error {
	if _, err := n.Float64(); err != nil || len(n) > maxNumber {
		return Malformed("a number is too long or out of range", Pointer(path))
	}
	return nil
}
