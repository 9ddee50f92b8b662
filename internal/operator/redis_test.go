package operator_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
	"fieldcache/internal/operator"
)

// sampled is a fake Redis that counts how often it is sampled.
type sampled struct {
	times atomic.Int32
	fault error
	kind  string        // of its keys; "" stands for user
	began chan struct{} // nil: samples return at once; otherwise it receives a value for each sample, which then waits for its context
}

func (s *sampled) Sample(ctx context.Context) (redisstore.Sample, error) {
	s.times.Add(1)
	if s.began != nil {
		s.began <- struct{}{}
		<-ctx.Done()
		return redisstore.Sample{}, ctx.Err()
	}
	return redisstore.Sample{Bytes: 4096, Keys: 12, Drawn: 3, Kinds: []redisstore.SampledKind{{Kind: cmp.Or(s.kind, "user"), Keys: 12, Bytes: 100}}}, s.fault
}

// sick is a cache whose shared tier is unusable while there is a reason.
type sick struct {
	operator.Cache
	reason atomic.Pointer[error]
}

func (s *sick) Sickness() error {
	if why := s.reason.Load(); why != nil {
		return *why
	}
	return nil
}

func TestRedisIsSampledWhileSomebodyLooks(t *testing.T) {
	t.Parallel()
	of := &sampled{}
	s := open(t, func(o *operator.Options) { o.Redis, o.SampleRedis = of, time.Hour })
	if n := of.times.Load(); n != 0 {
		t.Errorf("Redis was sampled %d times before a page was open, want 0", n)
	}
	first, second := s.listen(t), s.listen(t)
	for _, next := range []func(string) map[string]any{first, second} {
		redis := next("counters")["redis"].(map[string]any)
		for redis["sample"] == nil { // the test's deadline ends the loop
			redis = next("counters")["redis"].(map[string]any)
		}
		got := redis["sample"].(map[string]any)
		kind := got["kinds"].([]any)[0].(map[string]any)
		if got["keys"] != 12.0 || got["drawn"] != 3.0 || got["bytes"] != 4096.0 || kind["kind"] != "user" || kind["keys"] != 12.0 || redis["sick"] != nil || redis["error"] != nil {
			t.Errorf("got %v for Redis", redis)
		}
	}
	if n := of.times.Load(); n != 1 {
		t.Errorf("two pages, open for less than an hour, had Redis sampled %d times, want once", n)
	}
}

// A sample is canceled when the page that caused it closes, and the next one is not due before its
// time.
func TestRedisIsLeftInPeaceOnceNobodyLooks(t *testing.T) {
	t.Parallel()
	of := &sampled{began: make(chan struct{}, 2)}
	ended := make(chan struct{}, 2)
	s := open(t, func(o *operator.Options) { o.Redis, o.SampleRedis = of, time.Hour })
	page := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page.ServeHTTP(w, r)
		ended <- struct{}{}
	})
	for i := range 2 {
		ctx, leave := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/cache/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			<-of.began
		} else if _, err := io.ReadFull(res.Body, make([]byte, 1000)); err != nil { // some events
			t.Error(err)
		}
		leave()
		_ = res.Body.Close()
		<-ended // the handler waits for the sample
	}
	if n := of.times.Load(); n != 1 {
		t.Errorf("Redis was sampled %d times, want once", n)
	}
}

func redact(text string) string { return strings.ReplaceAll(text, "hunter2", "…") }

func TestSickRedis(t *testing.T) {
	t.Parallel()
	of := &sampled{}
	var c *sick
	s := open(t, func(o *operator.Options) {
		c = &sick{Cache: o.Cache}
		o.Cache, o.Redis, o.SampleRedis, o.Redact = c, of, time.Millisecond, redact
	})
	why := errors.Join(cache.ErrRefused, errors.New("READONLY You can't write against a read only replica, hunter2"))
	c.reason.Store(&why)
	next := s.listen(t)
	for range 3 {
		if redis := next("counters")["redis"].(map[string]any); redis["sick"] != "refused\nREADONLY You can't write against a read only replica, …" || redis["sample"] != nil {
			t.Errorf("got %v for a sick Redis", redis)
		}
	}
	if n := of.times.Load(); n != 0 {
		t.Errorf("a sick Redis was sampled %d times, want 0", n)
	}
	c.reason.Store(nil)
	for next("counters")["redis"].(map[string]any)["sample"] == nil { // the test's deadline ends the loop
	}
}

func TestRedisThatCannotBeSampled(t *testing.T) {
	t.Parallel()
	s := open(t, func(o *operator.Options) { o.Redis, o.Redact = &sampled{fault: errors.New("NOPERM hunter2")}, redact })
	next := s.listen(t)
	for redis := next("counters")["redis"].(map[string]any); redis["error"] != "NOPERM …"; redis = next("counters")["redis"].(map[string]any) {
		if redis["error"] != nil || redis["sample"] != nil {
			t.Fatalf("got %v for a Redis that cannot be sampled", redis)
		}
	}
	if c := open(t, nil).listen(t)("counters"); c["redis"] != nil {
		t.Errorf("without Redis got %v, want nil", c["redis"])
	}
}
