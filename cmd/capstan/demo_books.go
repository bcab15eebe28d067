package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/capstan-pay/capstan/gateway/sandbox"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// demoInvariants are the ones the demo answers for, in this order.
var demoInvariants = []string{"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I13", "I14", "I15"}

// accountBooks are our books of each account.
type accountBooks map[string][]store.BookEntry

// movedBy sums what captures took and refunds returned.
func movedBy(entries []store.BookEntry) (captured, returned int64) {
	for _, e := range entries {
		switch {
		case e.ConfirmedCents == nil:
		case e.Kind == string(models.Capture):
			captured += *e.ConfirmedCents
		case e.Kind == string(models.Refund):
			returned += *e.ConfirmedCents
		}
	}
	return captured, returned
}

// compareBooks checks the invariants against the ledger and against the
// sandbox's book, which has every gateway's but the bank's, and returns them in order.
func compareBooks(ctx context.Context, st *store.Store, books accountBooks, book sandbox.Snapshot) ([]store.Invariant, error) {
	found, err := st.Audit(ctx)
	if err != nil {
		return nil, err
	}
	byID := map[string]*store.Invariant{"I4": {ID: "I4", Rule: "the gateways' books and the ledger agree, both ways", Broken: []string{}}}
	for i := range found {
		byID[found[i].ID] = &found[i]
	}
	var entries, there []store.BookEntry
	for slug, of := range books {
		entries = append(entries, of...)
		if slug != manualAccount {
			there = append(there, of...)
		}
	}
	intents, err := st.SendIntents(ctx)
	if err != nil {
		return nil, err
	}
	checkHolds(byID["I1"], book)
	checkDoubles(byID["I2"], book)
	checkEnds(byID["I3"], entries)
	checkAgreement(byID["I4"], there, book)
	for _, r := range book.Requests {
		if r.Key == "" || !moves(r.Call) {
			continue
		}
		at, ok := intents[r.Key]
		note(byID["I5"], r.Key, !ok || at.After(r.At))
	}
	ordered := make([]store.Invariant, len(demoInvariants))
	for i, id := range demoInvariants {
		ordered[i] = *byID[id]
	}
	return ordered, nil
}

// moves reports whether a call could move money of a hold that Capstan knows.
func moves(call string) bool { return call == "capture" || call == "refund" || call == "cancel" }

func note(i *store.Invariant, name string, broken bool) {
	i.Checked++
	if broken {
		i.BrokenCount++
		i.Broken = append(i.Broken, name)
	}
}

// checkHolds: at no moment was a hold captured beyond its amount. The sandbox
// watches while it books and writes every attempt down.
func checkHolds(i *store.Invariant, book sandbox.Snapshot) {
	for _, v := range book.Violations {
		note(i, v.Hold+": "+v.Detail, true)
	}
	for _, h := range book.Holds {
		note(i, h.ID, h.Captured > h.Amount)
	}
}

// checkDoubles: no reference was booked twice.
func checkDoubles(i *store.Invariant, book sandbox.Snapshot) {
	times := map[string]int{}
	for _, b := range slices.Concat(book.Captures, book.Refunds) {
		times[b.Reference]++
	}
	for reference, n := range times {
		note(i, reference, n > 1 || reference == "")
	}
}

// checkEnds: nothing is open any more.
func checkEnds(i *store.Invariant, entries []store.BookEntry) {
	for _, e := range entries {
		note(i, e.ID, models.State(e.State).Live())
	}
}

// checkAgreement compares what was booked there with what is recorded here, in
// both directions: reference, hold, amount and currency.
func checkAgreement(i *store.Invariant, entries []store.BookEntry, book sandbox.Snapshot) {
	theirs := map[string]sandbox.Booking{}
	for _, b := range slices.Concat(book.Captures, book.Refunds) {
		theirs[b.Reference] = b
	}
	cancelled := map[string]bool{}
	for _, b := range book.Cancels {
		cancelled[b.Hold] = true
	}
	for _, e := range entries {
		took := e.ConfirmedCents != nil
		if e.Kind == string(models.Void) {
			note(i, e.Reference, took != cancelled[e.Hold])
			continue
		}
		b, booked := theirs[e.Reference]
		delete(theirs, e.Reference)
		note(i, e.Reference, took != booked || took && (b.Amount != *e.ConfirmedCents || b.Hold != e.Hold || !strings.EqualFold(b.Currency, e.CurrencyCode)))
	}
	for reference, b := range theirs {
		note(i, fmt.Sprintf("%s: %d %s of %s are booked there and unknown here", reference, b.Amount, b.Currency, b.Hold), true)
	}
}
