package store

import "github.com/capstan-pay/capstan/models"

// Waiting is how many claims and outcomes wait for a batch.
func (c *Committer) Waiting() (claims, outcomes int) {
	return c.claims.Waiting(), c.outcomes.Waiting()
}

// PlanSettings are the settings of the connections that batches run on.
func PlanSettings() map[string]string { return planSettings }

// BatchStatements are the statements whose plans are pinned, as Postgres reads
// them, by what they do.
func (s *Store) BatchStatements() map[string]string {
	all := map[string]string{"record captures": numbered(applyStatements[models.Capture])}
	for kind, statements := range s.claims {
		all["take "+tables[kind]] = numbered(statements[0])
		all["send "+tables[kind]+" after a look"] = numbered(statements[1])
	}
	return all
}
