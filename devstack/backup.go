package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Backup is a copy of a Postgres as pg_basebackup takes it from a running one:
// what the drill of a restore begins with. It is for one Restore.
type Backup struct {
	into *Stack // holds the copy; started by Restore
	wal  string // where the copied server writes its log
}

// BackupPostgres copies the running Postgres. From here on it keeps its whole
// write-ahead log, so that the copy can be brought up to any later moment. The
// copy is removed by Discard, or by the Stop of the stack that Restore returns.
func (s *Stack) BackupPostgres(ctx context.Context) (*Backup, error) {
	s.mu.Lock()
	p, bin := s.postgres, s.binaries
	s.mu.Unlock()
	if p == nil || p.child == nil {
		return nil, errors.New("back up Postgres: it is not a child of this stack, or does not run")
	}
	if err := keepLog(ctx, p.port); err != nil {
		return nil, err
	}
	b := &Backup{
		into: &Stack{log: s.log, failed: make(chan error, 2), account: s.account, binaries: bin},
		wal:  filepath.Join(clusterDir(s.Dir), "pg_wal"),
	}
	if err := b.into.takeDir(ctx, Options{}); err != nil {
		return nil, err
	}
	if err := b.copy(ctx, p.port); err != nil {
		return nil, errors.Join(err, b.Discard(ctx))
	}
	return b, nil
}

func (b *Backup) copy(ctx context.Context, port int) error {
	data := clusterDir(b.into.Dir)
	if err := os.Mkdir(data, 0o700); err != nil {
		return fmt.Errorf("make the directory of the backup: %w", err)
	}
	if err := b.into.account.own(data); err != nil {
		return fmt.Errorf("make the directory of the backup: %w", err)
	}
	args := []string{"-D", data, "-h", loopback, "-p", strconv.Itoa(port), "-U", databaseUser, "-X", "stream", "-c", "fast", "--no-sync"}
	take := command{path: b.into.binaries.path("pg_basebackup"), args: args, dir: data, account: b.into.account, death: sigTerm, lock: b.into.lock}
	if _, err := take.run(ctx); err != nil {
		return fmt.Errorf("back up the cluster into %s: %w", data, err)
	}
	return nil
}

// keepLog has the server on port throw no part of its write-ahead log away.
func keepLog(ctx context.Context, port int) (err error) {
	conn, err := pgx.Connect(ctx, databaseURL(port, "postgres"))
	if err != nil {
		return fmt.Errorf("connect to the PostgreSQL to back up: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	for _, sql := range []string{"ALTER SYSTEM SET wal_keep_size = '8GB'", "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("have PostgreSQL keep its write-ahead log: %w", err)
		}
	}
	return nil
}

// Restore starts the copy as a server of its own, recovers it to the restore
// point of that name (pg_create_restore_point), and promotes it: from there on
// it writes another timeline. The server it was taken from may run or be dead;
// its data directory must be there. No Redis is started.
func (b *Backup) Restore(ctx context.Context, point string) (*Stack, error) {
	s := b.into
	if err := b.target(point); err != nil {
		return nil, errors.Join(err, b.Discard(ctx))
	}
	if err := s.firstPostgres(ctx, s.binaries); err != nil {
		return nil, errors.Join(fmt.Errorf("restore to %s: %w", point, err), b.Discard(ctx))
	}
	return s, nil
}

// target writes how far to recover, and whence.
func (b *Backup) target(point string) error {
	data, quote := clusterDir(b.into.Dir), func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	settings := "\nrestore_command = " + quote(`cp "`+b.wal+`/%f" "%p"`) +
		"\nrecovery_target_name = " + quote(point) + "\nrecovery_target_action = 'promote'" +
		"\nhot_standby = off\n" // ready means promoted
	auto, err := os.OpenFile(filepath.Join(data, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write how far to recover: %w", err)
	}
	_, err = auto.WriteString(settings)
	if err = errors.Join(err, auto.Close()); err != nil {
		return fmt.Errorf("write how far to recover: %w", err)
	}
	signal := filepath.Join(data, "recovery.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		return fmt.Errorf("write how far to recover: %w", err)
	}
	return b.into.account.own(signal)
}

// Discard removes a backup that nobody will restore.
func (b *Backup) Discard(ctx context.Context) error { return b.into.Stop(ctx) }
