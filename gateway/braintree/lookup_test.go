package braintree

import (
	"testing"

	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
)

func saleOf(t *testing.T, status, order string, history ...string) transaction {
	t.Helper()
	x, ok := parseTransaction([]byte(saleXML(status, "15.00", order, "", history...)))
	if !ok {
		t.Fatalf("%s is no sale", status)
	}
	return x
}

func creditOf(t *testing.T, status, amount, order string, history ...string) transaction {
	t.Helper()
	x, ok := parseTransaction([]byte(creditXML(status, amount, order, history...)))
	if !ok {
		t.Fatalf("%s is no refund", status)
	}
	return x
}

// seen is what a look-up of each kind comes to: a letter for each outcome, lower
// case where it is foreign, g where the hold is gone, too.
func seen(ev models.Evidence) string {
	word := map[models.Outcome]string{
		models.OutcomeLost: "L", models.OutcomeConfirmed: "C", models.OutcomeDeclined: "D", models.OutcomeRefused: "R", models.OutcomeAccepted: "A",
		models.OutcomeNone: "N", models.OutcomeTakenBack: "T", models.OutcomeNotSent: "S",
	}[ev.Outcome]
	if ev.Foreign {
		word += "f"
	}
	if ev.HoldGone {
		word += "g"
	}
	return word
}

// TestEveryStatus: what a sale in every status proves about our capture, the
// release of the hold, a refund of a part, and a cancel of the whole. Once as
// ours, once as somebody else's, once by its status alone.
func TestEveryStatus(t *testing.T) {
	const held, took = "authorized 15.00", "submitted_for_settlement 15.00"
	for _, tt := range []struct {
		status  string
		history []string
		// ours, alone (the shop's order id, the only capture), and strange (the shop's order id, the second).
		ours, alone, strange string
		void, part, whole    string
	}{
		{"authorizing", nil, "L", "L", "L", "L", "L", "L"},
		{"authorized", []string{held}, "N", "N", "N", "N", "L", "L"},
		{"authorization_expired", []string{held}, "Rg", "Rg", "Rg", "C", "R", "R"},
		{"submitted_for_settlement", []string{held, took}, "C", "C", "Cf", "Rg", "N", "N"},
		{"settling", []string{held, took}, "C", "C", "Cf", "Rg", "N", "N"},
		{"settlement_confirmed", []string{held, took}, "C", "C", "Cf", "Rg", "N", "N"},
		{"settled", []string{held, took}, "C", "C", "Cf", "Rg", "N", "N"},
		{"settlement_pending", []string{held, took}, "A", "A", "Af", "Rg", "N", "N"},
		{"settlement_declined", []string{held, took}, "T", "T", "Rg", "Rg", "R", "R"},
		{"settlement_declined", []string{held}, "Rg", "Rg", "Rg", "Rg", "R", "R"},
		{"settlement_failed", []string{held, took}, "T", "T", "Rg", "Rg", "R", "R"},
		{"failed", []string{held, took}, "T", "T", "Rg", "Rg", "R", "R"},
		{"failed", []string{held}, "Rg", "Rg", "Rg", "Rg", "R", "R"},
		{"processor_declined", nil, "Rg", "Rg", "Rg", "Rg", "R", "R"},
		{"gateway_rejected", nil, "Rg", "Rg", "Rg", "Rg", "R", "R"},
		{"voided", []string{held}, "Rg", "Rg", "Rg", "C", "R", "R"},
		{"voided", []string{held, took}, "T", "T", "Rg", "C", "Cf", "C"},
		{"voided", nil, "L", "L", "L", "L", "R", "R"},
		{"teleported", []string{held, took}, "L", "L", "L", "L", "L", "L"},
		{"AUTHORIZED", []string{held}, "L", "L", "L", "L", "L", "L"},
	} {
		look := func(r gateway.Request, order string) string {
			return seen(lookedUp(r, sight{ev: models.Evidence{Source: models.FromLookUp}, ok: true, listed: true, sale: saleOf(t, tt.status, order, tt.history...)}))
		}
		second := testRequest(models.Capture)
		second.OnlyOne = false
		cancel := testRequest(models.Refund)
		cancel.Whole = true
		got := [6]string{
			look(testRequest(models.Capture), ourCapture), look(testRequest(models.Capture), "SHOP-1"), look(second, "SHOP-1"),
			look(testRequest(models.Void), "SHOP-1"), look(testRequest(models.Refund), ourCapture), look(cancel, ourCapture),
		}
		if want := [6]string{tt.ours, tt.alone, tt.strange, tt.void, tt.part, tt.whole}; got != want {
			t.Errorf("%s %v: %v, want %v", tt.status, tt.history, got, want)
		}
	}
}

func TestOwners(t *testing.T) {
	const held, took, other = "authorized 15.00", "submitted_for_settlement 15.00", "cap_bbbbbbbbbbbbbbbbbbbbbbbbbb"
	for _, tt := range []struct {
		order   string
		onlyOne bool
		status  string
		want    string
	}{
		{ourCapture, true, "settled", "C"}, {ourCapture, false, "settled", "C"}, {ourCapture, false, "voided", "T"},
		{other, true, "settled", "Cf"}, {other, false, "settled", "Rg"}, {other, true, "voided", "Rg"}, {other, false, "voided", "Rg"},
		{"", true, "settled", "C"}, {"", false, "settled", "Cf"}, {"", false, "voided", "Rg"}, {"cap_tooshort", true, "settled", "C"},
	} {
		r := testRequest(models.Capture)
		r.OnlyOne = tt.onlyOne
		if got := seen(lookedUp(r, sight{ok: true, sale: saleOf(t, tt.status, tt.order, held, took)})); got != tt.want {
			t.Errorf("%q %v %s: %s, want %s", tt.order, tt.onlyOne, tt.status, got, tt.want)
		}
	}
	parts := saleOf(t, "settlement_pending", ourCapture, held)
	parts.Parts = []string{"part1"}
	if ev := lookedUp(testRequest(models.Capture), sight{ok: true, sale: parts}); ev.Outcome != models.OutcomeLost || ev.NextAction != gateway.NextContact {
		t.Errorf("in parts: %s", ev.JSON())
	}
}

func TestRefundsOfASale(t *testing.T) {
	const took = "submitted_for_settlement 5.00"
	sale := saleOf(t, "settled", ourCapture, "authorized 15.00", "submitted_for_settlement 15.00")
	soft, hard := creditOf(t, "processor_declined", "5.00", ourRefund), creditOf(t, "processor_declined", "5.00", ourRefund)
	soft.ResponseCode, soft.ResponseType = "2046", "soft_declined"
	hard.ResponseCode, hard.ResponseType = "2004", hardDeclined
	good, back := creditOf(t, "settled", "5.00", ourRefund, took), creditOf(t, "settlement_declined", "5.00", ourRefund, took)
	twin := good
	twin.ID = "twin1"
	dollars := creditOf(t, "settled", "5.00", "", took)
	dollars.Currency = "USD"
	for _, tt := range []struct {
		name  string
		back  []transaction
		cents int64
		want  string
		sum   int64
	}{
		{"none", nil, 500, "N", 0},
		{"ours", []transaction{good}, 500, "C", 500},
		{"ours, pending", []transaction{creditOf(t, "settlement_pending", "5.00", ourRefund)}, 500, "A", 500},
		// Which try was declined, nothing says: one that was sent since may still land.
		{"ours, softly declined", []transaction{soft}, 500, "N", 0},
		{"ours, softly declined, and somebody left too little", []transaction{soft, creditOf(t, "settled", "12.00", "SHOP", took)}, 500, "Cf", 1200},
		{"ours, declined for good", []transaction{soft, hard}, 500, "R", 0},
		{"ours, declined nobody knows why", []transaction{creditOf(t, "processor_declined", "5.00", ourRefund)}, 500, "N", 0},
		{"ours, declined and then good", []transaction{hard, good}, 500, "C", 500},
		{"ours, came back", []transaction{back}, 500, "T", 500},
		{"ours, voided", []transaction{creditOf(t, "voided", "5.00", ourRefund, took)}, 500, "T", 500},
		{"ours, of a status nobody knows", []transaction{creditOf(t, "done", "5.00", ourRefund), hard}, 500, "L", 0},
		{"ours twice", []transaction{good, twin}, 500, "C", 1000},
		{"somebody's, and enough is left", []transaction{creditOf(t, "settled", "5.00", "SHOP", took)}, 1000, "N", 0},
		{"somebody's, and too little is left", []transaction{creditOf(t, "settled", "5.00", "SHOP", took)}, 1001, "Cf", 500},
		{"somebody's that failed", []transaction{creditOf(t, "voided", "15.00", "SHOP")}, 1500, "N", 0},
		{"somebody's of a status nobody knows", []transaction{creditOf(t, "done", "5.00", "SHOP", took)}, 500, "L", 0},
		{"in another currency", []transaction{dollars}, 500, "L", 0},
	} {
		r := testRequest(models.Refund)
		r.AmountCents = tt.cents
		ev := lookedUp(r, sight{ok: true, listed: true, sale: sale, back: tt.back})
		if got := seen(ev); got != tt.want || ev.AmountCents != tt.sum {
			t.Errorf("%s: %s, want %s %d", tt.name, ev.JSON(), tt.want, tt.sum)
		}
	}
	if ev := lookedUp(testRequest(models.Refund), sight{ok: true, sale: sale}); ev.Outcome != models.OutcomeLost {
		t.Errorf("not listed: %s", ev.JSON())
	}
}

func TestDisputedSales(t *testing.T) {
	for _, tt := range []struct {
		name string
		all  []dispute
		want string
		sum  int64
	}{
		{"opened", []dispute{{Kind: "chargeback", Status: "open", Disputed: "15.00"}}, "T", 1500},
		{"a part, in the transaction's currency", []dispute{{Kind: "chargeback", Status: "lost", Amount: "5.00", Currency: "EUR"}}, "T", 500},
		{"a question", []dispute{{Kind: "retrieval", Status: "open", Disputed: "15.00"}}, "C", 1500},
		{"won", []dispute{{Kind: "chargeback", Status: "won", Disputed: "15.00", Won: "15.00"}}, "C", 1500},
		{"won, and nobody says how much", []dispute{{Kind: "chargeback", Status: "won", Disputed: "15.00"}}, "C", 1500},
		{"won in part", []dispute{{Kind: "chargeback", Status: "won", Disputed: "15.00", Won: "10.00"}}, "T", 500},
		{"won, then opened again", []dispute{{Kind: "chargeback", Status: "won", Disputed: "15.00"}, {Kind: "pre_arbitration", Status: "open", Disputed: "15.00"}}, "T", 1500},
		{"a kind nobody knows", []dispute{{Kind: "duel", Status: "open", Disputed: "15.00"}}, "L", 0},
		{"a status nobody knows", []dispute{{Kind: "chargeback", Status: "moot", Disputed: "15.00"}}, "L", 0},
		{"no amount", []dispute{{Kind: "chargeback", Status: "open"}}, "L", 0},
		{"another currency", []dispute{{Kind: "chargeback", Status: "open", Disputed: "15.00", Currency: "USD"}}, "L", 0},
	} {
		sale := saleOf(t, "settled", ourCapture, "authorized 15.00", "submitted_for_settlement 15.00")
		sale.Disputes = tt.all
		ev := lookedUp(testRequest(models.Capture), sight{ok: true, sale: sale})
		if got := seen(ev); got != tt.want || ev.AmountCents != tt.sum || tt.want == "T" && ev.TookCents != 1500 {
			t.Errorf("%s: %s, want %s %d", tt.name, ev.JSON(), tt.want, tt.sum)
		}
	}
}

// TestExplained: what a look within the call makes of an answer that the
// transaction has to explain.
func TestExplained(t *testing.T) {
	base := verdict{Evidence: models.Evidence{Source: models.FromAnswer, Status: 422, ErrorCode: "91506", RequestID: "req1"}, look: true}
	for _, tt := range []struct {
		otherwise *ruling
		seen      models.Outcome
		want      models.Outcome
		settles   bool
	}{
		{nil, models.OutcomeConfirmed, models.OutcomeConfirmed, false}, {nil, models.OutcomeRefused, models.OutcomeRefused, false},
		{nil, models.OutcomeAccepted, models.OutcomeAccepted, false}, {nil, models.OutcomeNone, models.OutcomeLost, false},
		{&unsettled, models.OutcomeNone, models.OutcomeNotSent, true}, {&overtaken, models.OutcomeNone, models.OutcomeNotSent, false},
		{&unsettled, models.OutcomeLost, models.OutcomeLost, false}, {&unsettled, models.OutcomeTakenBack, models.OutcomeLost, false},
		{&unsettled, models.OutcomeNotSent, models.OutcomeLost, false}, {&unsettled, models.OutcomeDeclined, models.OutcomeLost, false},
	} {
		v := base
		v.otherwise = tt.otherwise
		got := explained(v, models.Evidence{Source: models.FromLookUp, Outcome: tt.seen, Status: 200})
		if got.Outcome != tt.want || got.settles != tt.settles || got.Source != models.FromAnswer || got.Status != 422 || got.RequestID != "req1" {
			t.Errorf("%s: %s, want %s", tt.seen, got.JSON(), tt.want)
		}
	}
}
