package cli

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fieldcache/cache/outbox"
	"fieldcache/internal/testservers"
)

func TestMain(m *testing.M) { testservers.Main(m) }

// finish runs a command until it exits, checks the exit code, and returns the output.
func finish(t *testing.T, environ []string, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	return finishWith(t, System{Environ: environ}, want, args...)
}

// finishWith is finish with a System of the test.
func finishWith(t *testing.T, sys System, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, log strings.Builder
	sys.Stdout, sys.Stderr = &out, &log
	if code := Run(t.Context(), args, sys); code != want {
		t.Errorf("%q: exit code %d, want %d; stderr:\n%s", args, code, want, &log)
	}
	return out.String(), log.String()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, args     string // separated by spaces
		exit           int
		stdout, stderr string // parts
	}{
		{"help", "--help", 0, "--listen-addr", ""},
		{"help command", "help", 0, "Available Commands", ""},
		{"help about a command", "help seed", 0, "--products number", ""},
		{"help about an unknown command", "help nothing", 2, "", `unknown command "nothing"`},
		{"serve's help", "serve --help", 0, "[REDIS_URL]", ""},
		{"migrate's help", "migrate --help", 0, "up|down|status", ""},
		{"token's help", "token --help", 0, "[TOKEN_TTL] (default 1h)", ""},
		{"evict's help", "evict --help", 0, "evict user:42", ""},
		{"version", "version", 0, "fieldcache ", ""},
		{"variables", "variables", 0, "| `MEMORY_BYTES` | `256MiB` |", ""},
		{"unknown command", "bogus", 2, "", `unknown command "bogus"`},
		{"nearly a command", "sreve", 2, "", "serve"},
		{"unknown flag", "--bogus", 2, "", "unknown flag: --bogus"},
		{"nearly a flag", "serve --redis-timout 1s", 2, "", "did you mean --redis-timeout?"},
		{"flag without its value", "--listen-addr", 2, "", "--listen-addr"},
		{"bad flag", "--max-depth x", 2, "", `MAX_DEPTH="x": not a whole number; allowed: 1 to 1000`},
		{"another command's flag", "token --listen-addr :80", 2, "", "unknown flag: --listen-addr"},
		{"word too many", "serve now", 2, "", "now"},
		{"migrate nowhere", "migrate", 2, "", "up, down, status"},
		{"migrate sideways", "migrate sideways", 2, "", "up, down, status"},
		{"token without a secret", "token --user 42", 2, "", "JWT_SECRET"},
		{"evict without arguments", "evict", 2, "", "user:42"},
		{"explain's help", "explain --help", 0, "[EXPLAIN_VARIABLES]", ""},
		{"explain without arguments", "explain", 2, "", "accepts 1 arg"},
		{"explain no file", "explain nothing.graphql", 1, "", "neither an existing file nor a document"},
		{"explain with bad variables", "explain {x} --variables 7", 2, "", "not a JSON object"},
		{"top's help", "top --help", 0, "until q is pressed", ""},
		{"top without a server", "top --admin-addr 127.0.0.1:1", 1, "", "is the server running?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr := finish(t, nil, tt.exit, strings.Fields(tt.args)...)
			if !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) || (tt.exit == 0) != (stderr == "") {
				t.Errorf("got stdout %q and stderr %q, want %q and %q in them", stdout, stderr, tt.stdout, tt.stderr)
			}
		})
	}
}

func TestCommandEvictWithoutServer(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if _, stderr := finish(t, []string{"ADMIN_ADDR=" + closed.Addr().String()}, 1, "evict", "user:42"); !strings.Contains(stderr, "no server responds at ADMIN_ADDR=") {
		t.Errorf("got stderr %q", stderr)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }))
	t.Cleanup(other.Close)
	if _, stderr := finish(t, []string{"ADMIN_ADDR=" + strings.TrimPrefix(other.URL, "http://")}, 1, "evict", "user:42"); !strings.Contains(stderr, "is not a fieldcache server") {
		t.Errorf("got stderr %q", stderr)
	}
}

func TestDialable(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		":8081": "localhost:8081", "0.0.0.0:8081": "localhost:8081", "[::]:8081": "localhost:8081",
		"127.0.0.1:8081": "127.0.0.1:8081", "gateway:8081": "gateway:8081",
	} {
		if got := dialable(addr); got != want {
			t.Errorf("dialable(%s) = %s, want %s", addr, got, want)
		}
	}
}

func TestCommandMigrateAndSeed(t *testing.T) {
	t.Parallel()
	environ := []string{"DATABASE_URL=sqlite://" + t.TempDir() + "/shop.db"}
	step := func(want string, args ...string) {
		t.Helper()
		if stdout, stderr := finish(t, environ, 0, args...); !strings.Contains(stdout, want) {
			t.Errorf("%v printed %q (%s), want %q in it", args, stdout, stderr, want)
		}
	}
	step("not applied", "migrate", "status")
	step("applied 0001", "migrate", "up")
	step("nothing to do", "migrate", "up")
	step("  applied ", "migrate", "status")
	step("30 users, 20 products, 40 reviews and 10 orders", "seed", "--users", "30", "--products", "20", "--reviews", "40", "--orders", "10", "--seed", "7")
	step("reverted 0002_outbox, 0001_shop", "migrate", "down")
	step("nothing to do", "migrate", "down")
}

// A release whose schema depends on more rows, other columns or fewer rows needs other triggers.
// `migrate status` lists them, and `migrate up` installs them.
func TestCommandMigrateStatusAfterASchemaChange(t *testing.T) {
	t.Parallel()
	for name, url := range map[string]string{"PostgreSQL": testservers.Postgres(t), "SQLite": "sqlite://" + t.TempDir() + "/shop.db"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := func(op, table string) string { return "trigger cache_outbox_" + table + "_" + op + " " }
			if name == "PostgreSQL" {
				on = func(op, table string) string { return "trigger cache_outbox_" + op + " ON " + table + " " }
			}
			reviews := outbox.Rows{Table: "reviews", Match: []string{"product_id"}, Columns: []string{"rating"}}
			users := outbox.Rows{Table: "users", Own: true}
			status := func(rows []outbox.Rows, want ...string) {
				t.Helper()
				sys := System{Environ: []string{"DATABASE_URL=" + url}, Rows: func() ([]outbox.Rows, error) { return rows, nil }}
				stdout, _ := finishWith(t, sys, 0, "migrate", "status")
				for _, w := range want {
					if !strings.Contains(stdout, "\n    migrate up fixes: "+w) {
						t.Errorf("status of %v:\n%swant %q", rows, stdout, w)
					}
				}
				if len(want) == 0 && strings.Contains(stdout, "migrate up fixes") {
					t.Errorf("status of %v before anything changed:\n%s", rows, stdout)
				}
			}
			up := func(rows []outbox.Rows, want string) {
				t.Helper()
				sys := System{Environ: []string{"DATABASE_URL=" + url}, Rows: func() ([]outbox.Rows, error) { return rows, nil }}
				if stdout, _ := finishWith(t, sys, 0, "migrate", "up"); !strings.Contains(stdout, want) {
					t.Errorf("up of %v:\n%swant %q", rows, stdout, want)
				}
				status(rows)
			}
			first := []outbox.Rows{reviews}
			up(first, "applied 0001_shop, 0002_outbox")

			more := []outbox.Rows{reviews, users}
			status(more, on("insert", "users")+"is missing", on("update", "users")+"is missing", on("delete", "users")+"is missing")
			up(more, "applied 0002_outbox")

			reviews.Columns = []string{"rating", "author_id"}
			others := []outbox.Rows{reviews, users}
			status(others, on("update", "reviews")+"is of another release, or was changed")
			up(others, "applied 0002_outbox")

			fewer := []outbox.Rows{reviews}
			status(fewer, on("update", "users")+"is no longer needed")
			up(fewer, "applied 0002_outbox")
			up(fewer, "nothing to do")
		})
	}
}
