package tasks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/capstan-pay/capstan/tasks"
)

const other = "01a20259-8ea4-769d-b494-6d8bd3f38100"

// many are n ids.
func many(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("01a20259-8ea4-769d-b494-%012x", i)
	}
	return ids
}

func batch(ids ...string) string {
	list, _ := json.Marshal(ids)
	return `{"v":1,"ids":` + string(list) + `}`
}

func TestParseBatch(t *testing.T) {
	for _, tt := range []struct {
		name, payload string
		reason        string // "" when it is read
		want          []string
	}{
		{"one", batch(id), "", []string{id}},
		{"two", batch(other, id), "", []string{other, id}},
		{"upper case", batch(strings.ToUpper(id)), "", []string{id}},
		{"the most", batch(many(tasks.MaxBatch)...), "", many(tasks.MaxBatch)},
		{"spaced", " {\n\"v\": 1, \"ids\": [ \"" + id + "\" ] } \n", "", []string{id}},
		{"none", batch(), "0 ids, from 1 to 500", nil},
		{"no list", `{"v":1}`, "0 ids", nil},
		{"null list", `{"v":1,"ids":null}`, "0 ids", nil},
		{"one too many", batch(many(tasks.MaxBatch + 1)...), "501 ids, from 1 to 500", nil},
		{"far too many", batch(many(5000)...), "bytes, at most 32768", nil},
		{"twice", batch(id, other, id), "comes twice", nil},
		{"twice, spelled otherwise", batch(id, strings.ToUpper(id)), "comes twice", nil},
		{"an empty id", batch(id, ""), "id 2 of 2 is no UUID", nil},
		{"a null id", `{"v":1,"ids":["` + id + `",null]}`, "id 2 of 2 is no UUID", nil},
		{"a number", `{"v":1,"ids":[7]}`, "cannot unmarshal number", nil},
		{"braces", batch("{" + id + "}"), "id 1 of 1 is no UUID", nil},
		{"sql", batch("';DROP TABLE captures;--"), "id 1 of 1 is no UUID", nil},
		{"a single's payload", `{"v":1,"id":"` + id + `"}`, "unknown field", nil},
		{"an amount", `{"v":1,"ids":["` + id + `"],"amount_cents":1}`, "unknown field", nil},
		{"a string", `{"v":1,"ids":"` + id + `"}`, "cannot unmarshal string", nil},
		{"a later version", `{"v":2,"ids":["` + id + `"]}`, "schema version 2, this worker knows 1; upgrade it", nil},
		{"no version", `{"ids":["` + id + `"]}`, "schema version 0", nil},
		{"two documents", batch(id) + batch(other), "more than one document", nil},
		{"a closed tail", batch(id) + "]", "more than one document", nil},
		{"half", batch(id)[:30], "EOF", nil},
		{"nothing", "", "EOF", nil},
		{"garbage", "\x00\xff\xfe", "invalid character", nil},
		{"null", "null", "schema version 0", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := tasks.ParseBatch([]byte(tt.payload))
			switch {
			case tt.reason == "" && (err != nil || b.Version != 1 || !slices.Equal(b.IDs, tt.want)):
				t.Errorf("ParseBatch = %+v, %v", b, err)
			case tt.reason != "" && (!errors.Is(err, tasks.ErrPayload) || !strings.Contains(err.Error(), tt.reason)):
				t.Errorf("ParseBatch = %+v, %v; want a refusal with %q", b, err, tt.reason)
			}
		})
	}
}

// FuzzParseBatch: whatever is read has valid ids, each once, and is what NewBatch
// would write.
func FuzzParseBatch(f *testing.F) {
	for _, seed := range []string{
		batch(id), batch(id, other), batch(), batch(id, id), `null`, `{"v":1,"ids":[null]}`, `{"V":1,"IDS":["` + id + `"]}`,
		`{"v":1,"ids":["` + id + `"],"ids":["` + other + `"]}`, "\x00", `{"v":1,"id":"` + id + `"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := tasks.ParseBatch(raw)
		if err != nil {
			if !errors.Is(err, tasks.ErrPayload) {
				t.Errorf("%q: %v is no ErrPayload", raw, err)
			}
			return
		}
		if len(b.IDs) < 1 || len(b.IDs) > tasks.MaxBatch || b.Version != 1 {
			t.Errorf("%q was read as %+v", raw, b)
		}
		if n := len(slices.Compact(slices.Sorted(slices.Values(b.IDs)))); n != len(b.IDs) {
			t.Errorf("%q was read with an id twice", raw)
		}
		for _, i := range b.IDs {
			if len(i) != 36 || strings.Trim(i, "0123456789abcdef-") != "" {
				t.Errorf("%q was read with the id %q", raw, i)
			}
		}
		again, err := tasks.ParseBatch(tasks.NewBatch(b.IDs, make([]int, len(b.IDs)), time.Second).Payload())
		if err != nil || again.Version != b.Version || !slices.Equal(again.IDs, b.IDs) {
			t.Errorf("%+v came back as %+v, %v", b, again, err)
		}
	})
}

// TestNewBatch: what Redis and Asynqmon see of a batch. The same again is the same
// task; another order, or a generation later, is another.
func TestNewBatch(t *testing.T) {
	_, queue, inspector := connect(t)
	for _, b := range []struct {
		ids         []string
		generations []int
	}{
		{[]string{id, other}, []int{1, 1}},
		{[]string{id, other}, []int{1, 1}},
		{[]string{other, id}, []int{1, 1}},
		{[]string{id, other}, []int{1, 2}},
		{[]string{id, other}, []int{2, 1}},
	} {
		if err := tasks.Enqueue(t.Context(), queue, tasks.NewBatch(b.ids, b.generations, 450*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	list, err := inspector.ListPendingTasks(tasks.Captures)
	if err != nil || len(list) != 4 {
		t.Fatalf("%d batches wait, %v; want four", len(list), err)
	}
	for _, i := range list {
		name, ok := strings.CutPrefix(i.ID, "captures:")
		if !ok || uuid.Validate(name) != nil {
			t.Errorf("the batch is called %q, want captures:<uuid>", i.ID)
		}
		if i.Type != tasks.CapturesRun || i.Timeout != time.Second || i.MaxRetry != 1000 || i.Retention != 0 {
			t.Errorf("batch = %+v", i)
		}
		if string(i.Payload) != batch(id, other) && string(i.Payload) != batch(other, id) {
			t.Errorf("payload %s: a version and ids, nothing else", i.Payload)
		}
	}
}
