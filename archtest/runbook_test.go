package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/devstack/devstacktest"
)

func TestMain(m *testing.M) { os.Exit(devstacktest.Main(m)) }

var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// Somebody copies these queries at three in the morning: each must be valid on
// the schema that the migrations make.
func TestRunbookQueries(t *testing.T) {
	conn, err := pgx.Connect(t.Context(), devstacktest.NewDatabase(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	migrations, err := filepath.Glob(filepath.Join(root, "store/migrations/*.up.sql"))
	if err != nil {
		t.Fatal(err)
	}
	if len(migrations) == 0 {
		t.Fatal("store/migrations holds no migration")
	}
	for _, name := range migrations {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), string(src), pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", filepath.Base(name), err)
		}
	}
	blocks := sqlBlock.FindAllStringSubmatch(string(read(t, "docs/runbook.md")), -1)
	if len(blocks) == 0 {
		t.Fatal("docs/runbook.md has no query")
	}
	for _, b := range blocks {
		query := strings.ReplaceAll(b[1], ":'id'", "'00000000-0000-7000-8000-000000000000'")
		if _, err := conn.Exec(t.Context(), "EXPLAIN "+query, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Errorf("%v\n%s", err, query)
		}
	}
}
