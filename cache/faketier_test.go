package cache_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/internal/protocol"
)

// fakeRedis is a shared tier for tests. It can be down, hang, lose everything, and come back with
// its old contents. It makes no decisions: package protocol decides whether a fill is accepted and
// in which order an eviction is executed.
type fakeRedis struct {
	mu        sync.Mutex
	random    *rand.Rand
	names     int // of tokens and generations, so that none is used twice
	held      contents
	dump      contents
	dumped    bool
	mode      mode
	back      chan struct{} // closed when it no longer hangs
	lossy     bool          // messages get lost, or arrive seconds late
	receivers map[int]func(cache.Write)
	readers   int
	calls     int
	// restored is the last time it came back with old contents.
	restored time.Time
}

type mode int

const (
	up mode = iota
	refuses
	hangs
)

// contents is what a server, or a dump of it, holds.
type contents struct {
	entries     map[cache.Key]held
	fences      map[cache.Key]fence
	generations map[cache.Tag]string
}

type held struct {
	data         string
	loaded, ends time.Time
	seen         string
	generations  map[cache.Tag]string
	shape        string
	keep         time.Duration
}

type fence struct {
	token string
	ends  time.Time
}

const fenceTime = 3 * time.Second

func empty() contents {
	return contents{map[cache.Key]held{}, map[cache.Key]fence{}, map[cache.Tag]string{}}
}

func (c contents) clone() contents {
	return contents{maps.Clone(c.entries), maps.Clone(c.fences), maps.Clone(c.generations)}
}

func newFakeRedis(seed uint64) *fakeRedis {
	return &fakeRedis{
		random: rand.New(rand.NewPCG(seed, 2)), //nolint:gosec // not a secret
		held:   empty(), receivers: map[int]func(cache.Write){},
	}
}

// set changes its mode.
func (s *fakeRedis) set(m mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mode == hangs {
		close(s.back)
	}
	if s.mode = m; m == hangs {
		s.back = make(chan struct{})
	}
}

// save takes a dump.
func (s *fakeRedis) save() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dump, s.dumped = s.held.clone(), true
}

// restart comes back with the contents of the dump, or with none.
func (s *fakeRedis) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = empty()
	if s.dumped {
		s.held, s.restored = s.dump.clone(), time.Now()
	}
}

func (s *fakeRedis) lose(lossy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lossy = lossy
}

// entry returns the data of a key under the current generations, or "" if there is none.
func (s *fakeRedis) entry(item cache.Item) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.held.entries[item.Key]
	if !ok || !time.Now().Before(h.ends) || !s.current(item, h) {
		return ""
	}
	return h.data
}

// current reports whether the generations of an item's tags have not changed since it was loaded.
// The caller holds mu.
func (s *fakeRedis) current(item cache.Item, h held) bool {
	for _, t := range item.Tags {
		if g := s.held.generations[t]; g == "" || g != h.generations[t] {
			return false
		}
	}
	return true
}

func (s *fakeRedis) name() string {
	s.names++
	return fmt.Sprint("name ", s.names)
}

// connection is the connection of one gateway.
type connection struct {
	*fakeRedis
	id   int
	gate *gate
	mu   sync.Mutex
	cut  bool // this gateway alone cannot reach it
}

var (
	_ cache.Store    = (*connection)(nil)
	_ cache.Notifier = (*connection)(nil)
)

func (s *fakeRedis) connect(g *gate) *connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers++
	return &connection{fakeRedis: s, id: s.readers, gate: g}
}

func (c *connection) setCut(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
}

func (c *connection) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cut
}

const callTime = time.Millisecond

// call executes the steps of a command, each at one moment. If the server hangs, a step is executed
// once the server continues, even if the caller gave up long ago. If the server stops midway, the
// remaining steps are not executed.
func (c *connection) call(ctx context.Context, steps ...func()) error {
	c.gate.pass()
	defer c.gate.pass()
	done := make(chan error, 1)
	go func() {
		for _, step := range steps {
			c.fakeRedis.mu.Lock()
			c.calls++
			pause := time.Duration(c.random.Int64N(int64(callTime))) + 1
			c.fakeRedis.mu.Unlock()
			time.Sleep(pause)
			c.fakeRedis.mu.Lock()
			for c.mode == hangs {
				back := c.back
				c.fakeRedis.mu.Unlock()
				<-back
				c.fakeRedis.mu.Lock()
			}
			if c.mode == refuses || c.isCut() {
				c.fakeRedis.mu.Unlock()
				done <- errDown
				return
			}
			step()
			c.fakeRedis.mu.Unlock()
		}
		done <- nil
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Get implements [cache.Store].
func (c *connection) Get(ctx context.Context, items []cache.Item) ([]*cache.Entry, error) {
	entries := make([]*cache.Entry, len(items))
	if err := c.call(ctx, func() { c.get(items, entries) }); err != nil {
		return nil, err // a late step may still write to entries
	}
	return entries, nil
}

func (c *connection) get(items []cache.Item, entries []*cache.Entry) {
	for i, item := range items {
		h, ok := c.held.entries[item.Key]
		if !ok || !time.Now().Before(h.ends.Add(min(h.keep, item.Keep()))) || !c.current(item, h) {
			continue
		}
		seen, err := cache.ParseSnapshot(h.seen)
		if err != nil {
			panic(err)
		}
		entries[i] = &cache.Entry{Data: []byte(h.data), Loaded: h.loaded, Ends: h.ends, Seen: seen, Shape: h.shape}
	}
}

// GetOrBegin implements [cache.Announcer].
func (c *connection) GetOrBegin(ctx context.Context, items []cache.Item) ([]*cache.Entry, []cache.Ticket, error) {
	entries, tickets := make([]*cache.Entry, len(items)), make([]cache.Ticket, len(items))
	err := c.call(ctx, func() {
		c.get(items, entries)
		c.begin(items, tickets)
	})
	if err != nil {
		return nil, nil, err
	}
	return entries, tickets, nil
}

// permit is a ticket.
type permit struct {
	token       string
	generations map[cache.Tag]string
}

// Begin implements [cache.Store].
func (c *connection) Begin(ctx context.Context, items []cache.Item) ([]cache.Ticket, error) {
	tickets := make([]cache.Ticket, len(items))
	if err := c.call(ctx, func() { c.begin(items, tickets) }); err != nil {
		return nil, err
	}
	return tickets, nil
}

func (c *connection) begin(items []cache.Item, tickets []cache.Ticket) {
	token := c.name()
	for i, item := range items {
		if f, ok := c.held.fences[item.Key]; ok && time.Now().Before(f.ends) {
			continue
		}
		c.held.fences[item.Key] = fence{token, time.Now().Add(fenceTime)}
		p := &permit{token, map[cache.Tag]string{}}
		for _, t := range item.Tags {
			if c.held.generations[t] == "" {
				c.held.generations[t] = c.name()
			}
			p.generations[t] = c.held.generations[t]
		}
		tickets[i] = p
	}
}

// Fill implements [cache.Store].
func (c *connection) Fill(ctx context.Context, fills []cache.Fill) (int, error) {
	var stored int
	err := c.call(ctx, func() {
		for _, f := range fills {
			p, _ := f.Ticket.(*permit)
			if p == nil || !time.Now().Before(f.Entry.Ends.Add(f.Entry.Keep)) {
				continue
			}
			now := c.held.fences[f.Item.Key]
			if !time.Now().Before(now.ends) {
				now.token = ""
			}
			if !protocol.MayFill(now.token, p.token) {
				continue
			}
			delete(c.held.fences, f.Item.Key)
			e := f.Entry
			c.held.entries[f.Item.Key] = held{string(e.Data), e.Loaded, e.Ends, string(e.Seen.Append(nil)), p.generations, e.Shape, e.Keep}
			stored++
		}
	})
	if err != nil {
		return 0, err
	}
	return stored, nil
}

// Evict implements [cache.Store]. Each step takes a round trip, as in a Cluster.
func (c *connection) Evict(ctx context.Context, w cache.Write) (int, error) {
	if w.Soft {
		return 0, c.call(ctx, func() { c.publish(w) })
	}
	var dropped int
	var steps []func()
	for _, step := range protocol.EvictionSteps {
		steps = append(steps, func() {
			switch step {
			case protocol.UnlinkFences:
				for _, k := range w.Keys {
					delete(c.held.fences, k)
				}
			case protocol.UnlinkKeys:
				for _, k := range w.Keys {
					if _, ok := c.held.entries[k]; ok {
						dropped++
					}
					delete(c.held.entries, k)
				}
			case protocol.UnlinkGenerations:
				for _, t := range w.Tags {
					delete(c.held.generations, t)
				}
			}
		})
	}
	if !w.Quiet {
		steps = append(steps, func() { c.publish(w) })
	}
	if err := c.call(ctx, steps...); err != nil {
		return 0, err
	}
	return dropped, nil
}

// publish sends a message to every other connection. The caller holds the mu of the server.
func (c *connection) publish(w cache.Write) {
	for id, receive := range c.receivers {
		if id == c.id {
			continue
		}
		delay := time.Duration(c.random.Int64N(int64(callTime))) + 1
		if c.lossy {
			if c.random.IntN(2) == 0 {
				continue
			}
			delay += time.Duration(c.random.Int64N(int64(5 * time.Second)))
		}
		time.AfterFunc(delay, func() { receive(w) })
	}
}

// Subscribe implements [cache.Notifier].
func (c *connection) Subscribe(ctx context.Context, receive func(cache.Write), _ func(error)) error {
	c.fakeRedis.mu.Lock()
	c.receivers[c.id] = func(w cache.Write) {
		c.gate.pass()
		if ctx.Err() == nil && !c.isCut() {
			receive(w)
		}
	}
	c.fakeRedis.mu.Unlock()
	<-ctx.Done()
	c.fakeRedis.mu.Lock()
	delete(c.receivers, c.id)
	c.fakeRedis.mu.Unlock()
	return nil
}

// Close implements [cache.Store].
func (c *connection) Close() error { return nil }
