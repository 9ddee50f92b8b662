package cache_test

import (
	"context"
	"testing"
	"time"

	"fieldcache/cache"
)

// ranOnStandby reports a statement that runs on a standby.
func ranOnStandby(ctx context.Context, w *cache.Watch) {
	w.Began(ctx, cache.OnStandby)
	w.Ended(ctx, cache.OnStandby)
}

// What may be made of a standby's rows is not stored: by a field's own statement, or that of a loader, which may read for
// other requests and hold the rows for as long as its own takes.
func TestWhoReadsFromAStandby(t *testing.T) {
	t.Parallel()
	type moments struct {
		before, during func(w *cache.Watch, own, other context.Context)
	}
	for name, tt := range map[string]struct {
		moments
		apart bool // whether each request has its own loaders
		want  bool
	}{
		"nobody":                             {},
		"an expected statement":              {moments: moments{during: func(w *cache.Watch, own, _ context.Context) { ranOnStandby(cache.Unwatched(own), w) }}},
		"the field itself":                   {moments: moments{during: func(w *cache.Watch, own, _ context.Context) { ranOnStandby(own, w) }}, want: true},
		"a loader, earlier in the request":   {moments: moments{before: func(w *cache.Watch, own, _ context.Context) { ranOnStandby(own, w) }}, want: true},
		"a loader with its own context":      {moments: moments{during: func(w *cache.Watch, _, _ context.Context) { ranOnStandby(context.Background(), w) }}, want: true},
		"the same, and each request has its": {moments: moments{during: func(w *cache.Watch, _, _ context.Context) { ranOnStandby(context.Background(), w) }}, apart: true, want: true},
		"another request":                    {moments: moments{during: func(w *cache.Watch, _, other context.Context) { ranOnStandby(other, w) }}, want: true},
		"another request, earlier":           {moments: moments{before: func(w *cache.Watch, _, other context.Context) { ranOnStandby(other, w) }}},
		"another request, still running":     {moments: moments{before: func(w *cache.Watch, _, other context.Context) { w.Began(other, cache.OnStandby) }}, want: true},
		"another request with its own loaders": {
			moments: moments{during: func(w *cache.Watch, _, other context.Context) { ranOnStandby(other, w) }}, apart: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := new(cache.Watch)
			w.RememberStatements(tt.apart)
			c, err := cache.New(cache.Options{Memory: memory(t), Watch: w})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			own, other := c.Begin(t.Context()), c.Begin(t.Context())
			if tt.before != nil {
				tt.before(w, own, other)
			}
			declared, d := w.CollectApart(own, nil)
			observed, o := w.CollectStatements(own, nil)
			if tt.during != nil {
				tt.during(w, declared, other)
				tt.during(w, observed, other)
			}
			for which, deps := range map[string]cache.Deps{"declared": d.Deps(), "observed": o.Deps()} {
				if deps.Standby != tt.want || tt.want && (deps.Unstorable != cache.StandbyReason || !deps.Passing) {
					t.Errorf("%s: got Standby %v, Unstorable %q, Passing %v, want %v", which, deps.Standby, deps.Unstorable, deps.Passing, tt.want)
				}
			}
		})
	}
}

// A source that reads from a standby stores nothing, although its statements are expected.
func TestSourcesThatReadFromAStandby(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		standby bool
		loads   int
	}{
		"primary": {false, 1},
		"standby": {true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, loads := new(cache.Watch), 0
			c, err := cache.New(cache.Options{Memory: memory(t), Watch: w})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			s := &slow{row: "ada", read: func(loading context.Context, row string) any {
				loads++
				if tt.standby {
					ranOnStandby(loading, w)
				}
				return row
			}}
			for range 2 {
				ctx, collector := w.Collect(t.Context(), nil)
				r := cache.Request{Item: cache.Item{Key: "user:1", MaxAge: time.Minute}, Source: s}
				results, err := c.NewBatch().Load(ctx, []cache.Request{r})
				if err != nil || results[0].Value != "ada" {
					t.Errorf("got %v, error %v", results, err)
				}
				if deps := collector.Deps(); deps.Standby != tt.standby || deps.Passing != tt.standby {
					t.Errorf("got Standby %v, Passing %v, want %v", deps.Standby, deps.Passing, tt.standby)
				}
			}
			if loads != tt.loads {
				t.Errorf("got %d loads, want %d", loads, tt.loads)
			}
		})
	}
}
