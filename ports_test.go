package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// exchange sends a raw request and returns the status and body of the response.
func exchange(t *testing.T, url, request string) (int, string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(url, "/graphql"), "http://"), "/"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// DNS rebinding: a page has its own host name resolve to this machine and sends requests to it.
// Both ports refuse every such request, even if the response is cached.
func TestFault19Rebinding(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway, "LOG_LEVEL=info")
	setStock := `{"query":"mutation { setStock(productId: 7, stock: 1) { id } }"}`
	read := `{"query":"{ product(id: 7) { name } }"}`
	post := func(target, host, body string, headers ...string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
			target, host, len(body), strings.Join(append(headers, ""), "\r\n"), body)
	}
	get := func(target, host string, headers ...string) string {
		return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", target, host, strings.Join(append(headers, ""), "\r\n"))
	}
	evict := `{"keys":["product:7"]}`
	for range 2 {
		if status, body := exchange(t, p.graphql, post("/graphql", "localhost", read)); status != 200 || !strings.Contains(body, `"name"`) {
			t.Fatalf("got %d %s, want 200 with a name", status, body)
		}
	}
	const refused = http.StatusMisdirectedRequest
	for name, c := range map[string]struct {
		url, request string
		status       int
	}{
		"a mutation":                     {p.graphql, post("/graphql", "evil.example", setStock), refused},
		"a cached response":              {p.graphql, post("/graphql", "evil.example:8080", read), refused},
		"the playground":                 {p.graphql, get("/", "evil.example"), refused},
		"elsewhere":                      {p.graphql, get("/elsewhere", "evil.example"), refused},
		"an absolute target":             {p.graphql, post("http://evil.example/graphql", "localhost", read), refused},
		"an absolute target of ours":     {p.graphql, post("http://localhost/graphql", "evil.example", read), 200},
		"an absolute target with a user": {p.graphql, post("http://localhost@evil.example/graphql", "localhost", read), refused},
		"a user in Host":                 {p.graphql, post("/graphql", "localhost@evil.example", read), 400},
		"no Host":                        {p.graphql, post("/graphql", "", read), refused},
		"HTTP/1.0 without one":           {p.graphql, "GET /graphql HTTP/1.0\r\n\r\n", refused},
		"two of them":                    {p.graphql, get("/graphql?query={__typename}", "localhost", "Host: evil.example"), 400},
		"upper case":                     {p.graphql, post("/graphql", "LOCALHOST", read), 200},
		"a trailing dot":                 {p.graphql, post("/graphql", "localhost.", read), 200},
		"IPv6":                           {p.graphql, post("/graphql", "[::1]:1", read), 200},

		"an eviction":                         {p.admin, post("/evict", "evil.example", evict), refused},
		"a heap profile":                      {p.admin, get("/debug/pprof/heap", "evil.example"), refused},
		"metrics":                             {p.admin, get("/metrics", "evil.example"), refused},
		"health":                              {p.admin, get("/healthz", "evil.example"), refused},
		"an eviction of ours":                 {p.admin, post("/evict", "localhost", evict), 200},
		"by a page of the port":               {p.admin, post("/evict", "localhost:1", evict, "Origin: http://localhost:1", "Sec-Fetch-Site: same-origin"), 200},
		"by a page of the other port":         {p.admin, post("/evict", "localhost:1", evict, "Origin: http://localhost:2", "Sec-Fetch-Site: same-site"), 403},
		"by a page elsewhere":                 {p.admin, post("/evict", "localhost", evict, "Origin: http://evil.example"), 403},
		"by a page without an origin":         {p.admin, post("/evict", "localhost", evict, "Origin: null"), 403},
		"a page with a forged Sec-Fetch-Site": {p.admin, post("/evict", "localhost", evict, "Origin: http://evil.example", "Sec-Fetch-Site: same-origin"), 403},
		"by a page with two origins":          {p.admin, post("/evict", "localhost", evict, "Origin: http://localhost", "Origin: http://evil.example"), 403},
		"by a form":                           {p.admin, strings.Replace(post("/evict", "localhost", evict), "application/json", "text/plain", 1), 415},
		"JSON and a form":                     {p.admin, post("/evict", "localhost", evict, "Content-Type: text/plain"), 415},
		"a profile as an image of a page":     {p.admin, get("/debug/pprof/profile?seconds=30", "localhost", "Sec-Fetch-Site: cross-site"), 403},
		"a profile by POST":                   {p.admin, post("/debug/pprof/heap", "localhost", evict), 404},
		"metrics by a page elsewhere":         {p.admin, get("/metrics", "localhost", "Origin: http://evil.example"), 403},
		"the operator's page":                 {p.admin, get("/", "evil.example"), refused},
		"its events":                          {p.admin, get("/cache/events", "evil.example"), refused},
		"the entry of a key":                  {p.admin, get("/cache/entry?key=product:7", "evil.example"), refused},
		"events by a page elsewhere":          {p.admin, get("/cache/events", "localhost", "Origin: http://evil.example"), 403},
		"a key by a page elsewhere":           {p.admin, get("/cache/entry?key=product:7", "localhost", "Sec-Fetch-Site: cross-site"), 403},
		"the page in a frame":                 {p.admin, get("/", "localhost", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Dest: iframe"), 403},
		"metrics typed in by a person":        {p.admin, get("/metrics", "localhost", "Sec-Fetch-Site: none"), 200},
	} {
		if status, body := exchange(t, c.url, c.request); status != c.status || status == refused && !strings.Contains(body, "ALLOWED_HOSTS") {
			t.Errorf("%s: got %d %.200s, want %d", name, status, body, c.status)
		}
	}

	// The same on one connection, whose request heads the server recognizes by now.
	c, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(p.graphql, "http://"), "/graphql"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for i, host := range []string{"localhost", "localhost", "localhost", "evil.example", "localhost", "evil.example", "evil.example"} {
		if _, err := io.WriteString(c, post("/graphql", host, read)); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 200, false: refused}[host == "localhost"]; r.StatusCode != want || !json.Valid(body) {
			t.Errorf("request %d for %s: got %d %s", i, host, r.StatusCode, body)
		}
	}
}

func TestFault19AllowedHosts(t *testing.T) {
	t.Parallel()
	p := start(t, echo(), "ALLOWED_HOSTS=shop.example, admin.example:9000")
	for host, want := range map[string][2]int{
		"shop.example": {404, 200}, "shop.example:8443": {404, 200}, "admin.example": {421, 421}, "admin.example:9000": {404, 200},
		"localhost": {404, 200}, "evil.example": {421, 421},
	} {
		for i, url := range []string{p.graphql, p.admin} {
			if status, body := exchange(t, url, "GET /healthz HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); status != want[i] {
				t.Errorf("%s: got %d %s", host, status, body)
			}
		}
	}
	if !strings.Contains(p.stderr.String(), `"host":"evil.example"`) {
		t.Errorf("the log does not name the refused host: %s", p.stderr)
	}
}

// node runs a script of clients/ against a server and returns its output.
func node(t *testing.T, script, url string) string {
	t.Helper()
	if _, err := os.Stat("clients/node_modules"); err != nil {
		t.Fatal("the clients are not installed: run `make clients`")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "node", "clients/"+script, url).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// The server passes all audits of the GraphQL over HTTP specification: every MUST, SHOULD and MAY.
func TestAudits(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway)
	out := node(t, "audits.mjs", p.graphql)
	m := regexp.MustCompile(`passed (\d+) of (\d+)`).FindStringSubmatch(out)
	if m == nil || m[1] != m[2] {
		t.Fatalf("not all audits passed:\n%s", out)
	}
	if n, err := strconv.Atoi(m[1]); err != nil || n < 61 {
		t.Errorf("ran %d audits, want at least 61", n)
	}
}

func TestClients(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway, "CORS_ORIGINS=https://shop.example")
	out := node(t, "clients.mjs", p.graphql)
	m := regexp.MustCompile(`(?m)^(?:#|ℹ) pass (\d+)$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("the output does not say how many tests passed:\n%s", out)
	}
	if n, err := strconv.Atoi(m[1]); err != nil || n < 10 {
		t.Errorf("%d tests passed, want at least 10:\n%s", n, out)
	}
}

// The spans of a request reach the collector before the server exits.
func TestTracesAreSent(t *testing.T) {
	type sent struct {
		path string
		body []byte
	}
	requests := make(chan sent, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- sent{r.Method + " " + r.URL.Path, body}
	}))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=tested")
	p := start(t, echo(), os.Environ()...)
	send(t, "POST", p.graphql, "{}", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	p.stderr.wait(t, `"trace_id":"0af7651916cd43dd8448eb211c80319c"`)
	p.signals <- syscall.SIGTERM
	p.wantExit(t, 0)
	select {
	case got := <-requests:
		if got.path != "POST /v1/traces" || !bytes.Contains(got.body, []byte("fieldcache")) || !bytes.Contains(got.body, []byte("tested")) {
			t.Errorf("the collector received %s %q", got.path, got.body)
		}
	default:
		t.Errorf("the collector received nothing; stderr:\n%s", p.stderr)
	}
}
