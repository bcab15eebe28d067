package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/capstan-pay/capstan/config"
)

// hands are the operator's commands. They go over the API, so that they obey
// the same rules and leave the same evidence as any client.
func hands(ctx context.Context, cli config.CLI, command string, stdout io.Writer) error {
	c := cli.Captures
	switch command {
	case "captures list":
		return listCaptures(ctx, c, stdout)
	case "captures show":
		return showCapture(ctx, c.Remote, c.Show.ID, stdout)
	case "captures forward":
		return triggerCapture(ctx, c.Remote, c.Forward, map[string]any{"_forward": true}, stdout)
	case "captures cancel":
		return triggerCapture(ctx, c.Remote, c.Cancel, map[string]any{"_cancel": true}, stdout)
	case "captures retry":
		return triggerCapture(ctx, c.Remote, c.Retry, map[string]any{"_retry": true}, stdout)
	case "captures acknowledge":
		return triggerCapture(ctx, c.Remote, c.Ack, map[string]any{"_acknowledge": true}, stdout)
	case "captures refund":
		attributes := map[string]any{"_refund": true}
		if c.Refund.Amount != nil {
			attributes["_refund_amount_cents"] = *c.Refund.Amount
		}
		if c.Refund.Manual {
			attributes["refund_mechanism"] = "manual"
		}
		return trigger(ctx, c.Remote, "captures", c.Refund.ID, said{c.Refund.Reason, c.Refund.By}, attributes, stdout)
	case "captures assert":
		return assertWord(ctx, c.Remote, c.Assert, stdout)
	case "captures check":
		return checkCaptures(ctx, c, stdout)
	case "verdicts list":
		return listVerdicts(ctx, cli.Verdicts, stdout)
	case "verdicts show":
		return showVerdict(ctx, cli.Verdicts.Remote, cli.Verdicts.Show.ID, stdout)
	case "verdicts apply":
		return resolveVerdict(ctx, cli.Verdicts.Remote, cli.Verdicts.Apply, "_apply", stdout)
	case "verdicts dismiss":
		return resolveVerdict(ctx, cli.Verdicts.Remote, cli.Verdicts.Dismiss, "_dismiss", stdout)
	case "report":
		return showReport(ctx, cli.Report.Remote, stdout)
	case "orders approve":
		return approveOrders(ctx, cli.Orders, stdout)
	}
	return fmt.Errorf("unknown command %q", command)
}

// resource is a JSON:API resource as the commands read it.
type resource struct {
	ID         string         `json:"id"`
	Type       string         `json:"type"`
	Attributes map[string]any `json:"attributes"`
}

// remoteTimeout bounds one call: a forward asks a gateway inside it.
const remoteTimeout = 60 * time.Second

// call makes one API call with body as the document's data, if there is one.
func call(ctx context.Context, r config.Remote, method, path string, body, dest any) error {
	if body == nil {
		return send(ctx, r, method, path, nil, dest)
	}
	return send(ctx, r, method, path, map[string]any{"data": body}, dest)
}

// errNoAnswer: the call may have arrived and taken effect.
var errNoAnswer = errors.New("no answer")

// send makes one API call and decodes data into dest. A refusal of the API is
// printed as it is told.
func send(ctx context.Context, r config.Remote, method, path string, document, dest any) error {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	var content io.Reader
	if document != nil {
		encoded, err := json.Marshal(document)
		if err != nil {
			return err
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(r.URL, "/")+path, content)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+r.Token.Reveal())
	req.Header.Set("Accept", "application/vnd.api+json")
	req.Header.Set("Content-Type", "application/vnd.api+json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w from %s: %w; does the API run there?", method, path, errNoAnswer, r.URL, errors.Unwrap(err))
	}
	defer res.Body.Close()
	answer := struct {
		Data   any `json:"data"`
		Errors []struct {
			Title, Detail, Code string
		} `json:"errors"`
	}{Data: dest}
	if err := json.NewDecoder(io.LimitReader(res.Body, 4<<20)).Decode(&answer); err != nil {
		return fmt.Errorf("%s %s: HTTP %d with a body that is not JSON", method, path, res.StatusCode)
	}
	if res.StatusCode/100 == 2 {
		return nil
	}
	var why []string
	for _, e := range answer.Errors {
		why = append(why, strings.Trim(e.Code+": "+e.Detail, ": "))
	}
	return &refused{status: res.StatusCode, text: fmt.Sprintf("%s %s: HTTP %d %s", method, path, res.StatusCode, strings.Join(why, "; "))}
}

// refused is the API's no: the command ran, and the answer is not what was asked for.
type refused struct {
	status int
	text   string
}

func (r *refused) Error() string { return r.text }

func listCaptures(ctx context.Context, c config.Captures, stdout io.Writer) error {
	query := url.Values{
		"page[size]": {strconv.Itoa(c.List.Size)}, "page[number]": {strconv.Itoa(c.List.Page)}, "sort": {"-created_at"},
	}
	if c.List.Order != "" {
		query.Set("filter[q][order_id_eq]", c.List.Order)
	}
	if c.List.State != "" {
		query.Set("filter[q][state_eq]", c.List.State)
	}
	if c.List.Attention {
		query.Set("filter[q][needs_attention_present]", "true")
	}
	var captures []resource
	if err := call(ctx, c.Remote, http.MethodGet, "/api/captures?"+query.Encode(), nil, &captures); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(stdout, captures)
	}
	return printCaptures(stdout, captures)
}

func printCaptures(w io.Writer, captures []resource) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNUMBER\tAMOUNT\tREFUNDABLE\tSTATE\tCREATED\tNEXT LOOK\tNEEDS ATTENTION\tMESSAGE")
	for _, c := range captures {
		a := c.Attributes
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, text(a["number"]), text(a["formatted_amount"]), text(a["formatted_refund_balance"]), text(a["state"]), second(a["created_at"]), second(a["next_attempt_at"]), text(a["needs_attention"]), text(a["message"]))
	}
	return t.Flush()
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// second shortens a time of the API to what fits a column.
func second(v any) string {
	at, err := time.Parse(time.RFC3339, text(v))
	if err != nil {
		return ""
	}
	return at.UTC().Format("2006-01-02 15:04:05Z")
}

func showCapture(ctx context.Context, r config.Remote, id string, stdout io.Writer) error {
	var capture resource
	var history []resource
	path := "/api/captures/" + url.PathEscape(id)
	if err := call(ctx, r, http.MethodGet, path, nil, &capture); err != nil {
		return err
	}
	if err := call(ctx, r, http.MethodGet, path+"/events", nil, &history); err != nil {
		return err
	}
	if r.JSON {
		return printJSON(stdout, map[string]any{"capture": capture, "history": history})
	}
	if err := printCaptures(stdout, []resource{capture}); err != nil {
		return err
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nVERSION\tWHEN\tEVENT\tSTATE\tBY\tWHY")
	for _, h := range history {
		a := h.Attributes
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", text(a["version"]), second(a["created_at"]), text(a["name"]), text(a["to_state"]), text(a["actor"]), text(a["reason"]))
	}
	return t.Flush()
}

func triggerCapture(ctx context.Context, r config.Remote, c config.CaptureID, attributes map[string]any, stdout io.Writer) error {
	return trigger(ctx, r, "captures", c.ID, said{reason: c.Reason}, attributes, stdout)
}

// said is why, and who says so.
type said struct{ reason, by string }

// trigger patches one operation of a type, and prints what it became.
func trigger(ctx context.Context, r config.Remote, typ, id string, s said, attributes map[string]any, stdout io.Writer) error {
	var operation resource
	document := map[string]any{"data": map[string]any{"type": typ, "id": id, "attributes": attributes}}
	meta := map[string]any{}
	for name, text := range map[string]string{"reason": s.reason, "by": s.by} {
		if text != "" {
			meta[name] = text
		}
	}
	if len(meta) > 0 {
		document["meta"] = meta
	}
	if err := send(ctx, r, http.MethodPatch, "/api/"+typ+"/"+url.PathEscape(id), document, &operation); err != nil {
		return err
	}
	if r.JSON {
		return printJSON(stdout, operation)
	}
	return printCaptures(stdout, []resource{operation})
}

// assertWord says what became of an operation that no gateway can tell of.
func assertWord(ctx context.Context, r config.Remote, w config.CaptureWord, stdout io.Writer) error {
	attributes := map[string]any{"succeeded": w.Succeeded}
	if w.Manual {
		attributes[w.Kind+"_mechanism"] = "manual"
	}
	return trigger(ctx, r, w.Kind+"s", w.ID, said{w.Reason, w.By}, attributes, stdout)
}

// callForEach names resources of a type to a path, so many in one call, and
// returns what was answered for each. With an error it is what was answered
// before, which is to be told all the same.
func callForEach[T any](ctx context.Context, r config.Remote, path, typ string, ids []string, atOnce int) ([]T, error) {
	all := []T{}
	for some := range slices.Chunk(ids, atOnce) {
		named := make([]map[string]string, len(some))
		for i, id := range some {
			named[i] = map[string]string{"type": typ, "id": id}
		}
		var answered []T
		if err := call(ctx, r, http.MethodPost, path, named, &answered); err != nil {
			return all, err
		}
		all = append(all, answered...)
	}
	return all, nil
}

// approvalsAtOnce is how many orders go into one call: as many as the API takes.
const approvalsAtOnce = 1000

// approval is an order as the API answers it in a bulk approval.
type approval struct {
	resource
	Errors []struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
		Status string `json:"status"`
	} `json:"errors,omitempty"`
	Meta struct {
		Mode     string   `json:"mode"`
		Result   string   `json:"result"`
		Captures []string `json:"captures"`
	} `json:"meta"`
}

func approveOrders(ctx context.Context, c config.Orders, stdout io.Writer) error {
	approvals, failed := callForEach[approval](ctx, c.Remote, "/api/orders/approve", "orders", c.Approve.IDs, approvalsAtOnce)
	if err := printApprovals(stdout, c.JSON, approvals); err != nil {
		return err
	}
	if failed == nil && slices.ContainsFunc(approvals, func(a approval) bool { return len(a.Errors) > 0 }) {
		failed = errFailed
	}
	return failed
}

func printApprovals(w io.Writer, asJSON bool, approvals []approval) error {
	if asJSON {
		return printJSON(w, approvals)
	}
	if len(approvals) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNUMBER\tRESULT\tSTATUS\tPAYMENT\tTOTAL\tCAPTURES\tWHY")
	for _, a := range approvals {
		why := ""
		for _, e := range a.Errors {
			why = strings.Trim(e.Code+": "+e.Detail, ": ")
		}
		at := a.Attributes
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.ID, text(at["number"]), a.Meta.Result, text(at["status"]), text(at["payment_status"]),
			text(at["formatted_total_amount"]), strings.Join(a.Meta.Captures, " "), why)
	}
	return t.Flush()
}
