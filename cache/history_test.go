package cache_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"fieldcache/cache"
)

// operation is an operation of a client: a read, or a write of a value that no other client writes.
type operation struct {
	key   cache.Key
	write bool
	value string
}

// register is a row as a client should see it: a read returns the last written value.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		byKey := map[cache.Key][]porcupine.Operation{}
		for _, o := range history {
			k := o.Input.(operation).key
			byKey[k] = append(byKey[k], o)
		}
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "initial" },
	Step: func(state, input, output any) (bool, any) {
		if o := input.(operation); o.write {
			return true, o.value
		}
		return state == output, state
	},
	DescribeOperation: func(input, output any) string {
		if o := input.(operation); o.write {
			return fmt.Sprintf("%s = %s", o.key, o.value)
		}
		return fmt.Sprint(output)
	},
}

// history has the operations of the clients, each with the times of call and return.
type history struct {
	began time.Time
	mu    sync.Mutex
	done  []porcupine.Operation
}

// add records an operation that began at from and returns now. A read that may lag counts as if it
// began earlier by lag: then a value that was current within the lag is as good as the current one.
func (h *history) add(client int, o operation, output string, from time.Time, lag time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.done = append(h.done, porcupine.Operation{ClientId: client, Input: o, Output: output,
		Call: from.Add(-lag).Sub(h.began).Nanoseconds(), Return: time.Since(h.began).Nanoseconds()})
}

// judge must not be called in a bubble, whose clock would stand still.
func (h *history) judge(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := porcupine.CheckOperationsTimeout(register, h.done, 10*time.Second); r != porcupine.Ok {
		for _, o := range h.done {
			t.Logf("%12v to %12v client %d: %s", time.Duration(o.Call), time.Duration(o.Return), o.ClientId, register.DescribeOperation(o.Input, o.Output))
		}
		t.Errorf("the history of %d operations is %s", len(h.done), r)
	}
}

// clients configures the clients of a history.
type clients struct {
	gateways int
	writers  int // clients write through the first few gateways
	// exact is whether the readers of the first gateway see its acknowledged writes immediately.
	// All others may lag by a lease.
	exact  bool
	faults bool
}

func TestHistories(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]clients{
		"one gateway": {gateways: 1, writers: 1, exact: true},
		"one gateway, and faults of the shared tier": {gateways: 1, writers: 1, exact: true, faults: true},
		"one of three writes":                        {gateways: 3, writers: 1, exact: true},
		"one of three writes, and faults":            {gateways: 3, writers: 1, exact: true, faults: true},
		"three write, and faults":                    {gateways: 3, writers: 3, faults: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(15) {
				var h *history
				synctest.Test(t, func(t *testing.T) { h = c.run(t, seed) })
				h.judge(t)
				if t.Failed() {
					t.Fatalf("failed with seed %d", seed)
				}
			}
		})
	}
}

func (c clients) run(t *testing.T, seed uint64) *history {
	d, redis := newDatabase(seed), newFakeRedis(seed)
	items := []cache.Item{
		{Key: "user:1", MaxAge: time.Minute},
		{Key: "user:2", MaxAge: 500 * time.Millisecond},
		{Key: "{users}:list", Tags: []cache.Tag{"{users}"}, MaxAge: time.Minute},
	}
	for _, item := range items {
		d.seed(item.Key, "initial")
	}
	redis.lose(true) // with all messages hardly anything would lag
	d.setSlow(50 * time.Millisecond)
	h := &history{began: time.Now()}
	var open sync.WaitGroup
	for g := range c.gateways {
		p := start(t, d, redis)
		defer p.end(t)()
		for n := range 3 {
			client := 3*g + n
			random := rand.New(rand.NewPCG(seed, uint64(client))) //nolint:gosec // not a secret
			open.Go(func() {
				for i := range 60 {
					time.Sleep(time.Duration(random.Int64N(int64(200 * time.Millisecond))))
					item := items[random.IntN(len(items))]
					if n == 0 && g < c.writers && random.IntN(2) == 0 {
						h.write(t, p, client, item, fmt.Sprintf("write %d of client %d", i, client))
						continue
					}
					lag := time.Second
					if c.exact && g == 0 {
						lag = 0
					}
					h.read(t, p, client, item, lag)
				}
			})
		}
	}
	if c.faults {
		random := rand.New(rand.NewPCG(seed, 99)) //nolint:gosec // not a secret
		for range 10 {
			time.Sleep(time.Duration(random.Int64N(int64(500 * time.Millisecond))))
			redis.set([]mode{up, refuses, hangs}[random.IntN(3)])
		}
		redis.set(up)
	}
	open.Wait()
	return h
}

func (h *history) write(t *testing.T, p *process, client int, item cache.Item, value string) {
	from := time.Now()
	w := set(item.Key, value)
	if len(item.Tags) > 0 {
		w = setList(item.Key, item.Tags[0], value)
	}
	p.write(t, w)
	h.add(client, operation{item.Key, true, value}, "", from, 0)
}

func (h *history) read(t *testing.T, p *process, client int, item cache.Item, lag time.Duration) {
	from := time.Now()
	r := p.Cache.Load(t.Context(), []cache.Request{{Item: item, Source: p.client}})[0]
	value, ok := r.Value.(string)
	if r.Err != nil || !ok {
		t.Errorf("%s: got %v", item.Key, r)
	}
	h.add(client, operation{item.Key, false, ""}, value, from, lag)
}

// The checker finds a value that is too old, and accepts one that lags within the lease.
func TestHistoriesAreJudged(t *testing.T) {
	t.Parallel()
	const lag = time.Second
	for name, c := range map[string]struct {
		lag  time.Duration
		read time.Duration // after the write was acknowledged
		want porcupine.CheckResult
	}{
		"an old value at once":        {0, time.Millisecond, porcupine.Illegal},
		"an old value within a lease": {lag, lag - 2*time.Millisecond, porcupine.Ok},
		"an old value after a lease":  {lag, lag + 2*time.Millisecond, porcupine.Illegal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := &history{began: time.Now()}
				from := time.Now()
				time.Sleep(time.Millisecond)
				h.add(0, operation{"user:1", true, "new"}, "", from, 0)
				time.Sleep(c.read)
				h.add(1, operation{"user:1", false, ""}, "initial", time.Now(), c.lag)
				if got := porcupine.CheckOperations(register, h.done); got != (c.want == porcupine.Ok) {
					t.Errorf("CheckOperations returns %v", got)
				}
			})
		})
	}
}
