package transport_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"fieldcache/cache/transport"
)

// The memory of all requests together is limited, however many connections send large bodies at a
// time. Small requests are served even then.
func TestLargeBodiesAreRefusedWhenMemoryIsFull(t *testing.T) {
	t.Parallel()
	admission := admission(t, transport.AdmissionOptions{MaxRunning: 1000, MaxWait: 1e9})
	s := serve(transport.Options{Admission: admission, RequestBytes: 256 << 20})
	running, end := make(chan bool), make(chan bool)
	s.field = func(_ context.Context, _ string, args map[string]any) (string, error) {
		if args["name"] == "waits" {
			running <- true
			<-end
		}
		return `"hello"`, nil
	}
	large := `{"query":"{ hello(name: \"waits\") }","extensions":{"":[` + strings.Repeat(`{"":0},`, 100_000) + `0]}}`
	const clients = 40
	responses := make(chan *http.Response, clients)
	for range clients {
		go func() { responses <- s.do(t, http.MethodPost, "/", large, asJSON) }()
	}
	ran, refused := 0, 0
	for ran+refused < clients {
		select {
		case <-running:
			ran++
		case r := <-responses:
			refused++
			if got := text(t, r); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(got, `"code":"OVERLOADED"`) || r.Header.Get("Retry-After") == "" {
				t.Fatalf("got %s: %s, want OVERLOADED with Retry-After", r.Status, got)
			}
		}
	}
	if ran == 0 || ran > 4 {
		t.Errorf("%d of %d requests ran at a time, each of which takes about 40 MB; want 1 to 4", ran, clients)
	}
	if got := admission.Refused(); got != uint64(refused) { //nolint:gosec // a count
		t.Errorf("counted %d refusals, want %d", got, refused)
	}
	if r := s.do(t, http.MethodPost, "/", hello, asJSON); r.StatusCode != http.StatusOK {
		t.Errorf("a small request: got %s, want 200", r.Status)
	}
	close(end)
	for range ran {
		if r := <-responses; r.StatusCode != http.StatusOK {
			t.Errorf("got %s, want 200", r.Status)
		}
	}
	go func() { <-running }()
	if r := s.do(t, http.MethodPost, "/", large, asJSON); r.StatusCode != http.StatusOK {
		t.Errorf("when the others have ended: got %s, want 200", r.Status)
	}
}

// Bodies are weighed while they are read: clients that send slowly cannot fill the memory.
func TestUnfinishedBodiesAreWeighed(t *testing.T) {
	t.Parallel()
	s := serve(transport.Options{RequestBytes: 64 << 20})
	end := make(chan bool)
	const clients = 60
	done, waits := make(chan int, clients), make(chan bool, clients)
	for range clients {
		go func() {
			body := &slowBody{left: 1 << 20, waits: waits, end: end}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
			if err != nil {
				panic(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.ContentLength = 1 << 20
			w := &statusOnly{header: http.Header{}}
			s.ServeHTTP(w, r)
			done <- w.status
		}()
	}
	waiting := 0
	for n := 0; n < clients; n++ {
		select {
		case <-waits:
			waiting++
		case status := <-done:
			if status != http.StatusServiceUnavailable {
				t.Fatalf("got %d, want 503", status)
			}
		}
	}
	if waiting == 0 || waiting > 24 {
		t.Errorf("%d of %d bodies were read at a time, want at most 24", waiting, clients)
	}
	close(end)
}

// slowBody sends all of its bytes but one, and waits.
type slowBody struct {
	left       int
	waits, end chan bool
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left > 1 {
		n := min(len(p), b.left-1)
		for i := range p[:n] {
			p[i] = ' '
		}
		b.left -= n
		return n, nil
	}
	b.waits <- true
	<-b.end
	return 0, http.ErrBodyReadAfterClose
}

func (*slowBody) Close() error { return nil }

// statusOnly is a ResponseWriter that keeps the status.
type statusOnly struct {
	header http.Header
	status int
}

func (w *statusOnly) Header() http.Header         { return w.header }
func (w *statusOnly) WriteHeader(status int)      { w.status = status }
func (w *statusOnly) Write(p []byte) (int, error) { return len(p), nil }
