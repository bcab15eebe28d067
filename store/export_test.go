package store

import "github.com/capstan-pay/capstan/models"

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
