package cache

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// scriptedOutbox returns the news that it is given, then no more news. It returns an error while
// one is set.
type scriptedOutbox struct {
	Outbox
	mu   sync.Mutex // guards the rest
	xid  uint64
	news []Write
	err  error
}

func (o *scriptedOutbox) Poll(_ context.Context, p Page) (News, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return News{}, o.err
	}
	n := News{Snapshot: SnapshotAfter(o.xid)}
	if p.Since.IsZero() {
		return n, nil
	}
	for _, w := range o.news {
		n.Writes = append(n.Writes, Pending{Write: w, Done: true})
	}
	o.news = nil
	return n, nil
}

func (o *scriptedOutbox) Prune(context.Context, time.Duration, bool) (bool, error) { return false, nil }

// write commits a transaction.
func (o *scriptedOutbox) write(keys ...Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.xid++
	o.news = append(o.news, Write{Xid: o.xid, Eviction: Eviction{Keys: keys}})
}

// fails makes polls fail with err from now on. If err is nil, they succeed.
func (o *scriptedOutbox) fails(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

// forgetful is a memory that holds nothing and records evictions.
type forgetful struct {
	Memory
	generations *Generations

	mu      sync.Mutex
	evicted []Key
}

func (m *forgetful) Generations() *Generations { return m.generations }

func (m *forgetful) Evict(_ context.Context, w Write) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.evicted = append(m.evicted, w.Keys...)
	m.generations.Evict(w.Eviction)
	return 0, nil
}

func startFollower(t *testing.T, o Outbox) (*follower, *forgetful) {
	t.Helper()
	m := &forgetful{generations: NewGenerations()}
	f := newFollower(Options{Outbox: o, Memory: m, Lease: time.Second, Reconnect: func() {}, Log: slog.New(slog.DiscardHandler)}, nil, new(Stats), new(events))
	ctx, stop := context.WithCancel(t.Context())
	f.start(ctx)
	t.Cleanup(func() { stop(); f.wait() })
	return f, m
}

// A write that a poll returns is evicted from memory, and a value that did not see it is below the
// floor.
func TestFollowerEvictsWhatAPollBrings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &scriptedOutbox{xid: 1}
		f, m := startFollower(t, o)
		o.write("user:1")
		time.Sleep(pollEvery)
		synctest.Wait()
		if !slices.Equal(m.evicted, []Key{"user:1"}) {
			t.Errorf("evicted %v, want user:1", m.evicted)
		}
		item := Item{Key: "user:1"}
		if f.floors.judge(item, SnapshotAfter(1), true) == 0 || f.floors.judge(item, SnapshotAfter(2), true) != 0 {
			t.Error("the floor of user:1 is not that of the write")
		}
	})
}

// A write of this gateway is known before the poll returns it, so the poll does not evict it again.
func TestFollowerLearnsAWriteOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &scriptedOutbox{xid: 1}
		f, m := startFollower(t, o)
		o.write("user:1", "user:2")
		f.learn(Write{Xid: 2, Eviction: Eviction{Keys: []Key{"user:1"}}})
		time.Sleep(pollEvery)
		synctest.Wait()
		if !slices.Equal(m.evicted, []Key{"user:1", "user:2"}) {
			t.Errorf("evicted %v, want user:1 by the write and user:2 by the poll", m.evicted)
		}
	})
}

// The lease holds from the beginning of the last successful poll, and the next successful poll
// renews it.
func TestFollowerLosesTheLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := &scriptedOutbox{xid: 1}
		f, _ := startFollower(t, o)
		if !f.trust.holds(time.Now()) {
			t.Error("no lease after the first poll")
		}
		o.fails(errors.New("the database is away"))
		time.Sleep(f.lease + pollEvery)
		synctest.Wait()
		if f.trust.holds(time.Now()) || f.stats.LeaseLosses.Load() != 1 {
			t.Errorf("the lease holds without polls, or LeaseLosses is %d, want 1", f.stats.LeaseLosses.Load())
		}
		o.fails(nil)
		time.Sleep(pollEvery)
		synctest.Wait()
		if !f.trust.holds(time.Now()) {
			t.Error("a poll that succeeded did not renew the lease")
		}
	})
}

// A write with the number of another epoch ends the lease until the next poll shows which database
// it is.
func TestFollowerDistrustsAnotherEpoch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, m := startFollower(t, &scriptedOutbox{xid: 1})
		time.Sleep(pollEvery / 2)
		f.learn(Write{Xid: 9, Epoch: "another", Eviction: Eviction{Keys: []Key{"user:1"}}})
		if f.trust.holds(time.Now()) || !slices.Contains(m.evicted, "user:1") {
			t.Error("the lease still holds, or memory was not evicted")
		}
		time.Sleep(pollEvery)
		synctest.Wait()
		if !f.trust.holds(time.Now()) {
			t.Error("the next poll did not renew the lease")
		}
	})
}
