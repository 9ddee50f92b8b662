package cache_test

import (
	"context"
	"maps"
	"sync"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/internal/protocol"
)

// promoted returns a database with the same contents, which continues the transaction numbers in an
// epoch of its own. It does not see later writes to d.
func (d *database) promoted(epoch cache.Epoch) *database {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := newDatabase(2)
	n.epoch, n.next, n.newest, n.history = epoch, d.next, d.newest, maps.Clone(d.history)
	return n
}

// address is an outbox that polls one database, and another after it moves.
type address struct {
	cache.Outbox // the one that is polled
	mu           sync.Mutex
}

func (a *address) moves(to cache.Outbox) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.Outbox = to
}

func (a *address) Poll(ctx context.Context, p cache.Page) (cache.News, error) {
	a.mu.Lock()
	o := a.Outbox
	a.mu.Unlock()
	return o.Poll(ctx, p)
}

// unsaying is a source that does not report its snapshot.
type unsaying struct{ *client }

func (u unsaying) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values, _, err := u.client.Load(ctx, requests)
	return values, cache.Snapshot{}, err
}

// splitBrain returns a gateway whose database failed over to one that lacks the last write to
// user:1, while the old primary still responds. The gateway has polled the new one.
func splitBrain(t *testing.T) (p *process, old, promoted *client, redis *fakeRedis) {
	d := newDatabase(1)
	d.epoch = "old"
	d.run(set("user:1", "kept"))
	d.run(set("user:2", "kept"))
	redis = newFakeRedis(1)
	at := &address{}
	p = begin(t, d, redis, func(o *cache.Options) { at.Outbox, o.Outbox = o.Outbox, at })
	next := d.promoted("new")
	p.write(t, set("user:1", "lost"))
	p.reads(t, "user:1", "lost", cache.SourceTier)
	p.reads(t, "user:2", "kept", cache.SourceTier)
	old, promoted = p.client, &client{database: next, gate: p.gate}
	at.moves(promoted)
	time.Sleep(time.Second)
	return p, old, promoted, redis
}

// at reads a row from one of the databases.
func (p *process) at(t *testing.T, source cache.Source, k cache.Key) cache.Result {
	return p.Cache.Load(t.Context(), []cache.Request{{Item: cache.Item{Key: k, MaxAge: time.Minute}, Source: source}})[0]
}

func TestSplitBrainForgetsWhatWasLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, _, promoted, redis := splitBrain(t)
		if r := p.at(t, promoted, "user:1"); r.Value != "kept" || r.Tier != cache.SourceTier {
			t.Errorf("after the failover: got %+v for user:1, want the value of the new primary", r)
		}
		other := begin(t, promoted.database, redis)
		other.reads(t, "user:1", "kept", cache.SharedTier)
		other.reads(t, "user:2", "kept", cache.SourceTier) // Redis has what was read before the failover: it must not be served

		// The new primary reuses the number of the lost write, for a write that no gateway runs.
		p.at(t, promoted, "user:2")
		if w := promoted.run(set("user:2", "new")); w.Xid != 102 {
			t.Fatalf("got transaction number %d, want 102, that of the lost write", w.Xid)
		}
		time.Sleep(time.Second)
		for _, g := range []*process{p, other} {
			if r := g.at(t, promoted, "user:2"); r.Value != "new" {
				t.Errorf("got %+v for user:2 after a write with the number of the lost one, want the new value", r)
			}
		}
	})
}

func TestSplitBrainAnswersOfTheOldPrimaryAreNotCached(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, old, promoted, redis := splitBrain(t)
		if r := p.at(t, old, "user:1"); r.Value != "lost" || r.Unstored == "" || r.Stamp != nil {
			t.Errorf("got %+v from the old primary, want a value that is not cached", r)
		}
		if e := redis.entry(cache.Item{Key: "user:1"}); e == `"lost"` {
			p2 := begin(t, promoted.database, redis)
			p2.reads(t, "user:1", "kept", cache.SourceTier)
		}
		if r := p.at(t, promoted, "user:1"); r.Value != "kept" || r.Tier != cache.SourceTier {
			t.Errorf("after a read of the old primary: got %+v for user:1, want the value of the new one", r)
		}
		if r := p.at(t, old, "user:1"); r.Value != "kept" || r.Tier != cache.MemoryTier {
			t.Errorf("got %+v, want the cached value of the new primary", r)
		}
	})
}

func TestSplitBrainWritesOfTheOldPrimaryRaiseNoFloors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, old, promoted, redis := splitBrain(t)
		p.at(t, promoted, "user:1")
		for range 50 {
			old.run(set("user:3", "x")) // the old primary's numbers run ahead
		}
		w := old.run(set("user:1", "split"))
		if _, err := p.Evict(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if p.Trusted(time.Now()) {
			t.Error("the lease still holds after a write of another epoch")
		}
		time.Sleep(time.Second)
		other := begin(t, promoted.database, redis)
		other.reads(t, "user:1", "kept", cache.SourceTier)
		if r := p.at(t, promoted, "user:1"); r.Value != "kept" || r.Tier != cache.SharedTier {
			t.Errorf("got %+v for user:1, want it from the shared tier", r)
		}
		// A write of the new primary has a lower number than the old primary's, and still counts.
		promoted.run(set("user:1", "new"))
		time.Sleep(time.Second)
		if r := p.at(t, promoted, "user:1"); r.Value != "new" {
			t.Errorf("got %+v for user:1, want the value that the new primary wrote", r)
		}
	})
}

// A source that does not report its snapshot is assumed to read the database that is polled, except
// around a failover.
func TestUnsaidSnapshotsAroundAFailover(t *testing.T) {
	for name, c := range map[string]struct {
		before, after time.Duration // when the load begins, before or after the failover; it takes a while
		cached        bool
	}{
		"long after it":   {after: 2 * time.Second, cached: true},
		"just after it":   {after: 500 * time.Millisecond},
		"while it occurs": {before: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := newDatabase(1)
				d.epoch = "old"
				d.run(set("user:1", "one"))
				at := &address{}
				p := begin(t, d, nil, func(o *cache.Options) { at.Outbox, o.Outbox = o.Outbox, at })
				moves := func() { at.moves(&client{database: d.promoted("new"), gate: p.gate}) }
				if c.before > 0 {
					d.setSlow(time.Minute)
					time.AfterFunc(c.before, moves)
				} else {
					moves()
					time.Sleep(c.after)
				}
				r := p.at(t, unsaying{p.client}, "user:1")
				if r.Err != nil || (r.Unstored == "") != c.cached {
					t.Errorf("got %+v, want it cached: %v", r, c.cached)
				}
			})
		})
	}
}

// The lease was lost because of a write of another epoch. The result of a poll from before that
// write does not renew it.
func TestAPollFromBeforeDoesNotRenewALostLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := newDatabase(1)
		d.epoch = "old"
		at := &address{}
		p := begin(t, d, nil, func(o *cache.Options) { at.Outbox, o.Outbox = o.Outbox, at })
		slow := &slowPoll{Outbox: p.client, answered: make(chan struct{}), goOn: make(chan struct{})}
		at.moves(slow)
		<-slow.answered
		next := d.promoted("new")
		at.moves(&client{database: next, gate: p.gate})
		if _, err := p.Evict(t.Context(), next.run(set("user:1", "new"))); err != nil {
			t.Fatal(err)
		}
		close(slow.goOn)
		time.Sleep(time.Millisecond)
		if p.Trusted(time.Now()) {
			t.Error("a poll from before the write renewed the lease")
		}
		time.Sleep(time.Second)
		if !p.Trusted(time.Now()) {
			t.Error("the lease does not hold after a poll of the new database")
		}
	})
}

// slowPoll is an outbox whose first result is delayed until goOn is closed.
type slowPoll struct {
	cache.Outbox
	once           sync.Once
	answered, goOn chan struct{}
}

func (l *slowPoll) Poll(ctx context.Context, p cache.Page) (cache.News, error) {
	news, err := l.Outbox.Poll(ctx, p)
	l.once.Do(func() {
		close(l.answered)
		<-l.goOn
	})
	return news, err
}

func TestMayKeep(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		seen  cache.Epoch
		polls cache.Epoch
		want  bool
	}{
		"the one that is polled":       {"a", "a", true},
		"no epoch, and none is polled": {"", "", true},
		"another":                      {"a", "b", false},
		"none":                         {"", "b", false},
		"one before the first":         {"a", "", false},
		"mixed":                        {cache.Snapshot{Epoch: "a"}.Then(cache.Snapshot{Epoch: "b"}).Epoch, "b", false},
	} {
		if got := protocol.MayKeep(cache.Snapshot{Epoch: c.seen, Xmin: 5, Xmax: 5}, c.polls); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestThen(t *testing.T) {
	t.Parallel()
	first := cache.Snapshot{Epoch: "a", Xmin: 5, Xmax: 7, Xip: []uint64{5}}
	for name, c := range map[string]struct {
		next cache.Snapshot
		same bool
	}{
		"of the same epoch": {cache.Snapshot{Epoch: "a", Xmin: 9, Xmax: 9}, true},
		"of another epoch":  {cache.Snapshot{Epoch: "b", Xmin: 9, Xmax: 9}, false},
		"of no epoch":       {cache.Snapshot{Xmin: 9, Xmax: 9}, false},
	} {
		got := first.Then(c.next)
		if got.String() != first.String() {
			t.Errorf("%s: got the numbers of %v, want those of the first statement", name, got)
		}
		for _, e := range []cache.Epoch{"a", "b", ""} {
			if want := c.same && e == "a"; protocol.MayKeep(got, e) != want {
				t.Errorf("%s: in epoch %q MayKeep returns %v", name, e, !want)
			}
		}
	}
	if twice := first.Then(cache.Snapshot{Epoch: "b", Xmax: 9}).Then(first); protocol.MayKeep(twice, "a") {
		t.Error("a third statement restores the epoch that the second one changed")
	}
}
