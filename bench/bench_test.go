package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestResponse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, wrong string }{
		"Content-Length":    {text: "HTTP/1.1 200 OK\r\ncontent-length: 11\r\nETag: \"x\"\r\n\r\n{\"data\":{}}"},
		"chunked":           {text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"dat\r\n6\r\na\":{}}\r\n0\r\n\r\n"},
		"status 404":        {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", `got status line "HTTP/1.1 404 Not Found"`},
		"errors":            {"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"errors\":[]}", `begins with "{\"errors"`},
		"no Content-Length": {"HTTP/1.1 200 OK\r\n\r\n{\"data\":{}}", "no Content-Length"},
		"truncated body":    {"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"data\":{}}", "EOF"},
		"truncated chunk": {
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"data\":{}}", "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const next = "HTTP/1.1 500 the next response\r\n"
			text := test.text
			if test.wrong == "" {
				text += next
			}
			r := response{bufio.NewReader(strings.NewReader(text))}
			if err := r.read(); test.wrong == "" {
				if rest, _ := io.ReadAll(r.in); err != nil || string(rest) != next {
					t.Errorf("got %v, and %q is left", err, rest)
				}
			} else if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("got %v, want %s", err, test.wrong)
			}
		})
	}
}

func TestZipf(t *testing.T) {
	t.Parallel()
	rank := zipf(4) // 1, 1/2, 1/3, 1/4: of 25/12
	for x, want := range map[float64]int{0: 1, 0.47: 1, 0.49: 2, 0.71: 2, 0.73: 3, 0.87: 3, 0.89: 4, 1: 4} {
		if got := rank(x); got != want {
			t.Errorf("rank(%v) = %d, want %d", x, got, want)
		}
	}
}

func TestOperations(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(1, 1))
	for name, test := range map[string]struct {
		reads  int
		writes float64 // share
	}{"Q1": {10, 0}, "Q2": {1, 0}, "Q3": {10, 0}, "M1": {0, 1}, "W": {100, 0.05}} {
		op := newOperation(name, 10, 100)
		if len(op.reads) != test.reads || op.writes != (test.writes > 0) || op.about == "" {
			t.Errorf("%s: got %d reads, writes is %v", name, len(op.reads), op.writes)
		}
		const draws = 10_000
		writes, distinct := 0, map[string]bool{}
		for range draws {
			b := op.draw(dice)
			distinct[b] = true
			var request struct {
				Query     string
				Variables map[string]any
			}
			if err := json.Unmarshal([]byte(b), &request); err != nil || len(request.Variables) == 0 {
				t.Fatalf("%s: %s: %v", name, b, err)
			}
			if strings.HasPrefix(request.Query, "mutation") {
				writes++
			}
		}
		if got := float64(writes) / draws; got < test.writes-0.01 || got > test.writes+0.01 {
			t.Errorf("%s: the share of writes is %v, want %v", name, got, test.writes)
		}
		if len(distinct) < test.reads {
			t.Errorf("%s: got only %d distinct bodies", name, len(distinct))
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var tb table
	for _, n := range []int64{300, 100, 200} {
		tb.add("bare", measurement{requests: n, elapsed: time.Second, cpu: 10 * time.Microsecond, rss: 5 << 20, redis: -1})
		tb.add("other", measurement{requests: n / 2, elapsed: time.Second, redis: 0.25})
	}
	const want = `| server | requests/s | of bare | lowest to highest | CPU/request | of bare | RSS | cache hits from Redis |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| bare | 200 | 1.00 | 100 to 300 | 10.0 µs | 1.00 | 5 MiB |  |
| other | 100 | 0.50 | 50 to 150 |  |  |  | 25 % |
`
	if got := tb.markdown(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median = %v, want 2.5", got)
	}
}

func TestProcessorTime(t *testing.T) {
	t.Parallel()
	const stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 9 9 20 0 5 0 100 1 1"
	if got, ok := cpuOf(stat); !ok || got != 2*time.Second {
		t.Errorf("got %v, %v; want 2s", got, ok)
	}
	if got, ok := cpuOf("7 (short) S 1"); ok {
		t.Errorf("got %v for a line that is too short", got)
	}
}

func TestHits(t *testing.T) {
	t.Parallel()
	h, err := readHits("# HELP x\nfieldcache_hits_total{tier=\"memory\"} 30\nfieldcache_hits_total{tier=\"redis\"} 1.5e+01\n")
	if err != nil || h != (tierHits{30, 15}) {
		t.Errorf("got %v, %v", h, err)
	}
	if got := h.share(tierHits{15, 10}); got != 0.25 {
		t.Errorf("the share of Redis is %v, want 0.25", got)
	}
	if got := h.share(h); got != -1 {
		t.Errorf("the share of Redis without hits is %v, want -1", got)
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	s, err := parse([]string{"-servers", "bare,fieldcache", "-url", "plain=http://127.0.0.1:4000/graphql#12", "-seconds", "0.5"}, io.Discard)
	if err != nil || len(s.servers) != 2 || len(s.others) != 1 || s.period != 500*time.Millisecond {
		t.Fatalf("%+v, %v", s, err)
	}
	if o := s.others[0]; o.name != "plain" || o.pid != 12 || o.url.String() != "http://127.0.0.1:4000/graphql" {
		t.Errorf("got %+v", o)
	}
	for _, bad := range []string{"-servers=fast", "-operations=Q9", "-url=plain", "-url=a=http://127.0.0.1/", "-url=a=http://127.0.0.1:1/#x", "-rounds=0", "more"} {
		if _, err := parse([]string{bad}, io.Discard); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

// load sends requests to a bare server, and reports an error for an operation that the server does
// not know.
func TestLoad(t *testing.T) {
	t.Parallel()
	want := fixed{http.Header{"Content-Type": {"application/json"}, "Age": {"3"}}, []byte(`{"data":{}}`)}
	var mu sync.Mutex
	seen := map[string]bool{}
	ids := func() map[string]bool {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(seen)
	}
	bare := bareHandler(map[string]fixed{"/Q2": want})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get("X-Request-Id"); id != "" {
			mu.Lock()
			seen[id] = true
			mu.Unlock()
		}
		bare(w, r)
	}))
	defer web.Close()
	u, err := url.Parse(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	target := server{name: "bare", url: u, bare: true}
	m, err := load(t.Context(), target, newOperation("Q2", 1, 1), pressure{connections: 2, period: 50 * time.Millisecond})
	if err != nil || m.requests == 0 || m.rate() <= 0 {
		t.Errorf("got %+v, %v", m, err)
	}
	if got := ids(); len(got) != 0 {
		t.Errorf("got request ids without distinct: %v", got)
	}
	m, err = load(t.Context(), target, newOperation("Q2", 1, 1), pressure{connections: 1, period: 50 * time.Millisecond, distinct: true})
	if got := ids(); err != nil || int64(len(got)) < m.requests || m.requests == 0 {
		t.Errorf("%d requests had %d ids; %v", m.requests, len(got), err)
	}
	if _, err := load(t.Context(), target, newOperation("Q1", 1, 1), pressure{connections: 2, period: time.Minute}); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an unknown operation: got %v, want 404", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := load(ctx, target, newOperation("Q2", 1, 1), pressure{connections: 2, period: time.Minute}); err == nil {
		t.Error("a canceled run returned a result")
	}
}
