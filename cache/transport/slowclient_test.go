package transport_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"fieldcache/cache/transport"
)

// stalled is the ResponseWriter of a client that does not read its response.
type stalled struct {
	statusOnly
	writes, end chan bool
}

func (w *stalled) Write(p []byte) (int, error) {
	w.writes <- true
	<-w.end
	return len(p), nil
}

// bodyRequest returns a POST with a body.
func bodyRequest(t *testing.T, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/graphql", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// Clients that do not read their responses keep no other operation from being executed.
func TestSlowReadersHoldNoTurn(t *testing.T) {
	t.Parallel()
	s := serve(transport.Options{Admission: admission(t, transport.AdmissionOptions{MaxRunning: 2, MaxWait: time.Second})})
	writes, end := make(chan bool), make(chan bool)
	defer close(end)
	for range 10 {
		go s.ServeHTTP(&stalled{statusOnly{header: http.Header{}}, writes, end}, bodyRequest(t, strings.NewReader(hello)))
		<-writes
	}
	if r := s.do(t, http.MethodPost, "/", hello, asJSON); r.StatusCode != http.StatusOK {
		t.Errorf("beside clients that do not read: got %s: %s, want 200", r.Status, text(t, r))
	}
}

// The responses that wait for their clients take a limited amount of memory.
func TestResponsesToSlowReadersAreWeighed(t *testing.T) {
	t.Parallel()
	const running, size, limit = 3, 1 << 20, 16 << 20
	s := serve(transport.Options{
		RequestBytes: limit,
		Admission:    admission(t, transport.AdmissionOptions{MaxRunning: running, MaxWait: 50 * time.Millisecond}),
	})
	s.field = func(context.Context, string, map[string]any) (string, error) {
		return `"` + strings.Repeat("x", size) + `"`, nil
	}
	writes, end, refused := make(chan bool), make(chan bool), make(chan int)
	waiting := 0
	for ended := false; !ended; {
		w := &stalled{statusOnly{header: http.Header{}}, writes, end}
		go func() {
			s.ServeHTTP(w, bodyRequest(t, strings.NewReader(hello)))
			refused <- w.status
		}()
		select {
		case <-writes:
			if w.status == http.StatusServiceUnavailable {
				ended = true
				continue
			}
			waiting++
		case status := <-refused:
			t.Fatalf("got %d before the response was read", status)
		}
	}
	if least, most := running+1, running+limit/size; waiting < least || waiting > most {
		t.Errorf("%d responses of a megabyte wait for their clients, want %d to %d", waiting, least, most)
	}
	close(end)
	for range waiting + 1 {
		<-refused
	}
	if r := s.do(t, http.MethodPost, "/", hello, asJSON); r.StatusCode != http.StatusOK {
		t.Errorf("when all clients have read: got %s, want 200", r.Status)
	}
}

// unsent is the body of a client that has announced it and sends nothing.
type unsent struct{ waits, end chan bool }

func (b unsent) Read([]byte) (int, error) {
	b.waits <- true
	<-b.end
	return 0, errors.New("the client has gone")
}

// What clients have announced and not sent takes no memory, so that they cannot keep others from
// being served.
func TestUnsentBodiesTakeNoMemory(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, transport.Options{RequestBytes: 1 << 20})
	k.front = true
	b := unsent{make(chan bool), make(chan bool)}
	const clients, size = 40, 64 << 10
	ended := make(chan int)
	for range clients {
		go func() {
			w, r := &statusOnly{header: http.Header{}}, bodyRequest(t, b)
			r.ContentLength = size
			if _, served := k.ServeCached(w, r); !served {
				k.ServeHTTP(w, r)
			}
			ended <- w.status
		}()
		<-b.waits
	}
	if r := k.send(t, post(hello)); r.status != http.StatusOK {
		t.Errorf("beside %d bodies that are not sent: got %d: %s, want 200", clients, r.status, r.body)
	}
	close(b.end)
	for n := 0; n < clients; {
		select {
		case <-b.waits: // reads on: the error was not the last
		case status := <-ended:
			if n++; status != http.StatusBadRequest {
				t.Errorf("an incomplete body: got %d, want 400", status)
			}
		}
	}
}
