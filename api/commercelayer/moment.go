package commercelayer

import "time"

// moment prints times as the API does: UTC, milliseconds.
type moment struct{ time.Time }

const momentForm = "2006-01-02T15:04:05.000Z"

func (m moment) String() string { return m.UTC().Format(momentForm) }

// momentOrNull renders a time that may not have come.
func momentOrNull(t *time.Time) *string {
	if t == nil {
		return nil
	}
	s := moment{*t}.String()
	return &s
}
