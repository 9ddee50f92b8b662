package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/db"
	"fieldcache/internal/cli"
	"fieldcache/internal/config"
	"fieldcache/internal/serve"
	"fieldcache/internal/testservers"
)

func TestMain(m *testing.M) { testservers.Main(m) }

// patience limits every wait of a test. Only a failure uses it up.
const patience = 3 * time.Minute

// output collects what a program writes and lets tests wait for parts of it.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // closed and replaced at each write
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.written != nil {
		close(o.written)
	}
	o.written = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// wait returns the first line that contains part.
func (o *output) wait(t *testing.T, part string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		o.mu.Lock()
		if o.written == nil {
			o.written = make(chan struct{})
		}
		text, written := o.text.String(), o.written
		o.mu.Unlock()
		for line := range strings.Lines(text) {
			if strings.Contains(line, part) {
				return line
			}
		}
		select {
		case <-written:
		case <-deadline:
			t.Fatalf("no line with %q in:\n%s", part, text)
		}
	}
}

// program is a run of fieldcache in this process.
type program struct {
	stdout, stderr *output
	signals        chan os.Signal
	exit           chan int     // receives the exit code
	graphql, admin string       // addresses as URLs, once it serves
	memory         atomic.Int64 // the bytes that its memory limit is based on
}

// builder makes the gateway of a program.
type builder = func(context.Context, config.Config, *db.DB, prometheus.Registerer, *serve.Traces, *slog.Logger) (*serve.Gateway, error)

// fake returns a builder of a gateway that serves graphql.
func fake(graphql http.Handler) builder {
	return func(_ context.Context, _ config.Config, d *db.DB, _ prometheus.Registerer, _ *serve.Traces, _ *slog.Logger) (*serve.Gateway, error) {
		if graphql == nil {
			return nil, errors.New("this test serves nothing")
		}
		return &serve.Gateway{Handler: graphql, Ping: d.Ping, Close: func() error { return nil }}, nil
	}
}

// launch runs fieldcache with args around a handler, and stops it when the test ends.
func launch(t *testing.T, graphql http.Handler, environ []string, args ...string) *program {
	t.Helper()
	return launchAs(t, fake(graphql), environ, args...)
}

func launchAs(t *testing.T, build builder, environ []string, args ...string) *program {
	t.Helper()
	p := &program{stdout: &output{}, stderr: &output{}, signals: make(chan os.Signal, 2), exit: make(chan int, 1)}
	s := server{environ: environ, build: build, limit: p.memory.Store}
	sys := cli.System{Stdout: p.stdout, Stderr: p.stderr, Environ: environ, Signals: p.signals, Rows: cachedRows, Serve: s.serve, Explain: explain}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.exit <- cli.Run(ctx, args, sys)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return p
}

// finish runs a command until it exits, checks the exit code, and returns the output.
func finish(t *testing.T, environ []string, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	p := launch(t, nil, environ, args...)
	p.wantExit(t, want)
	return p.stdout.String(), p.stderr.String()
}

// The memory limit of the process is based on MEMORY_BYTES.
func TestMemoryIsLimited(t *testing.T) {
	t.Parallel()
	p := start(t, http.NotFoundHandler(), "MEMORY_BYTES=5MiB")
	if n := p.memory.Load(); n != 5<<20 {
		t.Errorf("the limit is based on %d bytes, want 5 MiB", n)
	}
}

// start launches a server around a handler, on free ports with a database in memory, and waits
// until it serves.
func start(t *testing.T, graphql http.Handler, environ ...string) *program {
	t.Helper()
	return startAs(t, fake(graphql), environ...)
}

// startAs is start for any gateway.
func startAs(t *testing.T, build builder, environ ...string) *program {
	t.Helper()
	p := launchAs(t, build, append([]string{
		"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "DATABASE_URL=sqlite::memory:", "LOG_LEVEL=debug",
	}, environ...))
	var line struct{ GraphQL, Admin string }
	if err := json.Unmarshal([]byte(p.stderr.wait(t, `"msg":"serving"`)), &line); err != nil {
		t.Fatal(err)
	}
	p.graphql, p.admin = line.GraphQL, line.Admin
	return p
}

func (p *program) wantExit(t *testing.T, want int) {
	t.Helper()
	select {
	case code := <-p.exit:
		if code != want {
			t.Errorf("exit code %d, want %d; stderr:\n%s", code, want, p.stderr)
		}
	case <-time.After(patience):
		t.Fatalf("the program does not exit; stderr:\n%s", p.stderr)
	}
}

// send sends a request and returns the response and its body; headers are "Name: value".
func send(t *testing.T, method, url, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

func echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Write(body)
	})
}

func TestServerServes(t *testing.T) {
	t.Parallel()
	p := start(t, echo())
	if response, body := send(t, "POST", p.graphql, "hello"); response.StatusCode != 200 || body != "hello" {
		t.Errorf("POST /graphql = %d %s", response.StatusCode, body)
	}
	if _, body := send(t, "GET", p.admin+"readyz", ""); !strings.Contains(body, `"ready"`) {
		t.Errorf("GET /readyz = %s", body)
	}
	if _, body := send(t, "GET", p.admin+"metrics", ""); !strings.Contains(body, `fieldcache_http_request_duration_seconds_count{code="200"} 1`) ||
		!strings.Contains(body, "go_goroutines") || !strings.Contains(body, "process_open_fds") || !strings.Contains(body, "go_sql_open_connections") {
		t.Errorf("GET /metrics = %s", body)
	}
	p.stderr.wait(t, "demo data")
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/evict", "/debug/pprof/"} {
		if response, _ := send(t, "GET", strings.TrimSuffix(p.graphql, "/graphql")+path, ""); response.StatusCode != http.StatusNotFound {
			t.Errorf("the public port responds to %s with %d, want 404", path, response.StatusCode)
		}
	}
	p.signals <- syscall.SIGTERM
	p.wantExit(t, 0)
}

func TestServerPutsDemoDataInOnce(t *testing.T) {
	t.Parallel()
	file := "DATABASE_URL=sqlite://" + t.TempDir() + "/shop.db"
	for _, want := range []bool{true, false} {
		p := start(t, echo(), file)
		p.signals <- syscall.SIGTERM
		p.wantExit(t, 0)
		if got := strings.Contains(p.stderr.String(), "demo data"); got != want {
			t.Errorf("inserted demo data: got %v, want %v; stderr:\n%s", got, want, p.stderr)
		}
	}
}

// On shutdown, active requests are finished, new ones are not accepted, and the admin port says
// why.
func TestServerDrains(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	p := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		if r.Context().Err() == nil {
			io.WriteString(w, "finished")
		}
	}))
	answer := make(chan string, 1)
	go func() {
		response, err := http.Post(p.graphql, "application/json", strings.NewReader("{}"))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answer <- string(body)
	}()
	<-arrived
	p.signals <- syscall.SIGTERM

	address := strings.TrimSuffix(strings.TrimPrefix(p.graphql, "http://"), "/graphql")
	eventually(t, "the port is closed", func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	if response, body := send(t, "GET", p.admin+"readyz", ""); response.StatusCode != 503 || !strings.Contains(body, "draining") {
		t.Errorf("while draining GET /readyz = %d %s", response.StatusCode, body)
	}
	if response, _ := send(t, "GET", p.admin+"healthz", ""); response.StatusCode != 200 {
		t.Errorf("while draining GET /healthz = %d", response.StatusCode)
	}
	close(release)
	if got := <-answer; got != "finished" {
		t.Errorf("the active request got %q, want finished", got)
	}
	p.wantExit(t, 0)
}

func TestServerCutsOffAfterShutdownTimeout(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	p := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}), "SHUTDOWN_TIMEOUT=20ms")
	go func() {
		if response, err := http.Get(p.graphql); err == nil {
			response.Body.Close()
		}
	}()
	<-arrived
	p.signals <- syscall.SIGTERM
	p.wantExit(t, 1)
	p.stderr.wait(t, "in flight after SHUTDOWN_TIMEOUT=20ms")
}

func TestServerEndsAtOnceOnSecondSignal(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	p := start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-release
	}), "SHUTDOWN_TIMEOUT=10m")
	defer close(release)
	go func() {
		if response, err := http.Get(p.graphql); err == nil {
			response.Body.Close()
		}
	}()
	<-arrived
	p.signals <- syscall.SIGINT
	p.stderr.wait(t, "shutting down")
	p.signals <- syscall.SIGINT
	p.wantExit(t, 130)
}

func TestServerPortTaken(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"LISTEN_ADDR", "ADMIN_ADDR"} {
		t.Run(variable, func(t *testing.T) {
			t.Parallel()
			taken, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer taken.Close()
			file := t.TempDir() + "/untouched.db"
			p := launch(t, echo(), []string{
				"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", variable + "=" + taken.Addr().String(), "DATABASE_URL=sqlite://" + file,
			})
			p.wantExit(t, 1)
			if want := variable + `="` + taken.Addr().String() + `": another program already listens there`; !strings.Contains(p.stderr.String(), want) {
				t.Errorf("stderr:\n%s\nwant %s in it", p.stderr, want)
			}
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the database was touched: %v", err)
			}
		})
	}
}

func TestServerDatabaseDown(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	p := launch(t, echo(), []string{
		"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "DATABASE_URL=postgres://u:hunter2@" + closed.Addr().String() + "/shop",
	})
	p.wantExit(t, 1)
	if stderr := p.stderr.String(); !strings.Contains(stderr, "shop") || strings.Contains(stderr, "hunter2") {
		t.Errorf("stderr:\n%s\nwant the name of the database and no password", stderr)
	}
}

func TestServerAsksForMigrations(t *testing.T) {
	t.Parallel()
	environ := []string{"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "DATABASE_URL=" + testservers.Postgres(t)}
	p := launch(t, echo(), environ)
	p.wantExit(t, 1)
	if stderr := p.stderr.String(); !strings.Contains(stderr, "migrate up") || !strings.Contains(stderr, "MIGRATE=true") {
		t.Errorf("stderr:\n%s\nwant both ways to migrate", stderr)
	}
	p = launch(t, echo(), append(environ, "MIGRATE=true"))
	p.stderr.wait(t, `"msg":"serving"`)
	p.signals <- syscall.SIGTERM
	p.wantExit(t, 0)
	if strings.Contains(p.stderr.String(), "demo data") {
		t.Error("demo data was inserted into PostgreSQL without a request for it")
	}
}

// eventually polls until so returns true.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("timed out waiting for: %s", what)
		}
	}
}
