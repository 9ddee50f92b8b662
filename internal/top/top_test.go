package top

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"
)

func counters(second int, loads, hits uint64, sick string) string {
	return fmt.Sprintf(`{"when":"2026-01-02T03:04:%02dZ","skipped":0,"coordinates":[
		{"coordinate":"Product","maxAge":3600,"scope":"public","truth":"rows","memory":%d,"misses":%d},
		{"coordinate":"User.orders","maxAge":60,"scope":"private","truth":"ttl","memory":10,"misses":900},
		{"coordinate":"Country","memory":0,"misses":0}],
		"redis":{"sick":%q,"sample":{"bytes":2097152,"maxBytes":1073741824,"keys":200,"drawn":100,"kinds":[{"kind":"user","keys":150},{"kind":"{product}:price","keys":50}]}},
		"outcomes":[{"outcome":"executed","count":%d,"buckets":[{"le":0.01,"count":0},{"le":0.03,"count":%d}]},{"outcome":"hit","count":0,"buckets":[]}],
		"metrics":{"fieldcache_memory_entries":1234,"fieldcache_memory_overflows_total":7,"fieldcache_http_request_duration_seconds_count{code=\"200\"}":%d,"fieldcache_answer_hits_total":%d,
		"process_start_time_seconds":1767323000,"fieldcache_memory_bytes":3145728,"fieldcache_memory_max_bytes{of=\"values\"}":1072693248,"nothing":null}}`,
		second, hits, loads, sick, 10*second, 10*second, 100*second, 50*second)
}

// serve sends events, each as a type and data on one line.
func serve(t *testing.T, events ...[2]string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/cache/events" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for _, e := range events {
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e[0], strings.ReplaceAll(e[1], "\n", ""))
		}
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

const anEviction = `{"when":"2026-01-02T03:04:05Z","cause":"outbox","keys":["{product:7}:stock"],"tags":["{users}"],"more":3}`

func TestOnce(t *testing.T) {
	t.Parallel()
	address := serve(t, [2]string{"counters", counters(1, 5, 5, "")}, [2]string{"eviction", anEviction}, [2]string{"later", "?"}, [2]string{"counters", counters(3, 5, 95, "refused\nREADONLY")})
	var out bytes.Buffer
	if err := Run(t.Context(), Options{Address: address, Out: &out, Once: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"requests", "100", "50.0 %", "not in use: refused READONLY", "1.2k entries  3 MiB of 1023 MiB      7 evicted by size", "executed 20ms/29ms/30ms  hit -/-/-", "outbox", "{product:7}:stock {users} and 3 more",
		"coordinate (by loads)", "1h", "User.orders", "private", "95.0 %", "45", "ttl only",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "Country") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("the output has an unused coordinate, or colors:\n%s", &out)
	}
	if strings.Index(out.String(), "User.orders") > strings.Index(out.String(), "Product ") {
		t.Errorf("the coordinate with the most loads is not first:\n%s", &out)
	}
}

func TestOnceFails(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"nobody":     "127.0.0.1:1",
		"too little": serve(t, [2]string{"counters", counters(1, 5, 5, "")}),
		"no JSON":    serve(t, [2]string{"counters", "{"}),
		"another server": func() string {
			s := httptest.NewServer(http.NotFoundHandler())
			t.Cleanup(s.Close)
			return strings.TrimPrefix(s.URL, "http://")
		}(),
	} {
		var out bytes.Buffer
		if err := Run(t.Context(), Options{Address: address, Out: &out, Once: true}); err == nil || out.Len() > 0 {
			t.Errorf("%s: got %v and the output %q", name, err, &out)
		}
	}
}

func TestState(t *testing.T) {
	t.Parallel()
	s := &state{address: "x"}
	if got := s.render(80, 20); !strings.Contains(got, "No data. Reconnecting each second.") || strings.Contains(got, "in place") || strings.Count(got, "\n") != 19 {
		t.Errorf("before any event the screen shows\n%s", got)
	}
	now := time.Now()
	s.take(Counters{When: now, Coordinates: []Coordinate{{Coordinate: "B", Memory: 10}, {Coordinate: "A", Misses: 5}}})
	s.take(Counters{When: now.Add(2 * time.Second), Skipped: 4, Coordinates: []Coordinate{{Coordinate: "B", Truth: "ttl", Memory: 30}, {Coordinate: "A", Truth: "rows", Misses: 6}}})
	for o, want := range map[order]string{byLoads: "A B", byRate: "B A", byShare: "A B", byName: "A B", byTruth: "B A"} {
		s.order = o
		rows := s.rows()
		if got := rows[0].Coordinate.Coordinate + " " + rows[1].Coordinate.Coordinate; got != want {
			t.Errorf("order %v: got %s, want %s", o, got, want)
		}
	}
	s.order = byName
	if r := s.rows(); r[1].rate != 10 || r[1].share() != 1 {
		t.Errorf("B has %v requests a second with a hit share of %v, want 10 and 1", r[1].rate, r[1].share())
	}
	for range 2 * listed {
		s.take(Eviction{Cause: "hand"})
	}
	if len(s.evictions) != listed || s.skipped != 4 {
		t.Errorf("%d evictions are listed, %d were skipped", len(s.evictions), s.skipped)
	}
	s.paused = true
	s.take(Counters{When: now.Add(time.Hour)})
	if s.seconds() != 2 {
		t.Error("a paused screen was updated")
	}
	s.lost(errors.New("no route"))
	if got := s.render(80, 20); !strings.Contains(got, "disconnected: no route") || strings.Contains(got, "Redis") || s.rate("x", "") != 0 {
		t.Errorf("without a server the screen shows\n%s", got)
	}
	for _, line := range strings.Split(s.render(40, 10), "\n") {
		if n := len([]rune(plain(line))); n > 40 {
			t.Errorf("a line of %d characters on a terminal of 40: %q", n, line)
		}
	}
}

// 80 columns have room for the costs and for what only expires.
func TestEightyColumns(t *testing.T) {
	t.Parallel()
	s := &state{address: "x"}
	for _, text := range []string{counters(1, 5, 5, ""), counters(2, 5, 95, "")} {
		if err := hand[Counters](text, s.take); err != nil {
			t.Fatal(err)
		}
	}
	screen := plain(s.render(80, 24))
	for _, want := range []string{
		"requests 100/s  cached 50.0 %  values: memory 0/s  Redis 0/s  database 0/s\n",
		"coordinate (by loads)               truth    age asked/s    hits   loads  stale \n",
		"User.orders                      ttl only     1m       0   1.1 %     900      0\n",
		"Product                              rows     1h      90  95.0 %       5      0\n",
		"Redis      ok  hits -  2 MiB of 1 GiB  200 keys, sampled: user 75.0 % {product",
		"latency    p50/p95/p99  executed 20ms/29ms/30ms  hit -/-/-\n",
		"values      1.2k entries  3 MiB of 1023 MiB      7 evicted by size  hits -",
	} {
		if !strings.Contains(screen, want) {
			t.Errorf("the screen lacks %q:\n%s", want, screen)
		}
	}
	if narrow := plain(s.render(40, 20)); !strings.Contains(narrow, "\nUser.orders      ttl only     1m       0\n") {
		t.Errorf("a narrow terminal shows\n%s", narrow)
	}
	if wide := plain(s.render(140, 24)); !strings.Contains(wide, "scope  memory   Redis  failed") {
		t.Errorf("a wide terminal lacks the other columns:\n%s", wide)
	}
}

// Control characters are not written to the terminal: keys hold what clients send.
func TestForeignTextsArePrintable(t *testing.T) {
	t.Parallel()
	const evil = "\x1b]0;owned\x07\x1b[2J\r\n\u202e\u009b1m"
	s := &state{address: "x"}
	now := time.Now()
	s.take(Counters{When: now})
	s.take(Counters{When: now.Add(time.Second), Coordinates: []Coordinate{{Coordinate: "A" + evil, Misses: 1}}, Redis: &Redis{Error: "error" + evil}})
	s.take(Eviction{Cause: "hand" + evil, Keys: []string{"user:" + evil}, Tags: []string{evil}})
	for _, more := range []func(){func() {}, func() { s.now.Redis = &Redis{Sick: "sick" + evil} }, func() { s.lost(errors.New("lost" + evil)) }} {
		more()
		screen := plain(s.render(200, 30))
		for _, r := range strings.ReplaceAll(screen, "\n", "") {
			if !unicode.IsGraphic(r) {
				t.Fatalf("the screen has %q:\n%q", r, screen)
			}
		}
		if !strings.Contains(screen, "user:\uFFFD]0;owned\uFFFD\uFFFD[2J") || strings.Count(screen, "\n") != 29 {
			t.Errorf("the screen lacks the key:\n%s", screen)
		}
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for seconds, want := range map[float64]string{0: "0s", 30: "30s", 60: "1m", 90: "1m30s", 600: "10m", 3600: "1h", 5400: "1h30m", 36000: "10h", 86400: "24h", 3605: "1h0m5s"} {
		if got := age(&seconds); got != want {
			t.Errorf("age(%v) = %q, want %q", seconds, got, want)
		}
	}
	if got := age(nil); got != "" {
		t.Errorf("age(nil) = %q, want an empty text", got)
	}
}

// A paused screen does not change. What happened meanwhile is shown after the pause.
func TestPause(t *testing.T) {
	t.Parallel()
	s := &state{address: "x"}
	s.take(Eviction{Cause: "mutation"})
	s.pause()
	s.take(Eviction{Cause: "notice"})
	if got := s.render(80, 20); !strings.Contains(got, "mutation") || strings.Contains(got, "notice") {
		t.Errorf("the paused screen shows\n%s", got)
	}
	s.pause()
	if got := s.render(80, 20); !strings.Contains(got, "notice") || strings.Index(got, "notice") > strings.Index(got, "mutation") {
		t.Errorf("after the pause the screen shows\n%s", got)
	}
}

// plain removes color sequences from a text.
func plain(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == 0x1b {
			for i < len(s) && s[i] != 'm' {
				i++
			}
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func TestScreenEndsByItsKey(t *testing.T) {
	t.Parallel()
	in, keys := io.Pipe()
	go func() { _, _ = keys.Write([]byte("q")) }()
	var out bytes.Buffer
	if err := Run(t.Context(), Options{Address: serve(t, [2]string{"counters", counters(1, 5, 5, "")}), In: in, Out: &out}); err != nil {
		t.Fatal(err)
	}
}
