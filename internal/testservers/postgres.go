package testservers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Postgres returns the URL of an empty database for this test. The database is dropped after the
// test, together with connections that are still open.
func Postgres(t testing.TB) string {
	t.Helper()
	return newDatabase(t, "template0")
}

// PostgresFrom is like [Postgres], but the database is a copy of one that prepare filled: large
// sets of rows are created once for each process and name. Calls with the same name must mean the
// same content. It needs [Main].
func PostgresFrom(t testing.TB, name string, prepare func(url string) error) string {
	t.Helper()
	shared.mu.Lock()
	if !shared.hasMain {
		shared.mu.Unlock()
		t.Fatal("testservers: PostgresFrom needs func TestMain(m *testing.M) { testservers.Main(m) } in the package's tests")
	}
	template, ok := shared.templates[name]
	if !ok {
		template = sync.OnceValues(func() (string, error) { return newTemplate(prepare) })
		shared.templates[name] = template
	}
	shared.mu.Unlock()
	database, err := template()
	if err != nil {
		t.Fatalf("testservers: prepare database %s: %v", name, err)
	}
	return newDatabase(t, database)
}

// newDatabase copies a template database for one test.
func newDatabase(t testing.TB, template string) string {
	t.Helper()
	server, err := shared.postgres()
	if err != nil {
		t.Fatal("testservers:", err)
	}
	name, url, err := createDatabase(server, template)
	if err != nil {
		t.Fatal("testservers:", err)
	}
	t.Cleanup(func() {
		if err := dropDatabase(server, name); err != nil {
			t.Error("testservers:", err)
		}
	})
	return url
}

// newTemplate creates a database, fills it and closes it to connections: a database with
// connections cannot be copied.
func newTemplate(prepare func(url string) error) (string, error) {
	server, err := shared.postgres()
	if err != nil {
		return "", err
	}
	name, url, err := createDatabase(server, "template0")
	if err != nil {
		return "", err
	}
	shared.atEnd(func() error { return dropDatabase(server, name) })
	if err := prepare(url); err != nil {
		return "", err
	}
	return name, execute(server,
		"ALTER DATABASE "+name+" ALLOW_CONNECTIONS false",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
}

// createDatabase returns the name and the URL of a new database.
func createDatabase(server, template string) (name, address string, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", "", fmt.Errorf("TEST_DATABASE_URL is not a URL: %w", err)
	}
	name = "fieldcache_test_" + strings.ToLower(rand.Text())
	u.Path = "/" + name
	err = session(server, func(ctx context.Context, conn *pgx.Conn) error {
		statement := "CREATE DATABASE " + name + " TEMPLATE " + template
		version, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
		if major, err := strconv.Atoi(version); err == nil && major >= 15 {
			// Since version 15 the default is to log every page, which is several times slower.
			statement += " STRATEGY FILE_COPY"
		}
		_, err := conn.Exec(ctx, statement)
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("create a database: %w", err)
	}
	return name, u.String(), nil
}

func dropDatabase(server, name string) error {
	return execute(server, "DROP DATABASE "+name+" WITH (FORCE)")
}

// execute runs statements in order.
func execute(server string, statements ...string) error {
	return session(server, func(ctx context.Context, conn *pgx.Conn) error {
		for _, s := range statements {
			if _, err := conn.Exec(ctx, s); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	})
}

// queryRow reads the single value of a statement.
func queryRow(server, statement string, value any) error {
	return session(server, func(ctx context.Context, conn *pgx.Conn) error {
		return conn.QueryRow(ctx, statement).Scan(value)
	})
}

// session calls use with a new connection.
func session(server string, use func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	return errors.Join(use(ctx, conn), conn.Close(ctx))
}

// startPostgres creates a database cluster and starts a server on it that trusts everyone on this
// machine and never waits for the disk.
func startPostgres(h *home) (*process, error) {
	return startPostgresWith(h, "max_wal_senders=0", "wal_level=minimal")
}

// startPostgresWith is startPostgres with more settings, each "name=value".
func startPostgresWith(h *home, settings ...string) (*process, error) {
	bin, err := postgresPrograms()
	if err != nil {
		return nil, err
	}
	dir, err := h.newDir("postgres")
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	initdb := h.command(dir, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	p := &process{home: h, kind: "postgres", dir: dir, answers: postgresAnswers}
	return p, p.startPostgres(bin, data, settings...)
}

// startPostgres starts the server of a database cluster.
func (p *process) startPostgres(bin, data string, settings ...string) error {
	return p.startOnFreePort(func(port int) (string, []string) {
		argv := []string{filepath.Join(bin, "postgres"), "-D", data}
		for _, setting := range append([]string{
			"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(port), "unix_socket_directories=",
			"max_connections=200", "shared_buffers=64MB",
			"fsync=off", "synchronous_commit=off", "full_page_writes=off",
			"shared_preload_libraries=" + statementStatistics(bin),
		}, settings...) {
			argv = append(argv, "-c", setting)
		}
		return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port), argv
	})
}

// postgresAnswers succeeds if the server at p's URL has p's data.
func postgresAnswers(ctx context.Context, p *process) error {
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var data string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&data); err != nil {
		return err
	}
	if filepath.Dir(data) != p.dir {
		return errors.New("another server has the port")
	}
	return nil
}

// postgresPrograms returns the folder with initdb and postgres. Debian does not have them in PATH,
// but in one folder per version.
func postgresPrograms() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return "", fmt.Errorf("find PostgreSQL: %w", err)
		}
		return filepath.Dir(path), nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", fmt.Errorf("find PostgreSQL: %w", err)
	}
	newest, best := 0, ""
	for _, path := range found {
		bin := filepath.Dir(path)
		if version, err := strconv.Atoi(filepath.Base(filepath.Dir(bin))); err == nil && version > newest {
			newest, best = version, bin
		}
	}
	if best == "" {
		return "", errors.New("PostgreSQL's initdb is neither in PATH nor in /usr/lib/postgresql/*/bin: " +
			"install the package postgresql, or run `make test`, which does")
	}
	return best, nil
}

// statementStatistics returns the library pg_stat_statements, or "" if it is not installed: a
// server with a missing library does not start.
func statementStatistics(bin string) string {
	lib := filepath.Join(bin, "..", "lib")
	for _, dir := range []string{lib, filepath.Join(lib, "postgresql")} {
		if _, err := os.Stat(filepath.Join(dir, "pg_stat_statements.so")); err == nil {
			return "pg_stat_statements"
		}
	}
	return ""
}
