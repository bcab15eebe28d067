package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const (
	module = "github.com/capstan-pay/capstan"
	root   = ".."
)

// house is the import map. A key is a package, or with /... a folder and all below
// it; the longest key that matches counts. The value lists what that package may
// import of this module, tests apart.
var house = map[string][]string{
	"models": {},

	"tasks":                       {"models"},
	"gateway":                     {"models"},
	"gateway/sandbox/sandboxtest": {"models", "gateway", "gateway/sandbox", "gateway/gatewaytest"}, // imported by tests only
	"gateway/...":                 {"models", "gateway", "gateway/netguard"},                       // one provider per folder, and none knows another
	"gather":                      {},
	"store/...":                   {"models", "gather", "store/..."},

	"store/storetest": {"models", "store/...", "devstack/..."}, // imported by tests only

	"enqueuer": {"models", "tasks", "gateway", "gather", "store"},
	"worker":   {"models", "tasks", "gateway", "gateway/netguard", "store"}, // neither api nor enqueuer: follow-up work is a row

	"api/...":     {"models", "tasks", "gateway", "store", "enqueuer", "worker", "api/..."},
	"console/...": {"models", "tasks", "gateway", "store", "enqueuer", "worker", "console/..."},

	"config":       {"models", "gateway", "gateway/netguard"}, // gateway for its Secret and accounts
	"devstack":     {},
	"devstack/...": {"devstack"},
	"archtest":     {},

	"cmd/...": {"models", "tasks", "gateway", "gateway/...", "store/...", "enqueuer", "worker",
		"api/...", "console/...", "config", "devstack", "devstack/meter", "cmd/..."},

	// What Capstan is compared with: a module of its own, which nothing here imports.
	"bench/...": {"models", "gateway", "gateway/till", "gather", "store", "devstack/meter"},
}

// testSupport is what any test may import on top of its package's own line.
var testSupport = []string{
	"devstack/...", "store/storetest", "gateway/gatewaytest/...", "gateway/gatewaytest", "gateway/sandbox/...", "gateway/sandbox", "gateway/stripe", "gateway/manual", "gateway/external", "gateway/netguard", "gateway", "models",
}

// testsMayAlso widens the map for the tests of one package.
var testsMayAlso = map[string][]string{
	"worker":    {"enqueuer", "gateway/braintree"}, // an approval is where a worker's story begins; Braintree undoes a capture by a void
	"enqueuer":  {"worker"},                        // and a capture is where it ends
	"api/...":   {"worker"},                        // a call over HTTP has to be carried out to be checked
	"cmd/...":   {"gateway/..."},
	"bench/...": {"cmd/capstan/bench"}, // it has the peers verified by the benchmark itself
}

// thirdParty says where a library may be used, tests apart. Libraries that are
// not listed are free.
var thirdParty = map[string][]string{
	"github.com/uptrace/bun":        {"store/...", "bench/..."},
	"github.com/riverqueue/river":   {"bench/..."}, // a peer to measure against, nothing else
	"github.com/hibiken/asynq":      {"tasks", "worker", "enqueuer", "cmd/...", "bench/..."},
	"github.com/hibiken/asynqmon":   {"worker", "cmd/..."},
	"github.com/jackc/pgx/v5":       {"store/...", "devstack/...", "cmd/...", "bench/..."},
	"github.com/redis/go-redis/v9":  {"tasks", "worker", "enqueuer", "config", "cmd/..."},
	"github.com/alicebob/miniredis": {"devstack"},
	"github.com/stripe/stripe-go":   {}, // the SDKs drive the sandbox in tests, nothing else
	"github.com/alecthomas/kong":    {"config", "cmd/..."},
	"flag":                          {"config", "cmd/..."},
	"testing":                       {"devstack/devstacktest", "store/storetest", "gateway/gatewaytest", "gateway/gatewaytest/contract", "gateway/sandbox/sandboxtest", "archtest"},
}

// testThirdParty is where tests may use a library beyond thirdParty. A library
// that is not listed here is free in tests.
var testThirdParty = map[string][]string{
	"github.com/uptrace/bun":        {"enqueuer", "worker", "cmd/..."}, // Approve inside the caller's own bun.Tx
	"github.com/hibiken/asynq":      {"api/..."},
	"github.com/alicebob/miniredis": {}, // tests run on the real Redis
	"github.com/stretchr/testify":   {},
	"github.com/golang/mock":        {},
	"go.uber.org/mock":              {},
}

// environmentReaders may call os.Getenv and its kin: config reads it for the
// program; devstack searches PATH and PG_BIN and hands PATH on to its children;
// main passes os.Args to config; contract finds the published documents for tests.
var environmentReaders = []string{"config", "devstack/...", "cmd/...", "gateway/gatewaytest/contract"}

// matches reports whether the package pkg is meant by the key.
func matches(key, pkg string) bool {
	folder, deep := strings.CutSuffix(key, "/...")
	return pkg == folder || deep && strings.HasPrefix(pkg, folder+"/")
}

func anyMatches(keys []string, pkg string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return matches(k, pkg) })
}

// line finds the entry of a table that counts for pkg: its own, else that of the
// nearest folder above it.
func line(table map[string][]string, pkg string) ([]string, bool) {
	if entry, ok := table[pkg]; ok {
		return entry, true
	}
	for folder := pkg; folder != "."; folder = path.Dir(folder) {
		if entry, ok := table[folder+"/..."]; ok {
			return entry, true
		}
	}
	return nil, false
}

// library is the key of table that imported belongs to.
func library(table map[string][]string, imported string) (string, bool) {
	for key := range table {
		if imported == key || strings.HasPrefix(imported, key+"/") {
			return key, true
		}
	}
	return "", false
}

// faultOf explains why pkg must not import imported, or returns "".
func faultOf(pkg, imported string, test bool) string {
	if pkg == "models" && !test && strings.Contains(strings.Split(imported, "/")[0], ".") {
		return "models uses the standard library only"
	}
	if inner, ours := strings.CutPrefix(imported, module+"/"); ours {
		return faultOfOurs(pkg, inner, test)
	}
	if lib, listed := library(thirdParty, imported); listed && !test && !anyMatches(thirdParty[lib], pkg) {
		return fmt.Sprintf("%s is for %s only", lib, words(thirdParty[lib]))
	}
	if lib, listed := library(testThirdParty, imported); listed && test &&
		!anyMatches(testThirdParty[lib], pkg) && !anyMatches(thirdParty[lib], pkg) {
		return fmt.Sprintf("%s is not for the tests of %s", lib, pkg)
	}
	return ""
}

func faultOfOurs(pkg, inner string, test bool) string {
	may, known := line(house, pkg)
	if !known {
		return "the package has no line in the import map: add one to archtest/imports_test.go"
	}
	if inner == pkg || anyMatches(may, inner) {
		return ""
	}
	if test {
		also, _ := line(testsMayAlso, pkg)
		if anyMatches(testSupport, inner) || anyMatches(also, inner) || strings.HasPrefix(inner, pkg+"/") {
			return ""
		}
	}
	return fmt.Sprintf("%s may import of this module: %s", pkg, words(may))
}

func words(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

// sources calls visit for every Go file of the module.
func sources(fsys fs.FS, visit func(pkg, name string, file *ast.File) error) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "vendor") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(base) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		return visit(path.Dir(name), name, file)
	})
}

// violations walks a module and names everything that the map forbids.
func violations(fsys fs.FS) ([]string, error) {
	var found []string
	err := sources(fsys, func(pkg, name string, file *ast.File) error {
		test := strings.HasSuffix(name, "_test.go")
		if pkg == "." && !test {
			found = append(found, name+": no production code in the root of the module")
		}
		if _, known := line(house, pkg); !known && pkg != "." {
			found = append(found, name+": the package has no line in the import map: add one to archtest/imports_test.go")
			return nil
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if fault := faultOf(pkg, imported, test); fault != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", name, imported, fault))
			}
		}
		if !test && !anyMatches(environmentReaders, pkg) {
			for _, call := range environmentCalls(file) {
				found = append(found, fmt.Sprintf("%s uses %s: only config reads the environment", name, call))
			}
		}
		return nil
	})
	slices.Sort(found)
	return found, err
}

// environmentCalls lists the uses of the environment in a file.
func environmentCalls(file *ast.File) []string {
	var calls []string
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if ok && x.Name == "os" && slices.Contains([]string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Args"}, sel.Sel.Name) {
			calls = append(calls, "os."+sel.Sel.Name)
		}
		return true
	})
	return calls
}

func TestImportMap(t *testing.T) {
	found, err := violations(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
}

// What Capstan is measured against is a module of its own: whoever builds the
// product downloads none of it.
func TestPeersStayOutOfTheModule(t *testing.T) {
	for name, has := range map[string]bool{"go.mod": false, "go.sum": false, "bench/go.mod": true} {
		b, err := os.ReadFile(path.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "riverqueue") != has {
			t.Errorf("%s: names River = %t, want %t", name, !has, has)
		}
	}
}

// The map itself has to be able to fail: one wrong file per rule.
func TestImportMapRefuses(t *testing.T) {
	source := func(imports ...string) string {
		var b strings.Builder
		b.WriteString("package x\n")
		for _, i := range imports {
			fmt.Fprintf(&b, "import _ %q\n", i)
		}
		return b.String()
	}
	ours := func(pkg string) string { return module + "/" + pkg }
	for _, tt := range []struct {
		name, file, source string
		refused            bool
	}{
		{"the product knows no peer", "worker/x.go", source(ours("bench")), true},
		{"nor River", "worker/x.go", source("github.com/riverqueue/river"), true},
		{"a peer uses River", "bench/x.go", source("github.com/riverqueue/river", ours("devstack/meter"), ours("gateway/till")), false},
		{"and no part of the worker", "bench/x.go", source(ours("worker")), true},
		{"the ruler knows nothing of ours", "devstack/meter/x.go", source(ours("models")), true},
		{"the worker knows no api", "worker/x.go", source(ours("api")), true},
		{"the worker knows no enqueuer", "worker/x.go", source(ours("enqueuer")), true},
		{"but its tests do", "worker/x_test.go", source(ours("enqueuer")), false},
		{"the worker uses the store", "worker/x.go", source(ours("store"), ours("gateway"), ours("tasks")), false},
		{"the worker knows no provider", "worker/x.go", source(ours("gateway/stripe")), true},
		{"its tests drive one", "worker/x_test.go", source(ours("gateway/stripe"), ours("gateway/sandbox")), false},
		{"the store knows no gateway", "store/x.go", source(ours("gateway")), true},
		{"the store knows no queue", "store/x.go", source(ours("tasks")), true},
		{"models is at the bottom", "models/x.go", source(ours("tasks")), true},
		{"models uses the standard library", "models/x.go", source("time", "encoding/json"), false},
		{"models uses nothing else", "models/x.go", source("github.com/google/uuid"), true},
		{"a provider knows the port", "gateway/stripe/x.go", source(ours("gateway"), ours("models")), false},
		{"a provider knows no other", "gateway/adyen/x.go", source(ours("gateway/stripe")), true},
		{"the port knows no provider", "gateway/x.go", source(ours("gateway/stripe")), true},
		{"the enqueuer knows no api", "enqueuer/x.go", source(ours("api")), true},
		{"the api uses the enqueuer", "api/x.go", source(ours("enqueuer"), ours("store")), false},
		{"a dialect uses the api", "api/commercelayer/x.go", source(ours("api"), ours("enqueuer")), false},
		{"the api knows no console", "api/x.go", source(ours("console")), true},
		{"nobody below cmd imports config", "worker/x.go", source(ours("config")), true},
		{"cmd wires", "cmd/capstan/x.go", source(ours("config"), ours("gateway/stripe"), ours("devstack"), ours("worker"), "github.com/hibiken/asynq"), false},
		{"cmd is imported by nobody", "api/x.go", source(ours("cmd/capstan")), true},
		{"production starts no servers", "store/x.go", source(ours("devstack")), true},
		{"tests do", "store/x_test.go", source(ours("devstack/devstacktest")), false},
		{"devstack imports nothing of ours", "devstack/x.go", source(ours("models")), true},
		{"bun is for the store", "enqueuer/x.go", source("github.com/uptrace/bun"), true},
		{"bun's dialect too", "api/x.go", source("github.com/uptrace/bun/dialect/pgdialect"), true},
		{"bun in the store", "store/x.go", source("github.com/uptrace/bun"), false},
		{"Asynq is not for the api", "api/x.go", source("github.com/hibiken/asynq"), true},
		{"Asynq in the worker", "worker/x.go", source("github.com/hibiken/asynq"), false},
		{"no mocks", "worker/x_test.go", source("github.com/golang/mock/gomock"), true},
		{"no imitation of Redis in tests", "worker/x_test.go", source("github.com/alicebob/miniredis/v2"), true},
		{"no SDK in production", "gateway/stripe/x.go", source("github.com/stripe/stripe-go/v85"), true},
		{"an SDK in a test", "gateway/sandbox/x_test.go", source("github.com/stripe/stripe-go/v85"), false},
		{"storetest starts servers", "store/storetest/x.go", source(ours("devstack/devstacktest"), "testing"), false},
		{"but no production code imports it", "worker/x.go", source(ours("store/storetest")), true},
		{"testing stays in tests", "store/x.go", source("testing"), true},
		{"flags are read in config", "worker/x.go", source("flag"), true},
		{"the environment is read in config", "worker/x.go", "package x\nimport \"os\"\nvar x = os.Getenv(\"X\")\n", true},
		{"by config itself", "config/x.go", "package x\nimport \"os\"\nvar x = os.Getenv(\"X\")\n", false},
		{"no code in the root", "x.go", source(), true},
		{"a package without a line", "utils/x.go", source(), true},
		{"test data is no package", "worker/testdata/x.go", source(ours("api")), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found, err := violations(fstest.MapFS{tt.file: {Data: []byte(tt.source)}})
			if err != nil {
				t.Fatal(err)
			}
			if refused := len(found) > 0; refused != tt.refused {
				t.Errorf("refused = %t, want %t: %q", refused, tt.refused, found)
			}
		})
	}
}
