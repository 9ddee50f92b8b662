package transport_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vektah/gqlparser/v2/gqlerror"

	"fieldcache/cache/transport"
)

func admission(t *testing.T, o transport.AdmissionOptions) *transport.Admission {
	t.Helper()
	a, err := transport.NewAdmission(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// crowd counts the responses of many clients. Each client sends its next request as soon as it has
// a response.
type crowd struct {
	good, changed, overloaded, late, other atomic.Int64
	longest                                atomic.Int64 // ns until a request was refused
}

// send runs clients for a while. Each tenth client sends mutations.
func (c *crowd) send(s *service, clients int, long time.Duration) {
	var group sync.WaitGroup
	end := time.Now().Add(long)
	for n := range clients {
		body := `{"query":"{ hello }"}`
		if n%10 == 0 {
			body = `{"query":"mutation { change }"}`
		}
		group.Go(func() {
			for time.Now().Before(end) {
				r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				began := time.Now()
				s.ServeHTTP(w, r)
				text := w.Body.String()
				switch {
				case w.Code == http.StatusOK && !strings.Contains(text, "errors"):
					c.good.Add(1)
					if n%10 == 0 {
						c.changed.Add(1)
					}
				case w.Code == http.StatusServiceUnavailable && strings.Contains(text, `"code":"OVERLOADED"`) && w.Header().Get("Retry-After") != "":
					c.overloaded.Add(1)
					if took := int64(time.Since(began)); took > c.longest.Load() {
						c.longest.Store(took)
					}
				case w.Code == http.StatusGatewayTimeout && strings.Contains(text, `"code":"TIMEOUT"`):
					c.late.Add(1)
				default:
					c.other.Add(1)
				}
			}
		})
	}
	group.Wait()
}

// slow makes each field run three statements on one of four connections: 50 operations a second in
// total.
func slow(s *service) {
	connections := make(chan struct{}, 4)
	s.field = func(ctx context.Context, name string, _ map[string]any) (string, error) {
		for range 3 {
			select {
			case connections <- struct{}{}:
			case <-ctx.Done():
				return "null", &gqlerror.Error{Message: "late", Extensions: map[string]any{"code": "TIMEOUT"}}
			}
			time.Sleep(80 * time.Second / 3 / 1000)
			<-connections
		}
		return fmt.Sprintf("%q", name), nil
	}
}

// Under overload the server completes as many requests as it does for a few clients. It refuses the
// rest early, and completes what it begins. A crowd that is no overload is served completely.
func TestFault29Goodput(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := serve(transport.Options{Timeout: 10 * time.Second, Admission: admission(t, transport.AdmissionOptions{
			MaxRunning: 4 * 32, MaxWait: 2500 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})})
		slow(s)
		const long = 20 * time.Second
		var few, some, many crowd
		few.send(s, 32, long)
		some.send(s, 200, long)
		if log.Len() > 0 {
			t.Errorf("without an overload: got log %s", &log)
		}
		many.send(s, 1600, long)
		for name, c := range map[string]*crowd{"few": &few, "some": &some} {
			if c.overloaded.Load()+c.late.Load()+c.other.Load() > 0 {
				t.Errorf("%s: got %d overloaded, %d late, %d other; want 0", name, c.overloaded.Load(), c.late.Load(), c.other.Load())
			}
		}
		if many.good.Load() < few.good.Load()*8/10 || many.late.Load() > 0 || many.other.Load() > 0 {
			t.Errorf("with %d clients %d requests succeeded, with 32 clients %d; %d late, %d other",
				1600, many.good.Load(), few.good.Load(), many.late.Load(), many.other.Load())
		}
		if many.overloaded.Load() == 0 || time.Duration(many.longest.Load()) > 2500*time.Millisecond {
			t.Errorf("%d requests were refused, after at most %v", many.overloaded.Load(), time.Duration(many.longest.Load()))
		}
		if share := float64(many.changed.Load()) / float64(many.good.Load()); share < 0.05 || share > 0.2 {
			t.Errorf("got %.2f of the successful requests from clients that write, want about 0.1", share)
		}
		time.Sleep(time.Minute)
		few.send(s, 1, time.Second)
		if n := strings.Count(log.String(), "\n"); n != 2 {
			t.Errorf("got %d log lines, want one when the overload begins and one when it ends:\n%s", n, &log)
		}
	})
}

// A client that disconnects while it waits takes no turn, and a request that waits too long gets a
// timeout.
func TestAdmissionOfWhoHasGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := serve(transport.Options{Timeout: time.Second, Admission: admission(t, transport.AdmissionOptions{
			MaxRunning: 1, MaxWait: time.Minute, Log: slog.New(slog.DiscardHandler),
		})})
		release := make(chan struct{})
		s.field = func(context.Context, string, map[string]any) (string, error) { <-release; return `"x"`, nil }
		send := func(ctx context.Context) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(`{"query":"{ hello }"}`))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			return w
		}
		var group sync.WaitGroup
		group.Go(func() { send(t.Context()) })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		group.Go(func() {
			if w := send(ctx); w.Code != 499 || !strings.Contains(w.Body.String(), "CLIENT_CLOSED_REQUEST") {
				t.Errorf("got %d %s, want 499", w.Code, w.Body)
			}
		})
		synctest.Wait()
		cancel()
		if w := send(t.Context()); w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), `"TIMEOUT"`) {
			t.Errorf("got %d %s, want 504", w.Code, w.Body)
		}
		close(release)
		group.Wait()
		if len(s.ran) != 1 {
			t.Errorf("got %d executions, want 1", len(s.ran))
		}
	})
}

// During an outage of the database, operations that wait for it do not take turns from others, even
// from those that were already waiting for a turn. Afterwards the limit applies again.
func TestFault33AdmissionDuringAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out atomic.Bool
		a := admission(t, transport.AdmissionOptions{MaxRunning: 2, MaxWait: 2500 * time.Millisecond, Outage: out.Load, Log: slog.New(slog.DiscardHandler)})
		s := serve(transport.Options{Timeout: 10 * time.Second, Admission: a})
		s.field = func(ctx context.Context, name string, _ map[string]any) (string, error) {
			if name == "change" {
				<-ctx.Done()
				return "null", context.Cause(ctx)
			}
			return `"stale"`, nil
		}
		send := func(body string) (int, time.Duration) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			began := time.Now()
			s.ServeHTTP(w, r)
			return w.Code, time.Since(began)
		}
		var group sync.WaitGroup
		read := func(most time.Duration) {
			group.Go(func() {
				if code, took := send(`{"query":"{ hello }"}`); code != http.StatusOK || took > most {
					t.Errorf("got status %d for a read after %v", code, took)
				}
			})
		}
		for range 100 {
			group.Go(func() { send(`{"query":"mutation { change }"}`) })
		}
		synctest.Wait()
		read(1200 * time.Millisecond)
		time.Sleep(time.Second)
		out.Store(true)
		time.Sleep(time.Second)
		if n := a.Waiting(); n != 0 {
			t.Errorf("%d requests wait for a turn, want 0", n)
		}
		for range 100 {
			read(0)
		}
		group.Wait()
		if n := a.Refused(); n != 0 {
			t.Errorf("%d requests were refused, want 0", n)
		}
		out.Store(false)
		for range 3 {
			group.Go(func() { send(`{"query":"mutation { change }"}`) })
		}
		synctest.Wait()
		if n := a.Waiting(); n != 1 {
			t.Errorf("%d of three requests for two turns wait, want 1", n)
		}
		if code, took := send(`{"query":"{ hello }"}`); code != http.StatusServiceUnavailable || took != 2500*time.Millisecond {
			t.Errorf("got status %d after %v, want 503 after 2.5s", code, took)
		}
		group.Wait()
	})
}

// An admission that would admit nothing is refused.
func TestAdmissionWithoutBounds(t *testing.T) {
	t.Parallel()
	for _, o := range []transport.AdmissionOptions{{}, {MaxRunning: 1}, {MaxWait: time.Second}, {MaxRunning: 1, MaxWait: time.Second, MaxWaiting: -1}} {
		if a, err := transport.NewAdmission(o); a != nil || err == nil {
			t.Errorf("%+v: got %v, error %v", o, a, err)
		}
	}
}

// Requests wait only as long as an admitted request still has time to run.
func TestFault29WaitingLeavesTimeToRun(t *testing.T) {
	t.Parallel()
	for runs, want := range map[time.Duration]time.Duration{
		10 * time.Millisecond: 7500 * time.Millisecond, 1500 * time.Millisecond: 4 * time.Second, 3 * time.Second: 2500 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(transport.Options{Timeout: 10 * time.Second, Admission: admission(t, transport.AdmissionOptions{
				MaxRunning: 1, MaxWait: 7500 * time.Millisecond, Deadline: 10 * time.Second, Log: slog.New(slog.DiscardHandler),
			})})
			long := make(chan time.Duration, 2)
			s.field = func(context.Context, string, map[string]any) (string, error) { time.Sleep(<-long); return `"x"`, nil }
			send := func() (int, time.Duration) {
				r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"query":"{ hello }"}`))
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				began := time.Now()
				s.ServeHTTP(w, r)
				return w.Code, time.Since(began)
			}
			long <- runs
			send()
			long <- 20 * time.Second
			var group sync.WaitGroup
			group.Go(func() { send() })
			synctest.Wait()
			if code, took := send(); code != http.StatusServiceUnavailable || took != want {
				t.Errorf("with a run time of %v: got status %d after %v, want 503 after %v", runs, code, took, want)
			}
			group.Wait()
		})
	}
}
