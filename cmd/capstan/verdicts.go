package main

import (
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

func listVerdicts(ctx context.Context, c config.Verdicts, stdout io.Writer) error {
	var verdicts []resource
	if err := call(ctx, c.Remote, http.MethodGet, "/api/verdicts?"+verdictQuery(c.List, time.Now()).Encode(), nil, &verdicts); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(stdout, verdicts)
	}
	return printVerdicts(stdout, verdicts)
}

func verdictQuery(l config.VerdictsList, now time.Time) url.Values {
	query := url.Values{"page[size]": {strconv.Itoa(l.Size)}, "page[number]": {strconv.Itoa(l.Page)}, "sort": {"-created_at"}}
	filter := func(name, value string) {
		if value != "" {
			query.Set("filter[q]["+name+"]", value)
		}
	}
	ago := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return now.Add(-d).UTC().Format(time.RFC3339Nano)
	}
	cents := func(n *int64) string {
		if n == nil {
			return ""
		}
		return strconv.FormatInt(*n, 10)
	}
	filter("status_eq", l.Status)
	filter("verdict_in", strings.Join(l.Verdict, ","))
	filter("payment_gateway_eq", l.Gateway)
	filter("order_id_eq", l.Order)
	filter("operation_id_eq", l.Operation)
	filter("reconciliation_id_eq", l.Run)
	filter("created_at_lt", ago(l.OlderThan))
	filter("created_at_gt", ago(l.NewerThan))
	filter("amount_cents_gteq", cents(l.AtLeast))
	filter("amount_cents_lteq", cents(l.AtMost))
	filter("currency_code_eq", l.Currency)
	return query
}

func printVerdicts(w io.Writer, verdicts []resource) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tWHEN\tVERDICT\tSTATUS\tGATEWAY\tAMOUNT\tABOUT\tDID\tAPPLY WOULD\tRULE")
	for _, v := range verdicts {
		a := v.Attributes
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.ID, second(a["created_at"]), text(a["verdict"]), text(a["status"]), text(a["payment_gateway"]),
			text(a["formatted_amount"]), about(a), text(a["action"]), text(a["remedy"]), text(a["rule"]))
	}
	return t.Flush()
}

// about names what a verdict is about.
func about(a map[string]any) string {
	switch {
	case a["operation_id"] != nil:
		return text(a["kind"]) + " " + text(a["operation_id"])
	case a["order_id"] != nil:
		return "order " + text(a["order_id"])
	}
	return text(a["finding"])
}

func showVerdict(ctx context.Context, r config.Remote, id string, stdout io.Writer) error {
	var v resource
	if err := call(ctx, r, http.MethodGet, "/api/verdicts/"+url.PathEscape(id), nil, &v); err != nil {
		return err
	}
	return printVerdict(r, v, stdout)
}

func printVerdict(r config.Remote, v resource, stdout io.Writer) error {
	if r.JSON {
		return printJSON(stdout, v)
	}
	if err := printVerdicts(stdout, []resource{v}); err != nil {
		return err
	}
	for _, side := range []string{"ours", "theirs"} {
		evidence, err := json.Marshal(v.Attributes[side])
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%-7s %s\n", side+":", evidence)
	}
	if next := words(v.Attributes["next_actions"]); next != "" {
		fmt.Fprintf(stdout, "next:   %s\n", next)
	}
	if done, ok := v.Attributes["resolution"].(map[string]any); ok {
		fmt.Fprintf(stdout, "%s by %s at %s: %s", text(done["action"]), text(done["actor"]), second(done["created_at"]), text(done["reason"]))
		if outcome := text(done["outcome"]); outcome != "" {
			fmt.Fprintf(stdout, " (%s)", outcome)
		}
		fmt.Fprintln(stdout)
	}
	return nil
}

// words joins a list of the API.
func words(v any) string {
	list, _ := v.([]any)
	texts := make([]string, len(list))
	for i, one := range list {
		texts[i] = text(one)
	}
	return strings.Join(texts, ", ")
}

func resolveVerdict(ctx context.Context, r config.Remote, c config.VerdictID, trigger string, stdout io.Writer) error {
	meta := map[string]any{"reason": c.Reason}
	if c.By != "" {
		meta["by"] = c.By
	}
	var v resource
	document := map[string]any{"data": map[string]any{"type": "verdicts", "id": c.ID, "attributes": map[string]any{trigger: true}}, "meta": meta}
	if err := send(ctx, r, http.MethodPatch, "/api/verdicts/"+url.PathEscape(c.ID), document, &v); err != nil {
		return err
	}
	return printVerdict(r, v, stdout)
}

// checksAtOnce is how many captures go into one call: as many as the API takes.
const checksAtOnce = 100

// check is one capture in both books, as the API answers it.
type check struct {
	ID         string `json:"id"`
	Attributes struct {
		Ours    map[string]any `json:"ours"`
		Theirs  map[string]any `json:"theirs"`
		Verdict string         `json:"verdict"`
		Rule    string         `json:"rule"`
		Next    []any          `json:"next_actions"`
	} `json:"attributes"`
	Errors []struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	} `json:"errors,omitempty"`
}

// inSync reports whether both books say the same and nobody is needed.
func (c check) inSync() bool {
	return len(c.Errors) == 0 && c.Attributes.Verdict == "in_sync" && c.Attributes.Ours["needs_attention"] == nil
}

func checkCaptures(ctx context.Context, c config.Captures, stdout io.Writer) error {
	checks, failed := callForEach[check](ctx, c.Remote, "/api/discrepancies", "captures", c.Check.IDs, checksAtOnce)
	if err := printChecks(stdout, c.JSON, checks); err != nil {
		return errors.Join(err, failed)
	}
	if failed == nil && slices.ContainsFunc(checks, func(one check) bool { return !one.inSync() }) {
		failed = errFailed
	}
	return failed
}

func printChecks(w io.Writer, asJSON bool, checks []check) error {
	if asJSON {
		return printJSON(w, checks)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tOURS\tAMOUNT\tTHEIRS\tAMOUNT\tVERDICT\tFLAG\tWHY")
	for _, c := range checks {
		why := c.Attributes.Rule
		for _, e := range c.Errors {
			why = strings.Trim(e.Code+": "+e.Detail, ": ")
		}
		ours, theirs := c.Attributes.Ours, c.Attributes.Theirs
		amount := ours["confirmed_amount_cents"]
		if amount == nil {
			amount = ours["amount_cents"]
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.ID, text(ours["state"]), cents(amount, ours["currency_code"]), text(theirs["outcome"]),
			cents(theirs["amount_cents"], theirs["currency_code"]), c.Attributes.Verdict, text(ours["needs_attention"]), why)
	}
	return t.Flush()
}
