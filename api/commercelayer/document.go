package commercelayer

import "github.com/capstan-pay/capstan/api"

// parse reads one JSON document strictly.
func parse(body []byte) (any, error) { return api.ParseDocument(body) }

func malformed(detail, pointer string) *api.Problem { return api.Malformed(detail, pointer) }

// pointer writes a JSON pointer, RFC 6901, at most as long as is useful.
func pointer(path []string) string { return api.Pointer(path) }
