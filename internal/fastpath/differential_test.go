package fastpath

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// judge serves the same handler twice, with and without the fast path, and records the requests
// that it sees.
type judge struct {
	plain, fast *pipes
	count       atomic.Int64
	calls       atomic.Int64 // of handlers
	answered    atomic.Int64 // by the fast path
	seen        sync.Map     // *transcript by name of the connection
}

// transcript is what the handlers saw on a connection.
type transcript struct {
	pipe *pipe
	mu   sync.Mutex // guards text
	text strings.Builder
}

func newJudge(tb testing.TB) *judge {
	j := &judge{plain: newPipes(), fast: newPipes()}
	j.serve(tb, j.plain, false)
	j.serve(tb, j.fast, true)
	return j
}

func (j *judge) serve(tb testing.TB, l net.Listener, fast bool) {
	f := New(Options{Serve: j.hit, Next: http.HandlerFunc(j.next), IdleTimeout: time.Hour, WriteTimeout: time.Hour})
	s := &http.Server{Handler: f, ErrorLog: log.New(io.Discard, "", 0)}
	if fast {
		l = f.Attach(s, l)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			tb.Error(err)
		}
	}()
	tb.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
}

// hit responds to bodies that begin with "hit", and to GET /hit.
func (j *judge) hit(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != "/hit" || r.Method != http.MethodPost && r.Method != http.MethodGet {
		return false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method == http.MethodPost && !bytes.HasPrefix(body, []byte("hit")) {
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{err}))
		return false
	}
	if _, ok := w.(*exchange); ok {
		j.answered.Add(1)
	}
	note := j.note(r, body, nil)
	w.Header()["Content-Type"] = []string{"text/plain"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(note))}
	if string(body) == "hit and close" {
		w.Header()["Connection"] = []string{"close"}
	}
	_, _ = io.WriteString(w, note)
	return true
}

// failing ends a body with the same error as before.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return 0, io.EOF
}

// next responds to all other requests, and reads as much of the body as the path says.
func (j *judge) next(w http.ResponseWriter, r *http.Request) {
	var body []byte
	var err error
	switch r.URL.Path {
	case "/unread":
	case "/wait-for-more":
		if t, ok := j.seen.Load(r.RemoteAddr); ok {
			t.(*transcript).pipe.awaitAhead()
		}
	case "/half":
		body = make([]byte, 3)
		var n int
		n, err = io.ReadFull(r.Body, body)
		body = body[:n]
	default:
		body, err = io.ReadAll(r.Body)
	}
	note := j.note(r, body, err)
	switch r.URL.Path {
	case "/ask-to-close":
		w.Header().Set("Connection", "close")
	case "/panic":
		panic("of a test")
	}
	_, _ = io.WriteString(w, note)
}

// note records a request and returns its description.
func (j *judge) note(r *http.Request, body []byte, err error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %+v %s %d %v %v %q %q %v", r.Method, r.RequestURI, *r.URL, r.Proto, r.ContentLength, r.TransferEncoding, r.Close, r.Host, body, err)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, " %s: %q", name, r.Header[name])
	}
	b.WriteByte('\n')
	j.calls.Add(1)
	if t, ok := j.seen.Load(r.RemoteAddr); ok {
		t := t.(*transcript)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.text.WriteString(b.String())
	}
	return b.String()
}

// send plays a script to a server, and returns what its handlers saw and what it responded.
func (j *judge) send(l *pipes, list []segment) (seen, answered string, err error) {
	p := newPipe(fmt.Sprint("client ", j.count.Add(1)), list)
	t := &transcript{pipe: p}
	j.seen.Store(p.name, t)
	defer j.seen.Delete(p.name)
	l.accept <- p
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		err = errors.New("it does not end")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String(), date.ReplaceAllString(p.out.String(), "Date: -"), err
}

// check plays a script to both servers and returns how they differ.
func (j *judge) check(list []segment) error {
	seen, answered, err := j.send(j.plain, list)
	seen2, answered2, err2 := j.send(j.fast, list)
	if err != nil || err2 != nil || seen != seen2 || answered != answered2 {
		want, got := differing(seen+answered, seen2+answered2)
		return fmt.Errorf("net/http: %v\n%q\nwith the fast path: %v\n%q\nby the script\n%s", err, want, err2, got, describe(list))
	}
	return nil
}

// differing returns the parts around the first difference.
func differing(a, b string) (string, string) {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	part := func(s string) string { return s[max(0, min(i-100, len(s))):min(len(s), i+200)] }
	return part(a), part(b)
}

var (
	scripts = flag.Uint64("scripts", 10_000, "how many scripts TestFault25ScriptsAsUnderNetHTTP plays")
	from    = flag.Uint64("from", 1, "the number of the first of these scripts")
)

// Scripts hold requests that are plain, odd, hidden in others, pipelined and cut anywhere. With the
// fast path and without it, handlers see the same requests and clients get the same bytes. The
// number of a script is its seed.
func TestFault25ScriptsAsUnderNetHTTP(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	var group sync.WaitGroup
	var count atomic.Uint64
	next := func() uint64 { return *from + count.Add(1) - 1 }
	for range 2 * runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for n := next(); n < *from+*scripts && !t.Failed(); n = next() {
				random := rand.New(rand.NewPCG(25, n)) //nolint:gosec // to be reproducible
				choices := make([]byte, 8+random.IntN(56))
				for i := range choices {
					choices[i] = byte(random.Uint32())
				}
				if err := j.check(script(choices)); err != nil {
					t.Errorf("script %d: %v", n, err)
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d scripts, %d requests, %d fast responses", *scripts, j.calls.Load(), j.answered.Load())
	if uint64(j.answered.Load()) < *scripts/10 { //nolint:gosec // a count
		t.Errorf("got %d fast responses, too few for the scripts to test much", j.answered.Load())
	}
}

// FuzzScripts does the same with fuzzed scripts.
func FuzzScripts(f *testing.F) {
	j := newJudge(f)
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // to be reproducible
	for n := range 50 {
		choices := make([]byte, 4*n)
		for i := range choices {
			choices[i] = byte(random.Uint32())
		}
		f.Add(choices)
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		if len(choices) > 400 {
			return // longer scripts find no more than short ones, and take seconds
		}
		if err := j.check(script(choices)); err != nil {
			t.Error(err)
		}
	})
}
