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

// The model is the protocol without sockets, clocks and goroutines: one item with a key and a tag, gateways,
// loads and writers whose atomic steps come in every order. Each decision is taken by the function that the
// product takes it by. The search visits every state that can be reached and judges every answer.

// rules are the decisions. A broken variant exchanges one of them.
type rules struct {
	judge   func(cache.Snapshot, protocol.Known) protocol.Verdict
	raise   func(f protocol.Floor, xid uint64) protocol.Floor
	trusted func(sincePollBegan, lease time.Duration) bool
	join    func(trusted, holds, asked bool) bool
	fill    func(fence, token string) bool
	ack     func(taken bool, sinceCommit, lease time.Duration) bool
	steps   []protocol.Step
	// news says whether a poll brings a write: the question that an outbox asks its database.
	news func(since cache.Snapshot, xid uint64) bool
	// missed says whether writes may have been pruned before the gateway heard of them.
	missed func(since, horizon cache.Snapshot) bool
	// until is the snapshot that a later page of a poll asks in, of that of its first page and that of now.
	until func(first, now code) code
	// trusts says whether a gateway that has just started uses the shared tier before it has read what is kept.
	trusts bool
	// pruned is the horizon of a gateway that has read what is kept, of that of its start and that of now.
	pruned func(start, now uint8) uint8
	// renewed is the age from which the lease counts, given the poll's.
	renewed func(began uint8) uint8
	// late is whether a load takes its stamp and its fence only once the source has answered.
	late bool
	// another says whether a poll brings another epoch than the gateway polled before.
	another func(before, now uint8) bool
	// keeps says whether what a load read may be put into a cache.
	keeps func(seen cache.Snapshot, epoch cache.Epoch) bool
	// since is that of a gateway that polls another epoch, of what it was and what the poll saw.
	since func(before, seen code) code
	// floors are those of a gateway that polls another epoch, of what they were.
	floors func(before uint8) uint8
	// ours says whether the number of a write is one that the gateway knows, by the epochs of both.
	ours func(write, gateway uint8) bool
	// loses is whether a write of an epoch that is not polled yet ends the lease.
	loses bool
	// renews says whether a poll renews the lease, of whether a write ended that since the poll began.
	renews func(lost bool) bool
}

// sound are the rules of the product.
func sound() rules {
	return rules{
		judge:   protocol.Judge,
		raise:   func(f protocol.Floor, xid uint64) protocol.Floor { return f.Raise(xid, nil) },
		trusted: protocol.Trusted,
		join:    protocol.MayJoin,
		fill:    protocol.MayFill,
		ack:     protocol.MayAcknowledge,
		steps:   protocol.EvictionSteps[:],
		news:    func(since cache.Snapshot, xid uint64) bool { return !since.Sees(xid) },
		missed:  func(since, horizon cache.Snapshot) bool { return !since.Covers(horizon) },
		renewed: func(began uint8) uint8 { return began },
		until:   func(first, _ code) code { return first },
		pruned:  func(_, now uint8) uint8 { return now },
		another: func(before, now uint8) bool { return before != now },
		keeps:   protocol.MayKeep,
		since:   func(_, seen code) code { return seen },
		floors:  func(uint8) uint8 { return 0 },
		ours:    func(write, gateway uint8) bool { return write == gateway },
		loses:   true,
		renews:  func(lost bool) bool { return !lost },
	}
}

// Time goes in ticks of a lease.
const (
	leaseTicks = 1
	modelTick  = time.Second
	modelLease = leaseTicks * modelTick
)

// world says what there is and what may happen. Each writer writes once; readers read over and over, and
// where time passes their gateways poll over and over.
type world struct {
	name    string
	writers []writer // the nth has xid n; they commit in any order
	readers uint8
	at      []uint8 // the gateways that they read at
	// What else may happen: time passes; fences end; the shared tier does not take an eviction; a writer dies;
	// evictions are relayed; done writes are pruned; a dump of the shared tier is taken and comes back;
	// gateways hear messages; the second gateway starts again.
	time, expiry, fails, crash, relay, prune, dump, notices, restart bool
	pages                                                            bool // a page of a poll has one write, and of what is kept as well
	// back is whether the database goes back to what it was at the start, and gives the numbers of the lost writes to
	// others; all writers evict in the same way then, and of two the first writes before and the second after.
	// primary is whether an old one still answers loads.
	back, primary bool
}

// epochs are those of a database before and after it goes back.
var epochs = [...]cache.Epoch{"first", "second"}

// writer is a transaction of a gateway, which makes the item untrue by its key or by its tag.
type writer struct {
	at     uint8
	tag    bool
	direct bool // it goes around the gateways
}

const (
	maxWriters = 2
	maxReaders = 3
	gateways   = 2
)

// code stands for a snapshot: a bit for each writer that has committed. One with a lower xid than another's that has
// committed is under way, and it makes no difference whether the others are.
type code uint8

// snapshots are what the codes stand for, by PostgreSQL's rules.
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

// state is everything at one moment. The value of the item is its version: how many writes had committed. Moments
// are kept as ages in ticks, up to the age from which it makes no difference how old something is.
type state struct {
	version uint8
	pruned  uint8 // the newest xid that was pruned
	tx      [maxWriters]tx
	redis   redis
	dump    redis
	dumped  uint8 // 1: a dump was taken; 2: it came back
	gw      [gateways]gateway
	load    [maxReaders]load
	relay   relay
	epoch   uint8
	back    uint8 // the version that the database went back to: it counts as a new one
	backAge uint8
	lost    uint8 // the version that an old database still answers
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

// old is an age from which nothing depends on how old something is, unknown the age of what never was.
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

// value is a value with what is known of its reading.
type value struct {
	there      bool
	version    uint8
	seen       code
	epoch      uint8
	generation uint8
}

// gateway is what a process knows.
type gateway struct {
	trust   uint8 // the age of its last poll's beginning
	since   code
	horizon uint8
	reading bool  // what is kept is not read yet
	start   code  // what its first poll saw
	read    uint8 // the kept writes that it has read or that are pruned
	floors  uint8 // the writes that it knows of
	poll    poll
	memory  uint8 // the version in memory, counted from 1; 0 where there is none whose stamp holds
	starts  uint8
	epoch   uint8
}

// poll is one that the outbox has answered.
type poll struct {
	there   bool
	began   uint8
	seen    code
	news    uint8
	horizon uint8
	after   uint8 // the xid that the last page ended with
	more    bool
	epoch   uint8
	lost    bool // a write ended the lease since it began
}

// load is a reader and what it reads by.
type load struct {
	phase      uint8
	at         uint8
	holds      bool // its stamp
	asked      bool
	fence      bool // it got the fence, and with it
	generation uint8
	got        value
	need       uint8 // the version that the answer must not be older than
	shared     uint8 // or, where it comes from the shared tier, this one
}

const (
	resting uint8 = iota
	started
	answered // the shared tier has answered
	missing
	began
	loaded
	joined
)

type relay struct {
	tx, step uint8 // tx counts from 1
}

// step is one step that may be taken, with what it leads to.
type step struct {
	what  string
	who   uint8
	to    state
	wrong string // a promise that is broken by it
}

// search visits every state. It answers how many there are, and how the first broken promise came about.
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

// retrace tells the steps of a path.
func (w world) retrace(r rules, path []uint8) string {
	s, told := w.start(), make([]string, len(path))
	for i, n := range path {
		st := w.steps(s, r)[n]
		told[i], s = fmt.Sprintf("%s %d", st.what, st.who), st.to
	}
	return strings.Join(told, "\n  ")
}

// start has every gateway's first poll behind it.
func (w world) start() (s state) {
	for i := len(w.writers); i < maxWriters; i++ {
		s.tx[i].phase = over
	}
	return s
}

// untrue names what a state holds that must not be there.
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

// worlds are small enough to be searched whole, and large enough that each broken variant is found wanting
// in one of them.
var worlds = []world{
	{name: "fills beside writes", writers: []writer{{at: 0}, {at: 1}}, readers: 2, at: []uint8{0, 1}, expiry: true},
	{name: "a list beside writes", writers: []writer{{at: 0, tag: true}, {at: 1, tag: true}}, readers: 2, at: []uint8{0, 1}},
	{name: "the gateway that writes", writers: []writer{{at: 0}}, readers: 1, at: []uint8{0},
		time: true, fails: true, crash: true, relay: true, notices: true},
	{name: "a gateway beside it", writers: []writer{{at: 0}}, readers: 1, at: []uint8{1},
		time: true, fails: true, crash: true, relay: true, notices: true},
	{name: "two readers at a gateway beside it", writers: []writer{{at: 0}}, readers: 2, at: []uint8{1}, time: true, fails: true},
	{name: "commits out of order", writers: []writer{{at: 0}, {direct: true}}, readers: 1, at: []uint8{0}, time: true, fails: true},
	{name: "an old dump", writers: []writer{{at: 0}, {at: 0}}, readers: 1, at: []uint8{0}, expiry: true, dump: true, fails: true},
	{name: "an old dump of a list", writers: []writer{{at: 0, tag: true}}, readers: 1, at: []uint8{1}, time: true, dump: true},
	{name: "pruned writes", writers: []writer{{at: 0, tag: true}}, readers: 1, at: []uint8{1}, time: true, prune: true},
	{name: "a gateway that starts", writers: []writer{{at: 0}}, readers: 1, at: []uint8{1},
		time: true, prune: true, dump: true, restart: true},
	{name: "a poll in pages", writers: []writer{{at: 0}, {direct: true}}, readers: 1, at: []uint8{0}, time: true, pages: true},
	{name: "a database that goes back", writers: []writer{{at: 0}, {direct: true}}, readers: 1, at: []uint8{0}, time: true, back: true},
	{name: "an old primary that still answers", writers: []writer{{at: 0}}, readers: 1, at: []uint8{0}, time: true, back: true, primary: true},
	{name: "an eviction is not taken", writers: []writer{{at: 0}, {at: 1}}, readers: 1, at: []uint8{0, 1}, fails: true, relay: true},
}

func TestModel(t *testing.T) {
	t.Parallel()
	for _, w := range worlds {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			states, violation := search(w, sound())
			if violation != "" {
				t.Errorf("after %d states:\n  %s", states, violation)
			}
			t.Logf("%d states in %v", states, time.Since(began).Round(time.Millisecond))
		})
	}
}
