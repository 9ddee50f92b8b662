package cache_test

import (
	"encoding/json"
	"errors"
	"time"

	"fieldcache/cache"
)

// simulatedLease is the default of [cache.Options].
const simulatedLease = time.Second

// read begins a read of some items at a gateway and checks the results.
func (s *simulation) read(i int) {
	p := s.gateways[i]
	var requests []cache.Request
	for _, n := range s.random.Perm(len(simulated))[:1+s.random.IntN(len(simulated))] {
		requests = append(requests, cache.Request{Item: simulated[n], Source: p.client})
	}
	s.open.Go(func() {
		p.gate.pass()
		began := time.Now()
		results := p.Cache.Load(s.t.Context(), requests)
		p.gate.pass()
		for n, r := range results {
			s.reads.Add(1)
			s.judge(p, i, requests[n].Item, r, began)
		}
	})
}

// judge checks that a result keeps the promises.
func (s *simulation) judge(p *process, i int, item cache.Item, r cache.Result, began time.Time) {
	if r.Err != nil {
		// A read that ends with its gateway has no result. A load that failed looks for a stale
		// value in the shared tier, which may hang. A reader that joins it then gets the error of
		// an outage that has just ended.
		from := began
		if r.Joined {
			from = began.Add(-time.Second)
		}
		// A gateway whose statements are frozen, but not its timers, cannot tell that from a
		// database that hangs.
		hung := errors.Is(r.Err, cache.ErrSlowSource) && p.gate.frozenSince(from)
		if !hung && !s.downBetween(from, time.Now()) && s.alive(p) {
			s.t.Errorf("gateway %d: reading %s failed while the database was healthy: %v", i, item.Key, r.Err)
			s.logf("gateway %d: reading %s fails: %v", i, item.Key, r.Err)
		}
		return
	}
	if r.Stale && s.strict {
		s.t.Errorf("gateway %d served %s stale", i, item.Key)
	}
	value, _ := r.Value.(string)
	versions := s.database.versions(item.Key)
	least := s.least(p, item.Key, versions, r, began)
	for _, v := range versions[least:] {
		if v.value == value && (v.lost.IsZero() || v.lost.After(began.Add(-s.bound(r)))) {
			return
		}
	}
	s.logf("gateway %d served %s as %q from tier %d, read began at %v (joined %v, stale %v); want at least version %d (%q)", i, item.Key,
		value, r.Tier, began.Sub(s.began), r.Joined, r.Stale, least, versions[least].value)
	s.t.Errorf("gateway %d served %s as %q, want at least version %d (%q)", i, item.Key, value, least, versions[least].value)
}

// least returns the oldest version that a result may have.
func (s *simulation) least(p *process, k cache.Key, versions []version, r cache.Result, began time.Time) (least int) {
	for i, v := range versions {
		if v.lost.IsZero() && !v.committed.After(began.Add(-s.bound(r))) || i == 0 {
			least = i
		}
	}
	s.redis.mu.Lock()
	restored := s.redis.restored
	s.redis.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.acks {
		if a.key != k || a.at.After(began) || a.version <= least || !versions[a.version].lost.IsZero() {
			continue
		}
		// A shared tier that came back with old contents after the write is detected within a
		// lease.
		shared := r.Tier == cache.SharedTier && !r.Joined && !r.Stale && restored.Before(versions[a.version].committed)
		if a.gateway == p || shared || r.Tier == cache.SourceTier && !r.Joined {
			least = a.version
		}
	}
	return least
}

// bound returns for how long a gateway may not know of the writes of others, or of a failover: a
// lease. A stale value is older by the time for which the database did not respond.
func (s *simulation) bound(r cache.Result) time.Duration {
	if r.Stale {
		return time.Minute
	}
	return simulatedLease
}

func (s *simulation) downBetween(from, to time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.outages {
		if !o.from.After(to) && (o.to.IsZero() || !o.to.Before(from)) {
			return true
		}
	}
	return false
}

func (s *simulation) alive(p *process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.dead[p]
}

// rest checks the state after everything has ended.
func (s *simulation) rest() {
	time.Sleep(15 * time.Second)
	if n := s.database.undone(); n > 0 {
		s.t.Errorf("%d writes were never evicted", n)
	}
	row := func(item cache.Item) string {
		s.database.mu.Lock()
		defer s.database.mu.Unlock()
		return s.database.row(item.Key)
	}
	for _, item := range simulated {
		var value any
		if v := row(item); v != "" {
			value = v
		}
		data, err := json.Marshal(value)
		if err != nil {
			s.t.Error(err)
		}
		if got := s.redis.entry(item); got != "" && got != string(data) && !s.restored && !s.failedOver {
			s.t.Errorf("at rest the shared tier holds %s as %s, want %s", item.Key, got, data)
		}
	}
	s.gateways[0].end(s.t)()
	s.start(0) // with an empty memory
	for i, p := range s.gateways {
		for _, item := range simulated {
			for n := range 2 {
				r := p.Cache.Load(s.t.Context(), []cache.Request{{Item: item, Source: p.client}})[0]
				got, _ := r.Value.(string)
				if r.Err != nil || got != row(item) || r.Stale {
					s.t.Errorf("at rest gateway %d served %s as %q, error %v; want %q", i, item.Key, got, r.Err, row(item))
				}
				if n == 1 && r.Tier != cache.MemoryTier {
					s.t.Errorf("at rest gateway %d did not cache %s in memory", i, item.Key)
				}
			}
		}
	}
}
