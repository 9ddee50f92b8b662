package cli

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// finish runs a command to its end and returns what it wrote.
func finish(t *testing.T, environ []string, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, log strings.Builder
	if code := Run(t.Context(), args, System{Stdout: &out, Stderr: &log, Environ: environ}); code != want {
		t.Errorf("%q: exit code %d, want %d; it said:\n%s", args, code, want, &log)
	}
	return out.String(), log.String()
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, args     string // separated by blanks
		exit           int
		stdout, stderr string // parts
	}{
		{"help", "--help", 0, "--listen-addr", ""},
		{"help command", "help", 0, "Available Commands", ""},
		{"help about a command", "help seed", 0, "--products number", ""},
		{"help about nothing", "help nothing", 2, "", `unknown command "nothing"`},
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
		{"evict nothing", "evict", 2, "", "user:42"},
		{"explain's help", "explain --help", 0, "[EXPLAIN_VARIABLES]", ""},
		{"explain nothing", "explain", 2, "", "accepts 1 arg"},
		{"explain no file", "explain nothing.graphql", 1, "", "neither a document"},
		{"explain with bad variables", "explain {x} --variables 7", 2, "", "no JSON object"},
		{"top's help", "top --help", 0, "until q is pressed", ""},
		{"top without a server", "top --admin-addr 127.0.0.1:1", 1, "", "does a server run there?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr := finish(t, nil, tt.exit, strings.Fields(tt.args)...)
			if !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) || (tt.exit == 0) != (stderr == "") {
				t.Errorf("wrote %q and said %q, want %q and %q", stdout, stderr, tt.stdout, tt.stderr)
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
		t.Errorf("said %q", stderr)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }))
	t.Cleanup(other.Close)
	if _, stderr := finish(t, []string{"ADMIN_ADDR=" + strings.TrimPrefix(other.URL, "http://")}, 1, "evict", "user:42"); !strings.Contains(stderr, "is not a fieldcache server") {
		t.Errorf("said %q", stderr)
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
			t.Errorf("%v wrote %q (%s), want %q", args, stdout, stderr, want)
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
