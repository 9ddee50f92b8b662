package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"fieldcache/cache"
)

// spoilt is a source that cannot read some of its rows.
type spoilt struct {
	*client
	bad []cache.Key
	err error
}

func (s *spoilt) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values, seen, err := s.client.Load(ctx, requests)
	if slices.ContainsFunc(requests, func(r cache.Request) bool { return slices.Contains(s.bad, r.Key) }) {
		err = s.err
	}
	return values, seen, err
}

// A row that cannot be read fails alone, after a number of loads that grows with the logarithm of
// the batch. Any other error fails the whole batch after one load.
func TestARowThatCannotBeReadFailsAlone(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		bad   []int
		loads int // at most
	}{
		"none":         {nil, nil, 1},
		"one row":      {fmt.Errorf("%w: a value", cache.ErrRow), []int{37}, 15},
		"two rows":     {fmt.Errorf("%w: a value", cache.ErrRow), []int{0, 99}, 29},
		"the database": {errors.New("it is away"), []int{37}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := newDatabase(1)
				p := begin(t, d, nil)
				s := &spoilt{client: &client{database: d, gate: new(gate)}, err: c.err}
				requests := make([]cache.Request, 100)
				for i := range requests {
					key := cache.Entity("user", fmt.Sprint(i))
					d.seed(key, fmt.Sprint(i))
					if slices.Contains(c.bad, i) {
						s.bad = append(s.bad, key)
					}
					requests[i] = p.request(key)
					requests[i].Source = s
				}
				for i, r := range p.Cache.Load(t.Context(), requests) {
					switch fails := slices.Contains(c.bad, i) || c.err != nil && !errors.Is(c.err, cache.ErrRow); {
					case fails && !errors.Is(r.Err, c.err):
						t.Errorf("row %d: got %v, error %v; want the error of the source", i, r.Value, r.Err)
					case !fails && (r.Err != nil || r.Value != fmt.Sprint(i)):
						t.Errorf("row %d: got %v, error %v; want the value", i, r.Value, r.Err)
					}
				}
				if d.loads > c.loads {
					t.Errorf("got %d loads, want at most %d", d.loads, c.loads)
				}
			})
		})
	}
}
