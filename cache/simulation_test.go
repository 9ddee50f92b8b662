package cache_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/cache"
)

var (
	simulate = flag.Duration("simulate", 0, "how long TestSimulation runs random schedules; 0: a fixed number of seeds")
	oneSeed  = flag.Uint64("seed", 0, "the seed that TestSimulation runs, that one alone")
)

// TestSimulation runs gateways through schedules that a seed determines, with a fake clock: reads,
// writes and every kind of fault. It checks each result, and the state of the tiers at the end.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *oneSeed != 0 {
		simulateSeed(t, *oneSeed)
		return
	}
	const (
		workers = 2
		seeds   = 40 // enough to find every mutant that a simulation can find: see scripts/mutants
	)
	var last, done, reads atomic.Uint64
	t.Run("seeds", func(t *testing.T) {
		for range workers {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				end := time.Now().Add(*simulate)
				for !t.Failed() {
					seed := last.Add(1)
					if *simulate == 0 && seed > seeds || *simulate > 0 && time.Now().After(end) {
						return
					}
					reads.Add(simulateSeed(t, seed))
					done.Add(1)
				}
			})
		}
	})
	t.Logf("%d seeds, %d reads", done.Load(), reads.Load())
}

func simulateSeed(t *testing.T, seed uint64) (reads uint64) {
	synctest.Test(t, func(t *testing.T) {
		s := &simulation{
			t: t, began: time.Now(), random: rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // not a secret
			database: newDatabase(seed), redis: newFakeRedis(seed), dead: map[*process]bool{},
		}
		s.run()
		reads = s.reads.Load()
		if t.Failed() {
			for _, line := range s.log {
				t.Log(line)
			}
			t.Logf("run it again with: go test ./cache -run 'TestSimulation$' -seed %d", seed)
		}
	})
	return reads
}

const (
	simulatedKey1 = cache.Key("user:1")
	simulatedKey2 = cache.Key("user:2")
	simulatedList = cache.Key("{users}:list")
	simulatedTag  = cache.Tag("{users}")
	simulatedTime = 30 * time.Second
)

// simulated are the items. The last one is evicted by its tag.
var simulated = []cache.Item{
	{Key: simulatedKey1, MaxAge: time.Minute},
	{Key: simulatedKey2, MaxAge: 2 * time.Second},
	{Key: simulatedList, Tags: []cache.Tag{simulatedTag}, MaxAge: time.Minute},
}

// simulation is the run of one seed.
type simulation struct {
	t        *testing.T
	began    time.Time
	random   *rand.Rand // used only by the goroutine that draws the schedule
	database *database
	redis    *fakeRedis
	gateways [3]*process
	starts   int
	strict   bool          // whether stale values must not be served
	fails    time.Duration // when the database fails over; 0: never
	writes   int
	open     sync.WaitGroup // reads and writes in flight
	reads    atomic.Uint64

	mu       sync.Mutex
	log      []string
	acks     []ack
	outages  []span // of the database
	isDown   bool
	dead     map[*process]bool
	restored bool

	failedOver bool // and lost commits
}

// ack records that a gateway acknowledged a version of a row.
type ack struct {
	key     cache.Key
	version int
	gateway *process
	at      time.Time
}

type span struct{ from, to time.Time }

func (s *simulation) logf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf("%12v ", time.Since(s.began))+fmt.Sprintf(format, args...))
}

// upTo draws a duration of at most d, practically never the same twice.
func (s *simulation) upTo(d time.Duration) time.Duration {
	return time.Duration(s.random.Int64N(int64(d))) + 1
}

func (s *simulation) run() {
	s.strict = s.random.IntN(4) == 0
	for _, item := range simulated {
		s.database.run(set(item.Key, "initial"))
	}
	for i := range s.gateways {
		s.start(i)
	}
	if s.random.IntN(2) == 0 {
		s.fails = s.upTo(simulatedTime)
	}
	for time.Since(s.began) < simulatedTime {
		time.Sleep(s.upTo(120 * time.Millisecond))
		if s.fails > 0 && time.Since(s.began) > s.fails {
			lacks := min(s.upTo(2*time.Second), time.Since(s.began)) // the first rows are kept
			s.failedOver = s.failedOver || s.database.failover("promoted", lacks) > 0
			s.logf("the database fails over to a standby that lacks the writes of the last %v", lacks)
			s.fails = 0
		}
		s.event()
	}
	s.heal()
	s.open.Wait()
	s.rest()
	for _, p := range s.gateways {
		p.end(s.t)()
	}
}

func (s *simulation) start(i int) {
	s.starts++
	s.gateways[i] = start(s.t, s.database, s.redis, func(o *cache.Options) {
		if !s.strict {
			o.StaleIfError = time.Minute
		}
	})
	s.logf("gateway %d starts", i)
}

// event draws what happens next: usually a read or a write, sometimes a fault, which mostly ends by
// itself.
func (s *simulation) event() {
	i := s.random.IntN(len(s.gateways))
	p := s.gateways[i]
	switch n := s.random.IntN(100); {
	case n < 55:
		s.read(i)
	case n < 72:
		s.write(i, false)
	case n < 76:
		s.write(i, true)
	case n < 79:
		s.during("gateway", i, "is frozen", 4*time.Second, p.gate.freeze, p.gate.thaw)
	case n < 82:
		s.during("gateway", i, "is cut off", 3*time.Second, func() { p.redis.setCut(true) }, func() { p.redis.setCut(false) })
	case n < 84:
		s.during("redis", 0, "hangs", 3*time.Second, func() { s.redis.set(hangs) }, func() { s.redis.set(up) })
	case n < 86:
		s.during("redis", 0, "refuses", 3*time.Second, func() { s.redis.set(refuses) }, func() { s.redis.set(up) })
	case n < 88:
		s.logf("redis saves a dump")
		s.redis.save()
	case n < 89:
		s.logf("redis restarts from its last dump")
		s.restored = s.restored || s.redis.dumped
		s.redis.restart()
	case n < 92:
		s.during("redis", 0, "loses messages", 5*time.Second, func() { s.redis.lose(true) }, func() { s.redis.lose(false) })
	case n < 94:
		s.during("database", 0, "is slow", 2*time.Second, func() { s.database.setSlow(20 * time.Second) }, func() { s.database.setSlow(0) })
	case n < 96:
		s.during("database", 0, "is down", 4*time.Second, func() { s.outage(true) }, func() { s.outage(false) })
	case n < 98:
		s.logf("evicted writes are pruned")
		s.database.mu.Lock()
		s.database.prune(0, true)
		s.database.mu.Unlock()
	default:
		s.logf("gateway %d dies", i)
		s.mu.Lock()
		s.dead[p] = true
		s.mu.Unlock()
		p.gate.thaw()
		s.open.Go(func() {
			if err := p.Close(); err != nil {
				s.t.Error(err)
			}
		})
		s.start(i)
	}
}

// during begins a fault that ends after a while.
func (s *simulation) during(what string, i int, does string, most time.Duration, begin, end func()) {
	d := s.upTo(most)
	s.logf("%s %d %s for %v", what, i, does, d)
	begin()
	time.AfterFunc(d, end)
}

func (s *simulation) outage(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.database.setDown(down)
	switch {
	case down && !s.isDown:
		s.outages = append(s.outages, span{from: time.Now()})
	case !down && s.isDown:
		s.outages[len(s.outages)-1].to = time.Now()
	}
	s.isDown = down
}

// heal ends every fault.
func (s *simulation) heal() {
	s.outage(false)
	s.database.setSlow(0)
	s.redis.set(up)
	s.redis.lose(false)
	for _, p := range s.gateways {
		p.redis.setCut(false)
		p.gate.thaw()
	}
}

// write runs a transaction, through the gateway or, if direct, without it. The gateway may die
// before it evicts.
func (s *simulation) write(i int, direct bool) {
	p := s.gateways[i]
	s.writes++
	w := write{rows: map[cache.Key]string{}}
	for _, n := range s.random.Perm(len(simulated))[:1+s.random.IntN(2)] {
		item, value := simulated[n], fmt.Sprint("write ", s.writes)
		if s.random.IntN(6) == 0 {
			value = "" // the row is deleted
		}
		w.rows[item.Key] = value
		ev := cache.Eviction{Keys: []cache.Key{item.Key}}
		if len(item.Tags) > 0 {
			ev = cache.Eviction{Tags: item.Tags}
		}
		w.evictions = append(w.evictions, ev)
	}
	holds, dies := s.upTo(400*time.Millisecond), s.random.IntN(8) == 0
	if s.random.IntN(10) == 0 {
		holds += s.upTo(3 * time.Second)
	}
	n := s.writes
	s.open.Go(func() {
		epoch, xid := s.database.beginIn()
		time.Sleep(holds)
		if !direct {
			p.gate.pass()
		}
		all, committed := s.database.commitIn(epoch, xid, w)
		if !committed {
			s.logf("write %d is rolled back: its connection failed", n)
			return
		}
		s.logf("write %d of %v commits with xid %d (gateway %d, direct %v, gateway dies before it evicts %v)", n, all.Eviction, xid, i, direct, dies)
		if direct || dies {
			return
		}
		p.gate.pass()
		if _, err := p.Evict(s.t.Context(), all); err != nil {
			s.t.Errorf("write %d: %v", n, err)
		}
		s.acknowledge(p, epoch, xid, w)
		s.logf("write %d is acknowledged", n)
	})
}

func (s *simulation) acknowledge(p *process, epoch cache.Epoch, xid uint64, w write) {
	for k := range w.rows {
		for v, version := range s.database.versions(k) {
			if version.xid == xid && version.epoch == epoch {
				s.mu.Lock()
				s.acks = append(s.acks, ack{k, v, p, time.Now()})
				s.mu.Unlock()
			}
		}
	}
}
