package devstack_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/devstack"
)

func execute(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// TestRestoreToAPoint: what was committed before the point is there, what came
// after it is not, and the restored server writes a timeline of its own.
func TestRestoreToAPoint(t *testing.T) {
	t.Parallel()
	s := start(t, devstack.Options{NoRedis: true})
	execute(t, s.DatabaseURL, "CREATE TABLE said (what text)", "INSERT INTO said VALUES ('before the backup')")
	backup, err := s.BackupPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	execute(t, s.DatabaseURL, "INSERT INTO said VALUES ('before the point')", "SELECT pg_create_restore_point('here')", "INSERT INTO said VALUES ('after it')")
	if err := s.StopPostgres(t.Context(), devstack.Immediate); err != nil {
		t.Fatal(err)
	}
	restored, err := backup.Restore(t.Context(), "here")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, restored) })
	conn, err := pgx.Connect(t.Context(), restored.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var said, timeline string
	if err := conn.QueryRow(t.Context(), "SELECT string_agg(what, ', ' ORDER BY what), substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) FROM said").Scan(&said, &timeline); err != nil {
		t.Fatal(err)
	}
	if said != "before the backup, before the point" || timeline != "00000002" {
		t.Errorf("restored: %q on timeline %s", said, timeline)
	}
	stop(t, restored)
	if _, err := os.Stat(restored.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the restored copy is still there: %v", err)
	}
}
