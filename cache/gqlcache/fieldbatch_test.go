package gqlcache_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
	"fieldcache/internal/testservers"
)

// countedStore counts the look-ups in Redis and their items.
type countedStore struct {
	*redisstore.Store
	calls, items atomic.Int64
}

func (s *countedStore) note(items []cache.Item) {
	s.calls.Add(1)
	s.items.Add(int64(len(items)))
}

func (s *countedStore) Get(ctx context.Context, items []cache.Item) ([]*cache.Entry, error) {
	s.note(items)
	return s.Store.Get(ctx, items)
}

func (s *countedStore) GetOrBegin(ctx context.Context, items []cache.Item) ([]*cache.Entry, []cache.Ticket, error) {
	s.note(items)
	return s.Store.GetOrBegin(ctx, items)
}

// addIssues adds n issues by ann to the tracker.
func (s *trackerSite) addIssues(n int) {
	s.exec(`INSERT INTO issues (project_key, number, title, author_id) SELECT 'docs', i, 'issue ' || i, $1 FROM generate_series(1, $2) i`, ann, n)
}

// All values that a level lacks are looked up in Redis together. A batch resolver is called once
// for each list of arguments.
func TestBatchResolversAreCalledOnceForALevel(t *testing.T) {
	url, redis := testservers.Postgres(t), testservers.Redis(t)
	var store *countedStore
	counting := func(o *siteOptions) {
		o.shared = func(r *redisstore.Store) cache.Store {
			store = &countedStore{Store: r}
			return store
		}
	}
	s := openTrackerSite(t, url, redis, nil, counting)
	s.seed()
	s.addIssues(20)
	levels := `{account(handle:"ann"){issues{title mentions(word:"e") other:mentions(word:"o") same:mentions(word:"e")}}}`
	s.same(ann, levels)
	// On a slow machine the patience of a batch ends early, which causes more calls.
	s.eventually("batch resolvers are not called once for a list of arguments", func() bool {
		calls := s.tables.Batches()
		responseIn(t, cache.NoCache(t.Context()), s.cached, ann, levels)
		return s.tables.Batches()-calls == 2
	})
	s.eventually("sources are called although nothing changed", func() bool {
		loads := s.cache.Stats().Loads.Load()
		responseTo(t, s.cached, ann, levels)
		return s.cache.Stats().Loads.Load() == loads
	})
	calls := s.tables.Batches()
	s.exec(`INSERT INTO comments (issue_id, body) SELECT id, 'one more' FROM issues WHERE number < 4`)
	s.same(ann, levels)
	if n := s.tables.Batches() - calls; n < 2 || n > 8 {
		t.Errorf("got %d calls of batch resolvers after a write, want 2, and at most 8 on a slow machine", n)
	}
	s.eventually("a second process does not read everything from Redis, once for each level", func() bool {
		responseTo(t, s.cached, ann, levels)
		second := openTrackerSite(t, url, redis, nil, counting)
		defer second.close()
		if got, want := responseTo(t, second.cached, ann, levels), responseTo(t, s.plain, ann, levels); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		return store.calls.Load() == 3 && store.items.Load() == 2+2*21 && second.tables.Batches() == 0
	})
}

// Items of a batch fail alone, with their own paths and with gqlgen's messages.
func TestItemsOfABatchFailAlone(t *testing.T) {
	s := newTrackerSite(t)
	s.seed()
	s.exec(`UPDATE issues SET state = 'CLOSED' WHERE number = 2`)
	for _, q := range []string{
		`{account(handle:"ann"){issues{number mentions}}}`,
		`{feed{... on Issue{number mentions}}}`,
		fmt.Sprintf(`{issue(id:%q){number mentions}}`, wish),
		fmt.Sprintf(`{issue(id:%q){number mentions(word:"")}}`, bug),
	} {
		for range 2 {
			got, want := responseTo(t, s.cached, ann, q), responseTo(t, s.plain, ann, q)
			if got != want {
				t.Errorf("%s: got %s, want %s", q, got, want)
			}
		}
	}
	if calls := s.tables.Batches(); calls > 8 {
		t.Errorf("got %d calls of batch resolvers, want at most 8", calls)
	}
	if got := responseTo(t, s.cached, ann, `{feed{... on Issue{number mentions}}}`); !strings.Contains(got, `"mentions":1`) || !strings.Contains(got, "closed issues are not searched") {
		t.Error(got)
	}
}

// Private values of a batch resolver are not shared between viewers.
func TestBatchesOfSeveralViewersAreApart(t *testing.T) {
	s := newTrackerSite(t)
	s.seed()
	q := fmt.Sprintf(`{issue(id:%q){comments{mine body}}}`, bug)
	done := make(chan string)
	for range 3 {
		for _, viewer := range []string{"", ann, bob} {
			want := responseTo(t, s.plain, viewer, q)
			for range 4 {
				go func() {
					if got := responseTo(t, s.cached, viewer, q); got != want {
						done <- fmt.Sprintf("%q is answered %s, want %s", viewer, got, want)
						return
					}
					done <- ""
				}()
			}
		}
		for range 12 {
			if fault := <-done; fault != "" {
				t.Error(fault)
			}
		}
		s.exec(`UPDATE comments SET author_id = $1`, ann)
		for _, viewer := range []string{"", ann, bob} {
			s.same(viewer, q)
		}
	}
}
