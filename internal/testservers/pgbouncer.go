package testservers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// PgBouncer starts a PgBouncer for this test alone, in front of the server of a PostgreSQL URL. Its
// URL names the same database. Settings, such as "pool_mode=transaction", are added to the
// defaults.
func PgBouncer(t testing.TB, server string, settings ...string) *Server {
	t.Helper()
	return newServer(t, func(h *home) (*process, error) { return startPgBouncer(h, server, settings) }, syscall.SIGTERM)
}

func startPgBouncer(h *home, server string, settings []string) (*process, error) {
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			return nil, errors.New("pgbouncer is not in PATH: install the package pgbouncer, or run `make test`, which does")
		}
	}
	behind, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("the server's URL: %w", err)
	}
	dir, err := h.newDir("pgbouncer")
	if err != nil {
		return nil, err
	}
	p := &process{home: h, kind: "pgbouncer", dir: dir, answers: pgBouncerAnswers}
	file := filepath.Join(dir, "pgbouncer.ini")
	var failure error
	err = p.startOnFreePort(func(port int) (string, []string) {
		database := fmt.Sprintf("host=%s port=%s user=%s", behind.Hostname(), behind.Port(), behind.User.Username())
		if password, ok := behind.User.Password(); ok {
			database += " password=" + password
		}
		text := "[databases]\n* = " + database + "\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = " + strconv.Itoa(port) +
			"\nunix_socket_dir =\nauth_type = any\n" + strings.Join(settings, "\n") + "\n"
		failure = errors.Join(os.WriteFile(file, []byte(text), 0o600), h.own(file))
		through := *behind
		through.Host = "127.0.0.1:" + strconv.Itoa(port)
		return through.String(), []string{program, file}
	})
	return p, errors.Join(failure, err)
}

// pgBouncerAnswers succeeds once a statement succeeds.
func pgBouncerAnswers(ctx context.Context, p *process) error {
	config, err := pgx.ParseConfig(p.url)
	if err != nil {
		return err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "SELECT 1")
	return errors.Join(err, conn.Close(ctx))
}
