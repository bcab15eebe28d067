package contract

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// File names a provider's published document: in the folder CAPSTAN_SPECS_DIR,
// else in shared/specs beside the checkout. The test is skipped where it is not.
func File(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("CAPSTAN_SPECS_DIR")
	if dir == "" {
		dir = filepath.Join(checkout(t), "..", "shared", "specs")
	}
	file := filepath.Join(dir, name)
	if _, err := os.Stat(file); err != nil {
		t.Skipf("the published document %s is not here (%v); put it beside the checkout or name its folder in CAPSTAN_SPECS_DIR", name, err)
	}
	return file
}

// checkout is the folder of the module that the test belongs to.
func checkout(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			t.Fatalf("no go.mod above %s", dir)
		}
	}
}

// Document reads the parts of a published document that say what happens on the
// given paths, among them the names of webhooks; all of it when there are none,
// without webhooks.
func Document(t testing.TB, name string, paths ...string) *openapi3.T {
	t.Helper()
	raw, err := os.ReadFile(File(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return Load(t, raw, paths...)
}

// Load is [Document] of a document at hand.
func Load(t testing.TB, raw []byte, paths ...string) *openapi3.T {
	t.Helper()
	return LoadCut(t, raw, nil, paths...)
}

// LoadCut is [Load] of a document that is too large even so: cut takes out of
// each part what the test does without, and what that led to is left out too.
func LoadCut(t testing.TB, raw []byte, cut func(part any) any, paths ...string) *openapi3.T {
	t.Helper()
	if len(paths) > 0 {
		raw = only(t, raw, cut, paths)
	}
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	if err != nil {
		t.Fatalf("read the published document: %v", err)
	}
	return doc
}

var schemaName = regexp.MustCompile(`"#/components/schemas/([^"]+)"`)

// only leaves the paths, and the schemas that they lead to: a document may be
// larger by far than what is used of it.
func only(t testing.TB, raw []byte, cut func(any) any, paths []string) []byte {
	t.Helper()
	var doc, all, messages, components, schemas map[string]json.RawMessage
	read := func(raw []byte, into any) {
		if err := json.Unmarshal(raw, into); err != nil {
			t.Fatalf("read the published document: %v", err)
		}
	}
	read(raw, &doc)
	if doc["paths"] != nil {
		read(doc["paths"], &all)
	}
	if doc["webhooks"] != nil { // what the provider posts is judged like a call
		read(doc["webhooks"], &messages)
	}
	read(doc["components"], &components)
	read(components["schemas"], &schemas)
	write := func(v any) json.RawMessage {
		part, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return part
	}
	less := func(part json.RawMessage) json.RawMessage {
		if cut == nil || part == nil {
			return part
		}
		var v any
		read(part, &v)
		return write(cut(v))
	}
	kept, needed := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	var need func(part []byte)
	need = func(part []byte) {
		for _, m := range schemaName.FindAllSubmatch(part, -1) {
			name := string(m[1])
			if _, known := needed[name]; !known {
				needed[name] = less(schemas[name])
				need(needed[name])
			}
		}
	}
	for _, p := range paths {
		item := all[p]
		if item == nil {
			item = messages[p]
		}
		if item == nil {
			t.Fatalf("the published document has no path %s", p)
		}
		kept[p] = less(item)
		need(kept[p])
	}
	for _, name := range []string{"parameters", "responses", "requestBodies", "headers"} {
		need(components[name])
	}
	components["schemas"] = write(needed)
	delete(doc, "webhooks")
	doc["components"], doc["paths"] = write(components), write(kept)
	return write(doc)
}

// Fits holds a value to a schema of the document, by its name there.
func Fits(t testing.TB, doc *openapi3.T, schema string, raw []byte) {
	t.Helper()
	s := doc.Components.Schemas[schema]
	if s == nil {
		t.Fatalf("the published document has no schema %s", schema)
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Errorf("it is no JSON: %v: %s", err, raw)
		return
	}
	if err := s.Value.VisitJSON(v, slices.Clone(lenient)...); err != nil {
		t.Errorf("it is no %s: %v: %s", schema, err, raw)
	}
}

// lenient: patterns of published documents are written for another dialect of
// regular expressions.
var lenient = []openapi3.SchemaValidationOption{openapi3.DisablePatternValidation()}
