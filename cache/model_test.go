package cache_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/internal/protocol"
)

// The model is the protocol without sockets, clocks and goroutines: one item with a key and a tag,
// and gateways, loads and writers whose atomic steps are taken in every order. The functions of the
// product make each decision. The search visits every reachable state and checks every result.

// rules are the decisions. A broken variant replaces one of them.
type rules struct {
	judge   func(cache.Snapshot, protocol.Known) protocol.Verdict
	raise   func(f protocol.Floor, xid uint64) protocol.Floor
	trusted func(sincePollBegan, lease time.Duration) bool
	join    func(trusted, holds, reading bool) bool
	fill    func(fence, token string) bool
	ack     func(taken bool, sinceCommit, lease time.Duration) bool
	steps   []protocol.Step
	// news reports whether a poll returns a write: it is the condition of the outbox's query.
	news func(since cache.Snapshot, xid uint64) bool
	// missed reports whether writes may have been pruned before the gateway learned of them.
	missed func(since, horizon cache.Snapshot) bool
	// until returns the snapshot in which a later page of a poll is read, from that of its first
	// page and the current one.
	until func(first, now code) code
	// trusts is whether a gateway that has just started uses the shared tier before it has read the
	// retained writes.
	trusts bool
	// pruned returns the horizon of a gateway that has read the retained writes, from the horizon
	// at its start and the current one.
	pruned func(start, now uint8) uint8
	// renewed returns the age from which the lease counts, from the age of the poll.
	renewed func(began uint8) uint8
	// late is whether a load takes its stamp and its fence only after the source has responded.
	late bool
	// another reports whether a poll found another epoch than the previous poll of the gateway.
	another func(before, now uint8) bool
	// mayStore reports whether a loaded value may be cached.
	mayStore func(seen cache.Snapshot, epoch cache.Epoch) bool
	// since returns the snapshot from which a gateway continues in another epoch, from its previous
	// one and that of the poll.
	since func(before, seen code) code
	// floors returns the floors of a gateway in another epoch, from its previous ones.
	floors func(before uint8) uint8
	// ours reports whether a gateway can use the number of a write, from the epochs of both.
	ours func(write, gateway uint8) bool
	// loses is whether a write of an epoch that is not polled yet ends the lease.
	loses bool
	// renews reports whether a poll renews the lease. lost is whether a write ended the lease after
	// the poll began.
	renews func(lost bool) bool
}

// sound returns the rules of the product.
func sound() rules {
	return rules{
		judge:    protocol.Judge,
		raise:    func(f protocol.Floor, xid uint64) protocol.Floor { return f.Raise(xid, nil) },
		trusted:  protocol.Trusted,
		join:     protocol.MayJoin,
		fill:     protocol.MayFill,
		ack:      protocol.MayAcknowledge,
		steps:    protocol.EvictionSteps[:],
		news:     func(since cache.Snapshot, xid uint64) bool { return !since.Sees(xid) },
		missed:   func(since, horizon cache.Snapshot) bool { return !since.Covers(horizon) },
		renewed:  func(began uint8) uint8 { return began },
		until:    func(first, _ code) code { return first },
		pruned:   func(_, now uint8) uint8 { return now },
		another:  func(before, now uint8) bool { return before != now },
		mayStore: protocol.MayKeep,
		since:    func(_, seen code) code { return seen },
		floors:   func(uint8) uint8 { return 0 },
		ours:     func(write, gateway uint8) bool { return write == gateway },
		loses:    true,
		renews:   func(lost bool) bool { return !lost },
	}
}

// The unit of time is a tick. A lease is one tick long.
const (
	leaseTicks = 1
	modelTick  = time.Second
	modelLease = leaseTicks * modelTick
)

// world is a setting: who takes part and what may happen. Each writer writes once. Readers read
// repeatedly, and if time passes, their gateways poll repeatedly.
type world struct {
	name    string
	writers []writer // the nth has xid n; they commit in any order
	readers uint8
	at      []uint8 // the gateways that they read at
	// What else may happen: time passes; fences expire; the shared tier does not execute an
	// eviction; a writer dies; evictions are relayed; done writes are pruned; a dump of the shared
	// tier is taken and restored; gateways receive messages; the second gateway restarts.
	time, expiry, fails, crash, relay, prune, dump, notices, restart bool
	pages                                                            bool // each page of a poll, and of the retained writes, has one write
	// back is whether the database goes back to its state at the start, and reuses the numbers of
	// the lost writes. All writers evict in the same way then, and of two writers the first writes
	// before it and the second after it. primary is whether an old primary still serves loads.
	back, primary bool
}

// epochs are those of a database before and after it goes back.
var epochs = [...]cache.Epoch{"first", "second"}

// writer is a transaction of a gateway, which evicts the item by its key or by its tag.
type writer struct {
	at     uint8
	tag    bool
	direct bool // it bypasses the gateways
}

const (
	maxWriters = 2
	maxReaders = 3
	gateways   = 2
)

// code represents a snapshot: a bit for each writer that has committed. A writer whose xid is lower
// than that of a committed one counts as in progress. Whether others are in progress makes no
// difference.
type code uint8

// snapshots are the snapshots that the codes represent, by PostgreSQL's rules.
var snapshots = func() (all [1 << maxWriters]cache.Snapshot) {
	for c := range all {
		s := cache.Snapshot{Xmin: 1, Xmax: 1}
		for x := uint64(1); x <= maxWriters; x++ {
			if c>>(x-1)&1 == 1 {
				s.Xmax = x + 1
			}
		}
		s.Xmin = s.Xmax
		for x := uint64(1); x < s.Xmax; x++ {
			if c>>(x-1)&1 == 0 {
				s.Xip = append(s.Xip, x)
				s.Xmin = min(s.Xmin, x)
			}
		}
		all[c] = s
	}
	return all
}()

// state is a state of the world. The value of the item is its version: how many writes had
// committed. Times are ages in ticks, up to the age from which they make no difference.
type state struct {
	version uint8
	pruned  uint8 // the newest xid that was pruned
	tx      [maxWriters]tx
	redis   redis
	dump    redis
	dumped  uint8 // 1: a dump was taken; 2: it was restored
	gw      [gateways]gateway
	load    [maxReaders]load
	relay   relay
	epoch   uint8
	back    uint8 // the version that the database went back to, which counts as a new one
	backAge uint8
	lost    uint8 // the version that an old primary still serves
}

// tx is a transaction. step counts the steps of its eviction.
type tx struct {
	phase                     uint8
	version                   uint8
	age                       uint8
	step                      uint8
	epoch                     uint8 // in which it committed
	taken, acked, done, prune bool
}

const (
	underWay uint8 = iota
	committed
	learned
	waiting
	over
)

// old is an age from which it makes no difference. unknown is the age of an event that never
// happened.
const (
	old     = leaseTicks + 1
	unknown = 255
)

// redis is the shared tier.
type redis struct {
	fence      uint8 // the reader that holds it, counted from 1
	generation uint8
	entry      value
}

// value is a value and how it was read.
type value struct {
	there      bool
	version    uint8
	seen       code
	epoch      uint8
	generation uint8
}

// gateway is the state of a process.
type gateway struct {
	trust   uint8 // the age of the beginning of its last poll
	since   code
	horizon uint8
	reading bool  // the retained writes have not all been read
	start   code  // what its first poll saw
	read    uint8 // the retained writes that it has read or that are pruned
	floors  uint8 // the writes that it knows of
	poll    poll
	memory  uint8 // the version in memory, counted from 1; 0 if there is none whose stamp holds
	starts  uint8
	epoch   uint8
}

// poll is a poll whose result has been read and not applied yet.
type poll struct {
	there   bool
	began   uint8
	seen    code
	news    uint8
	horizon uint8
	after   uint8 // the xid at the end of the last page
	more    bool
	epoch   uint8
	lost    bool // a write ended the lease after it began
}

// load is a reader and its load.
type load struct {
	phase      uint8
	at         uint8
	holds      bool // its stamp
	reading    bool
	fence      bool // it got the fence, and with it the generation
	generation uint8
	got        value
	need       uint8 // the oldest version that the result may be
	shared     uint8 // the same if the result comes from the shared tier
}

const (
	resting uint8 = iota
	started
	answered // the shared tier has responded
	missing
	began
	loaded
	joined
)

type relay struct {
	tx, step uint8 // tx counts from 1
}

// step is a step that may be taken, and the state after it.
type step struct {
	what  string
	who   uint8
	to    state
	wrong string // how it breaks a promise, or ""
}

// search visits every state. It returns their number, and the steps to the first broken promise.
func search(w world, r rules) (states int, violation string) {
	type node struct {
		from int32
		step uint8 // which of the steps from there
	}
	seen := map[state]struct{}{w.start(): {}}
	nodes, queue := []node{{}}, []state{w.start()}
	for at := int32(0); len(queue) > 0; at++ {
		s := queue[0]
		queue = queue[1:]
		for i, st := range w.steps(s, r) {
			wrong := st.wrong
			if wrong == "" {
				wrong = w.untrue(st.to, r)
			}
			if wrong != "" {
				path := []uint8{uint8(i)} //nolint:gosec // a few
				for ; at != 0; at = nodes[at].from {
					path = append(path, nodes[at].step)
				}
				slices.Reverse(path)
				return len(nodes), w.retrace(r, path) + ": " + wrong
			}
			if _, ok := seen[st.to]; !ok {
				seen[st.to] = struct{}{}
				nodes, queue = append(nodes, node{at, uint8(i)}), append(queue, st.to) //nolint:gosec // a few
			}
		}
	}
	return len(nodes), ""
}

// retrace describes the steps of a path.
func (w world) retrace(r rules, path []uint8) string {
	s, trace := w.start(), make([]string, len(path))
	for i, n := range path {
		st := w.steps(s, r)[n]
		trace[i], s = fmt.Sprintf("%s %d", st.what, st.who), st.to
	}
	return strings.Join(trace, "\n  ")
}

// start returns the initial state: every gateway has polled once.
func (w world) start() (s state) {
	for i := len(w.writers); i < maxWriters; i++ {
		s.tx[i].phase = over
	}
	return s
}

// untrue describes what a state must not have, or returns "".
func (w world) untrue(s state, r rules) string {
	all, settled := s.code(), true
	for _, t := range s.tx {
		if t.version > 0 && !t.done {
			settled = false
		}
	}
	old := settled && s.holds() && s.redis.entry.version != s.version && s.redis.entry.epoch == s.epoch
	if old && s.dumped < 2 {
		return "every eviction is done and the shared tier holds an old value"
	}
	for g, gw := range s.gw {
		if gw.trust == unknown || gw.since != all || gw.epoch != s.epoch {
			continue
		}
		if gw.memory != 0 && gw.memory-1 != s.version {
			return fmt.Sprintf("gateway %d heard of every write and has an old value in memory", g)
		}
		if old && w.judge(gw, s.redis.entry, true, r) == protocol.Serve {
			return fmt.Sprintf("gateway %d heard of every write and would serve an old value of the shared tier", g)
		}
	}
	return ""
}

// worlds are small enough to be searched completely, and large enough that each broken variant
// fails in one of them.
var worlds = []world{
	{name: "fills during writes", writers: []writer{{at: 0}, {at: 1}}, readers: 2, at: []uint8{0, 1}, expiry: true},
	{name: "a list during writes", writers: []writer{{at: 0, tag: true}, {at: 1, tag: true}}, readers: 2, at: []uint8{0, 1}},
	{name: "the gateway that writes", writers: []writer{{at: 0}}, readers: 1, at: []uint8{0},
		time: true, fails: true, crash: true, relay: true, notices: true},
	{name: "another gateway", writers: []writer{{at: 0}}, readers: 1, at: []uint8{1},
		time: true, fails: true, crash: true, relay: true, notices: true},
	{name: "two readers at another gateway", writers: []writer{{at: 0}}, readers: 2, at: []uint8{1}, time: true, fails: true},
	{name: "commits out of order", writers: []writer{{at: 0}, {direct: true}}, readers: 1, at: []uint8{0}, time: true, fails: true},
	{name: "an old dump", writers: []writer{{at: 0}, {at: 0}}, readers: 1, at: []uint8{0}, expiry: true, dump: true, fails: true},
	{name: "an old dump of a list", writers: []writer{{at: 0, tag: true}}, readers: 1, at: []uint8{1}, time: true, dump: true},
	{name: "pruned writes", writers: []writer{{at: 0, tag: true}}, readers: 1, at: []uint8{1}, time: true, prune: true},
	{name: "a gateway that starts", writers: []writer{{at: 0}}, readers: 1, at: []uint8{1},
		time: true, prune: true, dump: true, restart: true},
	{name: "a poll in pages", writers: []writer{{at: 0}, {direct: true}}, readers: 1, at: []uint8{0}, time: true, pages: true},
	{name: "a database that loses writes", writers: []writer{{at: 0}, {direct: true}}, readers: 1, at: []uint8{0}, time: true, back: true},
	{name: "an old primary that still responds", writers: []writer{{at: 0}}, readers: 1, at: []uint8{0}, time: true, back: true, primary: true},
	{name: "an eviction does not reach Redis", writers: []writer{{at: 0}, {at: 1}}, readers: 1, at: []uint8{0, 1}, fails: true, relay: true},
}

func TestModel(t *testing.T) {
	t.Parallel()
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			states, violation := search(w, sound())
			if violation != "" {
				t.Errorf("broken promise after %d states:\n  %s", states, violation)
			}
			t.Logf("%d states in %v", states, time.Since(began).Round(time.Millisecond))
		})
	}
}
