package api_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/capstan-pay/capstan/api"
	"github.com/capstan-pay/capstan/gateway"
	"github.com/capstan-pay/capstan/models"
	"github.com/capstan-pay/capstan/store"
)

// hands is a clock that a test moves.
type hands struct {
	mu    sync.Mutex
	later time.Duration
}

func (h *hands) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.later)
}

func (h *hands) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.later += d
}

// door is an API over a ledger with a dialect that says who called: what tokens
// and limits decide is seen in its answers, its log and its tables.
type door struct {
	*world
	clock *hands
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newDoor(t *testing.T, rate api.Rate) *door {
	t.Helper()
	d := &door{world: newWorld(t), clock: &hands{}, log: &lockedBuffer{}}
	whoami := func(w http.ResponseWriter, r *http.Request) error {
		c := api.CallerOf(r.Context())
		api.WriteJSON(w, http.StatusOK, "application/json", map[string]string{"client": c.Client, "name": c.Name, "scope": c.Scope.String(), "mode": string(c.Mode)})
		return nil
	}
	server, err := api.New(api.Config{
		Tokens: []api.Token{{Name: admin, Secret: gateway.Secret(secretOf(admin)), Scope: api.ScopeAdmin, Mode: models.Test}},
		Store:  d.store, Rate: rate, Log: slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Now: d.clock.now,
	}, api.Dialect{Name: "who", Routes: []api.Route{
		{Method: http.MethodGet, Pattern: "/who", Scope: api.ScopeRead, Handle: whoami},
		{Method: http.MethodPost, Pattern: "/who", Scope: api.ScopeOperate, Handle: whoami},
		{Method: http.MethodGet, Pattern: "/other", Scope: api.ScopeRead, Handle: whoami},
	}})
	if err != nil {
		t.Fatal(err)
	}
	d.url = listen(t, server)
	return d
}

// token makes a stored token.
func (d *door) token(t *testing.T, name string, scope api.Scope, mode models.Mode, life time.Duration) (store.AccessToken, string) {
	t.Helper()
	m := api.Mint(mode)
	row, err := d.store.CreateToken(t.Context(), store.AccessToken{ID: m.ID, Hash: m.Hash, Name: name, Scope: scope.String(), Mode: mode, CreatedBy: "test"}, life)
	if err != nil {
		t.Fatal(err)
	}
	return row, m.Secret.Reveal()
}

func (d *door) who(t *testing.T, token string) reply {
	t.Helper()
	return d.send(t, "", http.MethodGet, "/who", "", "Authorization", "Bearer "+token)
}

func TestStoredTokens(t *testing.T) {
	t.Parallel()
	d := newDoor(t, api.Rate{})
	row, token := d.token(t, "shop", api.ScopeOperate, models.Live, time.Hour)
	if !strings.HasPrefix(token, "cap_live_"+row.ID+"_") || row.Family != row.ID || row.Status != "live" {
		t.Errorf("made %+v", row)
	}
	want := map[string]any{"name": "shop", "scope": "operate", "mode": "live", "client": row.ID}
	d.who(t, token).want(t, http.StatusOK, want)
	d.send(t, "", http.MethodGet, "/who", "", "X-API-Key", token).want(t, http.StatusOK, want)
	d.send(t, "", http.MethodGet, "/who", "", "X-API-Key", secretOf(admin)).want(t, http.StatusOK, map[string]any{"name": admin, "scope": "admin"})
	d.send(t, "", http.MethodGet, "/who", "", "X-API-Key", token, "Authorization", "Bearer "+token).want(t, http.StatusUnauthorized, nil)
	d.send(t, "", http.MethodGet, "/who", "", "X-API-Key", "Bearer "+token).want(t, http.StatusUnauthorized, nil)

	last := token[len(token)-1:]
	other := map[bool]string{true: "b", false: "a"}[last == "a"]
	stranger := api.Mint(models.Live).Secret.Reveal()
	for name, wrong := range map[string]string{
		"checksum": token[:len(token)-1] + other, "short": token[:len(token)-1], "unknown": stranger, "upper": strings.ToUpper(token),
		"another's id": "cap_live_" + row.ID + strings.TrimPrefix(stranger, "cap_live_"+strings.Split(stranger, "_")[2]),
		"prefix":       "cap_live_", "id": row.ID, "quoted": `"` + token + `"`, "sql": "cap_live_' OR '1'='1_" + strings.Repeat("a", 59),
	} {
		if r := d.who(t, wrong); r.status != http.StatusUnauthorized || r.at(t, "errors.0.code") != "INVALID_TOKEN" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}

	if _, err := d.store.CreateToken(t.Context(), store.AccessToken{ID: api.Mint("live").ID, Hash: api.Mint("live").Hash, Name: "shop", Scope: "read", Mode: "live", CreatedBy: "test"}, 0); err == nil {
		t.Error("a second live token of one name was made")
	}
	// Its use is written, once a minute.
	used := func() int {
		return d.number(t, `SELECT count(*) FROM access_tokens WHERE id = $1 AND last_used_at IS NOT NULL`, row.ID)
	}
	until(t, "the use to be written", func() bool { return used() == 1 })
	writes := d.number(t, `SELECT xmin::text::bigint FROM access_tokens WHERE id = $1`, row.ID)
	d.who(t, token).want(t, http.StatusOK, nil)
	d.clock.move(11 * time.Second)
	d.who(t, token).want(t, http.StatusOK, nil)
	if again := d.number(t, `SELECT xmin::text::bigint FROM access_tokens WHERE id = $1`, row.ID); again != writes {
		t.Error("its use was written twice in a minute")
	}
	// It ends by itself, within what was remembered of it as well.
	d.sql(t, `UPDATE access_tokens SET expires_at = now() + interval '5 s'`)
	d.clock.move(11 * time.Second)
	d.who(t, token).want(t, http.StatusOK, nil)
	d.clock.move(6 * time.Second)
	d.who(t, token).want(t, http.StatusUnauthorized, nil)
}

// A revocation counts within ten seconds, for what was granted as well.
func TestRevocation(t *testing.T) {
	t.Parallel()
	d := newDoor(t, api.Rate{})
	row, token := d.token(t, "shop", api.ScopeRead, models.Test, 0)
	granted := d.grant(t, row.ID, token, "").want(t, http.StatusOK, nil).at(t, "access_token").(string)
	d.who(t, token).want(t, http.StatusOK, nil)
	d.who(t, granted).want(t, http.StatusOK, nil)
	for range 2 {
		if gone, err := d.store.RevokeToken(t.Context(), row.ID, "operator"); err != nil || gone.Status != "revoked" || *gone.RevokedBy != "operator" {
			t.Fatalf("%+v, %v", gone, err)
		}
	}
	d.clock.move(10 * time.Second)
	d.who(t, token).want(t, http.StatusUnauthorized, nil)
	d.who(t, granted).want(t, http.StatusUnauthorized, nil)
	d.grant(t, row.ID, token, "").want(t, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
	if _, err := d.store.RotateToken(t.Context(), row.ID, store.AccessToken{ID: api.Mint("test").ID, Hash: api.Mint("test").Hash, CreatedBy: "x"}, 0); err == nil {
		t.Error("a revoked token was rotated")
	}
	d.token(t, "shop", api.ScopeRead, models.Test, 0) // its name is free
}

// Both secrets are valid while a rotation lasts, and are one client.
func TestRotation(t *testing.T) {
	t.Parallel()
	d := newDoor(t, api.Rate{})
	row, token := d.token(t, "shop", api.ScopeOperate, models.Test, 0)
	next := api.Mint(models.Test)
	made, err := d.store.RotateToken(t.Context(), row.ID, store.AccessToken{ID: next.ID, Hash: next.Hash, CreatedBy: "test"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if made.ID != next.ID || made.Name != "shop" || made.Scope != "operate" || made.Mode != models.Test || made.ExpiresAt != nil {
		t.Errorf("made %+v", made)
	}
	old, err := d.store.Token(t.Context(), row.ID)
	if err != nil || old.Status != "replaced" || old.ReplacedBy == nil || *old.ReplacedBy != next.ID {
		t.Errorf("the old one is %+v, %v", old, err)
	}
	for _, one := range []string{token, next.Secret.Reveal()} {
		d.who(t, one).want(t, http.StatusOK, map[string]any{"client": row.ID, "name": "shop"})
	}
	if left := time.Until(*old.ExpiresAt); left > time.Hour || left < 50*time.Minute {
		t.Errorf("the old one ends in %s", left)
	}
	d.sql(t, `UPDATE access_tokens SET expires_at = now() WHERE expires_at IS NOT NULL`)
	d.clock.move(11 * time.Second)
	d.who(t, token).want(t, http.StatusUnauthorized, nil)
	d.who(t, next.Secret.Reveal()).want(t, http.StatusOK, nil)
}

// grant asks for a token with a form.
func (d *door) grant(t *testing.T, id, secret, scope string) reply {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return d.send(t, "", http.MethodPost, "/oauth/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	d := newDoor(t, api.Rate{})
	row, token := d.token(t, "shop", api.ScopeOperate, models.Live, 0)
	before := time.Now().Unix()
	r := d.grant(t, row.ID, token, "market:all").want(t, http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": "14400", "scope": "operate", "identifier": "client_credentials",
	})
	var answer struct {
		AccessToken string `json:"access_token"`
		Expires     int64  `json:"expires"`
		CreatedAt   int64  `json:"created_at"`
	}
	if err := json.Unmarshal(r.body, &answer); err != nil || answer.CreatedAt < before || answer.Expires != answer.CreatedAt+14400 {
		t.Errorf("%+v, %v", answer, err)
	}
	d.who(t, answer.AccessToken).want(t, http.StatusOK, map[string]any{"name": "shop", "client": row.ID, "scope": "operate", "mode": "live"})

	// The other path, JSON, less than its own scope, and a configured token as client.
	r = d.send(t, "", http.MethodPost, "/oauth/access_token", fmt.Sprintf(`{"grant_type":"client_credentials","client_id":%q,"client_secret":%q,"scope":"read"}`, row.ID, token),
		"Content-Type", "application/json").want(t, http.StatusOK, map[string]any{"scope": "read"})
	less := r.at(t, "access_token").(string)
	d.who(t, less).want(t, http.StatusOK, map[string]any{"scope": "read"})
	if r := d.send(t, "", http.MethodPost, "/who", "", "Authorization", "Bearer "+less); r.status != http.StatusForbidden {
		t.Errorf("scope read posted: %d", r.status)
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(admin+":"+secretOf(admin)))
	r = d.send(t, "", http.MethodPost, "/oauth/token", "grant_type=client_credentials", "Content-Type", "application/x-www-form-urlencoded", "Authorization", basic)
	d.who(t, r.want(t, http.StatusOK, nil).at(t, "access_token").(string)).want(t, http.StatusOK, map[string]any{"name": admin, "scope": "admin"})

	// What is not ours.
	parts := strings.Split(answer.AccessToken, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	more := base64.RawURLEncoding.EncodeToString(bytes.Replace(payload, []byte(`"operate"`), []byte(`"admin"`), 1))
	for _, wrong := range []string{
		parts[0] + "." + more + "." + parts[2], none + "." + parts[1] + ".", none + "." + parts[1] + "." + parts[2], parts[0] + "." + parts[1] + ".", answer.AccessToken + "x", "..", ".",
	} {
		d.who(t, wrong).want(t, http.StatusUnauthorized, nil)
	}
	d.clock.move(4*time.Hour - time.Minute)
	d.who(t, answer.AccessToken).want(t, http.StatusOK, nil)
	d.clock.move(time.Minute)
	d.who(t, answer.AccessToken).want(t, http.StatusUnauthorized, nil)
}

func TestClientCredentialsRefused(t *testing.T) {
	t.Parallel()
	d := newDoor(t, api.Rate{})
	row, token := d.token(t, "shop", api.ScopeRead, models.Test, 0)
	form := "application/x-www-form-urlencoded"
	for _, one := range []struct {
		name, kind, body string
		status           int
		code             string
	}{
		{"no body", form, "", 400, "unsupported_grant_type"},
		{"another grant", form, "grant_type=password", 400, "unsupported_grant_type"},
		{"nobody", form, "grant_type=client_credentials", 401, "invalid_client"},
		{"wrong id", form, "grant_type=client_credentials&client_id=x&client_secret=" + token, 401, "invalid_client"},
		{"wrong secret", form, "grant_type=client_credentials&client_id=" + row.ID + "&client_secret=" + token + "x", 401, "invalid_client"},
		{"configured, wrong id", form, "grant_type=client_credentials&client_id=x&client_secret=" + secretOf(admin), 401, "invalid_client"},
		{"too much", form, "grant_type=client_credentials&scope=admin&client_id=" + row.ID + "&client_secret=" + token, 400, "invalid_scope"},
		{"not JSON", "application/json", "{", 400, "invalid_request"},
		{"not a form", form, "%zz", 400, "invalid_request"},
		{"text", "text/plain", "x", 415, "invalid_request"},
		{"long", form, "a=" + strings.Repeat("x", 9<<10), 413, "payload_too_large"},
	} {
		r := d.send(t, "", http.MethodPost, "/oauth/token", one.body, "Content-Type", one.kind)
		if r.status != one.status || r.at(t, "error") != one.code || r.at(t, "errors.0.status") != fmt.Sprint(one.status) {
			t.Errorf("%s: %d %s", one.name, r.status, r.body)
		}
	}
	for i := range 40 { // thirty a minute, whoever asks from there
		r := d.grant(t, row.ID, token, "")
		if r.status == http.StatusTooManyRequests {
			if r.header.Get("Retry-After") == "" || r.header.Get("X-Ratelimit-Limit") != "30" || r.header.Get("X-Ratelimit-Interval") != "60" || i < 18 {
				t.Errorf("after %d more: %v", i, r.header)
			}
			return
		}
	}
	t.Error("nothing was refused")
}

func TestRates(t *testing.T) {
	t.Parallel()
	d := newDoor(t, api.Rate{Test: api.Window{Requests: 5, Interval: time.Minute}, TestPath: api.Window{Requests: 3, Interval: 10 * time.Second}})
	get := func(path string) reply { return d.send(t, admin, http.MethodGet, path, "") }
	headers := func(r reply) string {
		return fmt.Sprint(r.status, " ", r.header.Get("X-Ratelimit-Limit"), " ", r.header.Get("X-Ratelimit-Interval"), " ", r.header.Get("X-Ratelimit-Remaining"))
	}
	for i, want := range []string{"200 3 10 2", "200 3 10 1", "200 3 10 0", "429 3 10 0"} {
		r := get("/who")
		if headers(r) != want {
			t.Errorf("request %d: %s, want %s", i, headers(r), want)
		}
		if (r.status == http.StatusTooManyRequests) != (r.header.Get("Retry-After") != "") {
			t.Errorf("request %d: Retry-After %q", i, r.header.Get("Retry-After"))
		}
	}
	if r := get("/other"); headers(r) != "200 5 60 0" {
		t.Errorf("another path: %s", headers(r))
	}
	if r := get("/other"); headers(r) != "429 5 60 0" {
		t.Errorf("all of them: %s", headers(r))
	}
	_, token := d.token(t, "shop", api.ScopeRead, models.Test, 0)
	d.who(t, token).want(t, http.StatusOK, nil) // another's
	_, live := d.token(t, "shop", api.ScopeRead, models.Live, 0)
	if r := d.who(t, live).want(t, http.StatusOK, nil); r.header.Get("X-Ratelimit-Limit") != "" {
		t.Errorf("no limit was set: %v", r.header)
	}
	d.clock.move(2 * time.Minute)
	get("/who").want(t, http.StatusOK, nil)
	if p := api.CommerceLayerRate(); p.Live.Requests != 200 || p.LivePath.Requests != 50 || p.Test.Requests != 100 || p.TestPath.Requests != 25 {
		t.Errorf("%+v", p)
	}
}

// TestNoSecretIsKept: after everything that can be done with secrets, none of them
// is in a table or in the log.
func TestNoSecretIsKept(t *testing.T) {
	t.Parallel()
	d := newDoor(t, api.RateOf(1000))
	row, token := d.token(t, "shop", api.ScopeOperate, models.Test, 0)
	granted := d.grant(t, row.ID, token, "").want(t, http.StatusOK, nil).at(t, "access_token").(string)
	d.send(t, "", http.MethodPost, "/oauth/token", `{"client_secret":"`+token, "Content-Type", "application/json", "Idempotency-Key", "a")
	d.send(t, "", http.MethodPost, "/oauth/token", "grant_type=client_credentials&client_id="+row.ID+"&client_secret="+token, "Content-Type", "application/x-www-form-urlencoded", "Idempotency-Key", "b").want(t, http.StatusOK, nil)
	for _, one := range []string{token, granted, secretOf(admin)} {
		for _, headers := range [][]string{{"Authorization", "Bearer " + one}, {"X-API-Key", one}} {
			d.send(t, "", http.MethodPost, "/who", `{"note":"`+one+`"}`, append(headers, "Idempotency-Key", "key "+one[len(one)-4:]+headers[0])...).want(t, http.StatusOK, nil)
			d.send(t, "", http.MethodPost, "/nowhere", `{"note":"`+one+`"}`, headers...).want(t, http.StatusNotFound, nil)
		}
		d.who(t, one+"x").want(t, http.StatusUnauthorized, nil)
	}
	if n := d.number(t, `SELECT count(*) FROM api_requests WHERE finished_at IS NOT NULL`); n != 6 {
		t.Errorf("%d answers were kept, want 6", n)
	}
	written := d.log.String() + "\n" + d.dump(t)
	for name, secret := range map[string]string{"token": token, "granted token": granted, "its signature": strings.Split(granted, ".")[2], "configured token": secretOf(admin), "secret part": strings.Split(token, "_")[3]} {
		if strings.Contains(written, secret) {
			t.Errorf("the %s is in the log or in a table", name)
		}
	}
	if !strings.Contains(written, row.ID) {
		t.Error("the dump has not even the token's id")
	}
}

// dump is every row of every table, as text.
func (w *world) dump(t *testing.T) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), w.databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`)
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, table := range tables {
		if _, err := conn.PgConn().CopyTo(t.Context(), &all, "COPY "+pgx.Identifier{table}.Sanitize()+" TO STDOUT"); err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
