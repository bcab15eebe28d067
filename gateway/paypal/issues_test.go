package paypal

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/gateway/gatewaytest/contract"
)

// TestEveryPublishedIssueIsListed: an issue that a new version of the document
// brings fails here, so that somebody decides what it proves.
func TestEveryPublishedIssueIsListed(t *testing.T) {
	raw, err := os.ReadFile(contract.File(t, "paypal-payments-v2.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths map[string]map[string]struct {
			Responses map[string]json.RawMessage `json:"responses"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]json.RawMessage `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	operations := map[string]gateway.Label{"capture": gateway.CallCapture, "reauthorize": gateway.CallReauthorize, "void": gateway.CallVoid, "refund": gateway.CallRefund}
	statuses := map[string]int{"400": 400, "401": 401, "403": 403, "404": 404, "409": 409, "422": 422}
	checked := 0
	for path, methods := range doc.Paths {
		call, ok := operations[path[strings.LastIndexByte(path, '/')+1:]]
		if !ok {
			continue
		}
		for text, response := range methods["post"].Responses {
			status := statuses[text]
			if status == 0 {
				continue
			}
			for _, issue := range issuesIn(t, response, doc.Components.Schemas) {
				checked++
				listed := false
				for _, r := range rules {
					listed = listed || r.status == status && r.issue == issue && (r.calls == "" || strings.Contains(" "+r.calls+" ", " "+string(call)+" "))
				}
				if !listed {
					t.Errorf("%s %d %s is published and stands in no rule", call, status, issue)
				}
				if find(call, status, nameOf[status], issue) != wanted(call, status, issue) {
					t.Errorf("%s %d %s: the table of the test knows it otherwise", call, status, issue)
				}
			}
		}
	}
	if checked < 80 {
		t.Errorf("only %d issues were found in the document", checked)
	}
}

// issuesIn collects the values of every member "issue" below a schema.
func issuesIn(t *testing.T, raw json.RawMessage, schemas map[string]json.RawMessage) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(any)
	walk = func(v any) {
		switch x := v.(type) {
		case []any:
			for _, y := range x {
				walk(y)
			}
		case map[string]any:
			if ref, ok := x["$ref"].(string); ok {
				out = append(out, issuesIn(t, schemas[ref[strings.LastIndexByte(ref, '/')+1:]], schemas)...)
			}
			if issue, ok := x["issue"].(map[string]any); ok {
				values, _ := issue["enum"].([]any)
				for _, value := range values {
					out = append(out, value.(string))
				}
			}
			for _, y := range x {
				walk(y)
			}
		}
	}
	walk(v)
	return out
}
