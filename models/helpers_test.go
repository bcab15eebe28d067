package models_test

import (
	"slices"
	"strings"
	"time"
)

// noon is when the tests take place.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// lines splits a table into its words, line by line, and drops empty lines.
func lines(table string) [][]string {
	var found [][]string
	for line := range strings.Lines(table) {
		if words := strings.Fields(line); len(words) > 0 {
			found = append(found, words)
		}
	}
	return found
}

func ptr[T any](v T) *T { return &v }

// subsets calls fn with every subset of all, smallest first by bit pattern.
func subsets[T any](all []T, fn func([]T)) {
	for bits := range 1 << len(all) {
		var some []T
		for i, v := range all {
			if bits>>i&1 == 1 {
				some = append(some, v)
			}
		}
		fn(slices.Clip(some))
	}
}
