package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fieldcache/graph"
)

// finish runs a command to its end and returns what it wrote.
func finish(t *testing.T, environ []string, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	p := launch(t, nil, environ, args...)
	p.wantExit(t, want)
	return p.stdout.String(), p.stderr.String()
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

func TestCommandToken(t *testing.T) {
	t.Parallel()
	a := newTestAuthenticator(t, Config{JWTSecret: testSecret})
	token, _ := finish(t, []string{"JWT_SECRET=" + testSecret}, 0, "token", "--user", "42", "--role", "admin", "--ttl", "10m")
	if w, viewer := ask(a, "Bearer "+strings.TrimSpace(token)); viewer == nil || *viewer != (graph.Viewer{ID: 42, Admin: true}) {
		t.Errorf("viewer of %s = %+v: %s", token, viewer, w.Body)
	}
	token, _ = finish(t, []string{"JWT_SECRET=" + testSecret, "TOKEN_USER=7"}, 0, "token")
	if w, viewer := ask(a, "Bearer "+strings.TrimSpace(token)); viewer == nil || *viewer != (graph.Viewer{ID: 7}) {
		t.Errorf("viewer of %s = %+v: %s", token, viewer, w.Body)
	}
}

func TestCommandEvict(t *testing.T) {
	t.Parallel()
	a, cache := newTestAdmin(), &fakeEvictor{n: 5}
	a.evictor = cache
	server := httptest.NewServer(a.handler())
	t.Cleanup(server.Close)
	addr := "ADMIN_ADDR=" + strings.TrimPrefix(server.URL, "http://")
	stdout, _ := finish(t, []string{addr}, 0, "evict", "user:42", "product:7", "--type", "Product,User", "--type", "Order", "--tag", "users")
	if want := "[user:42 product:7] [Product User Order] [users]"; cache.got != want || stdout != "evicted: 5 keys that were there, 3 types, 1 tags\n" {
		t.Errorf("the cache was told %s, want %s; wrote %q", cache.got, want, stdout)
	}
	if _, stderr := finish(t, []string{addr}, 1, "evict", " "); !strings.Contains(stderr, "status 400") || !strings.Contains(stderr, "names nothing") {
		t.Errorf("for a bad key it said %q", stderr)
	}
}

func TestCommandEvictWithoutServer(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	if _, stderr := finish(t, []string{"ADMIN_ADDR=" + closed.Addr().String()}, 1, "evict", "user:42"); !strings.Contains(stderr, "no server answers at ADMIN_ADDR=") {
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
	step("taken back 0002_outbox, 0001_shop", "migrate", "down")
	step("nothing to do", "migrate", "down")
}
