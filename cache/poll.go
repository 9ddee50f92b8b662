package cache

import (
	"context"
	"errors"
	"time"
)

// poller is the state of polling the outbox. One goroutine uses it.
type poller struct {
	*follower
	since    Snapshot  // every write that it saw is known, or older than this gateway
	page     Page      // the next page of a poll that has begun; otherwise the zero Page
	began    time.Time // when the poll began
	detail   Detail    // of a poll's first page
	retained chan struct{}
	// polled are writes that are not done and that the next call of CatchUp evicts: they were found by a poll for which
	// no call of CatchUp may have waited. rounds are the evictions in progress.
	polled []polledWrite
	rounds []*round
}

// loop polls until ctx ends, and logs when the lease is lost and renewed.
func (p *poller) loop(ctx context.Context, trusted bool) {
	var cause error
	note := func(err error) {
		if err != nil && ctx.Err() == nil {
			cause = err
			p.stats.PollFaults.Add(1)
			if errors.Is(err, ErrStandby) {
				p.doubt()
			}
		}
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case u := <-p.catchUps:
			note(p.serve(ctx, u))
		case <-tick.C:
			p.forgetCaught()
			note(p.poll(ctx))
		}
		switch holds := p.trust.holds(time.Now()); {
		case trusted && !holds:
			p.stats.LeaseLosses.Add(1)
			p.log.Warn("the outbox did not respond for a lease; no cached values are served until it does", "error", cause)
			trusted = false
		case !trusted && holds:
			p.log.Info("the outbox responds again; serving cached values")
			trusted = true
		}
	}
}

// poll learns what was committed since the last poll and renews the lease, which is counted from
// before the first statement. Each page may take a lease; after an error the next poll continues
// with the page that failed.
func (p *poller) poll(ctx context.Context) error {
	if p.page.Until.IsZero() {
		p.began, p.page = time.Now(), Page{Since: p.since, Detail: p.detail}
	}
	for {
		news, err := p.readPage(ctx, p.page)
		if err != nil {
			if p.page.Until.IsZero() { // a page that was too large is smaller the next time
				p.detail = ByName
			}
			return err
		}
		p.detail = ByTransaction
		another := !p.since.IsZero() && news.Snapshot.Epoch != p.since.Epoch
		if another {
			p.log.Warn("the database failed over, or was restarted, restored or replaced; evicted the whole cache",
				"epoch", news.Snapshot.Epoch, "before", p.since.Epoch)
			p.forgetAll(news.Snapshot)
			p.doubt()
			p.since, p.retained = Snapshot{}, make(chan struct{})
		}
		if p.since.IsZero() {
			p.start(ctx, news)
			news.More = nil
		} else {
			p.apply(news)
		}
		if news.More == nil {
			p.finish(news)
			return nil
		}
		p.page = *news.More
	}
}

// readPage reads one page.
func (p *poller) readPage(ctx context.Context, page Page) (News, error) {
	ctx, cancel := context.WithTimeout(ctx, p.lease)
	defer cancel()
	news, err := p.outbox.Poll(ctx, page)
	if n := news.Unreadable; err == nil && n > 0 && p.stats.Unreadable.Add(uint64(n)) == uint64(n) {
		p.log.WarnContext(ctx, "rows of the outbox cannot be decoded; evicted their tables, or the whole cache if they name no table. "+
			"Further ones are counted, not logged", "rows", n)
	}
	return news, err
}

// start handles the first poll. Entries that memory already held may be older than the retained
// writes, so they are evicted; what this gateway loads from now on has seen everything older.
// Entries of the shared tier from before are not served until the retained writes are known.
func (p *poller) start(ctx context.Context, news News) {
	horizon, retained := &news.Snapshot, p.retained
	p.floors.polled.Store(&news.Snapshot)
	p.floors.horizon.Store(horizon)
	p.memory.Generations().EvictAll()
	if p.shared != nil && news.More != nil {
		p.done.Go(func() { p.learnRetained(ctx, *news.More, horizon, retained) })
	}
}

// finish ends a poll after its last page.
func (p *poller) finish(news News) {
	switch {
	case p.since.IsZero():
	case !p.since.Covers(news.Horizon):
		p.log.Warn("writes were pruned before this gateway read them; evicted the whole cache")
		p.stats.Forgotten.Add(1)
		p.forget(news.Horizon)
	}
	p.floors.polled.Store(&news.Snapshot)
	p.known.polled(news.Snapshot)
	p.since, p.page = news.Snapshot, Page{}
	p.trust.renew(p.began)
}

// forget evicts everything that may not have seen all that the snapshot saw.
func (p *poller) forget(seen Snapshot) {
	horizon := seen
	if before := p.floors.horizon.Load(); before != nil {
		horizon = before.Union(seen)
	}
	p.floors.horizon.Store(&horizon)
	p.memory.Generations().EvictAll()
	p.events.report(ByLoss, Write{})
}

// apply records the writes of a page.
func (p *poller) apply(news News) {
	if p.page.Until.IsZero() && !news.Snapshot.Covers(p.since) {
		p.log.Error("the database went back to an earlier state; evicted the whole cache")
		p.forgetAll(news.Snapshot)
	}
	for _, w := range news.Writes {
		w.Epoch = news.Snapshot.Epoch
		if !w.Done && p.shared != nil {
			p.undone.add(w.Xid, time.Now().Add(-w.Age))
			p.caught(w.Write)
		}
		if w.Everything {
			p.forget(news.Snapshot)
		}
		if w.Eviction = p.known.news(w.Write); w.Empty() {
			continue
		}
		p.evictPolled(w.Write, func() { p.floors.raise(w.Write) })
	}
	if news.Sum.Undone && p.shared != nil {
		p.undone.add(news.Sum.Seen.Xmax-1, time.Now())
		p.caught(Write{Eviction: news.Sum.Eviction})
	}
	if news.Sum.Everything {
		p.forget(news.Snapshot)
	}
	if !news.Sum.Empty() {
		p.evictPolled(Write{Eviction: news.Sum.Eviction}, func() { p.floors.raiseTo(news.Sum.Eviction, news.Sum.Seen) })
	}
}

// forgetAll evicts everything, since the database is not the same any more. From the shared tier
// only values that cover the snapshot are served. The order matters: a load whose stamp holds knows
// the new epoch, and does not store what an old connection returned.
func (p *poller) forgetAll(seen Snapshot) {
	p.stats.Forgotten.Add(1)
	p.learning.Lock()
	defer p.learning.Unlock()
	now := time.Now()
	p.floors.changed.Store(&now)
	p.floors.polled.Store(&seen)
	p.floors.reset(seen)
	p.known.forget()
	p.marks.forget()
	p.undone.before(time.Now())
	p.memory.Generations().EvictAll()
	p.events.report(ByLoss, Write{})
}

// evictPolled evicts the names of polled writes: it raises floors first, then evicts from memory.
func (p *poller) evictPolled(w Write, raise func()) {
	p.stats.EvictedByOutbox.Add(w.size())
	if w.Soft {
		p.soft.add(w.Eviction)
	} else {
		raise()
		p.stats.Floors.Add(w.size())
		_, _ = p.memory.Evict(context.Background(), Write{Eviction: w.Eviction}) // memory does not fail
	}
	p.events.report(ByOutbox, w)
}

// learnRetained reads the writes that were retained when this gateway began to poll, page by page.
// Until all of them are known, values of the shared tier are judged by horizon; after that by the
// writes. If another horizon has replaced it, the writes do not matter any more.
func (p *poller) learnRetained(ctx context.Context, page Page, horizon *Snapshot, retained chan<- struct{}) {
	defer close(retained)
	var more Snapshot // writes that were not returned
	for ctx.Err() == nil && p.floors.horizon.Load() == horizon {
		news, err := p.readPage(ctx, page)
		if err != nil {
			p.log.DebugContext(ctx, "cannot read the retained writes", "error", err)
			pause(ctx, pollEvery)
			continue
		}
		if !p.learnSum(news.Sum, horizon.Epoch) {
			return
		}
		if news.Sum.Everything {
			more = news.Sum.Seen
		}
		if news.More == nil {
			pruned := news.Horizon.Union(more)
			p.floors.horizon.CompareAndSwap(horizon, &pruned)
			break
		}
		page = *news.More
	}
}

// learnSum raises the floors of retained writes, unless they belong to another epoch than the
// polled one.
func (p *poller) learnSum(sum Sum, epoch Epoch) bool {
	p.learning.RLock()
	defer p.learning.RUnlock()
	if p.floors.epoch() != epoch || !sum.Seen.IsZero() && sum.Seen.Epoch != epoch {
		return false
	}
	if sum.Soft {
		p.soft.add(sum.Eviction)
		return true
	}
	p.floors.raiseTo(sum.Eviction, sum.Seen)
	p.stats.Floors.Add(sum.size())
	return true
}

// awaitRetained waits until the retained writes are known, for at most a lease.
func (p *poller) awaitRetained(ctx context.Context, retained <-chan struct{}) {
	t := time.NewTimer(p.lease)
	defer t.Stop()
	select {
	case <-retained:
		return
	case <-ctx.Done():
		return
	case <-t.C:
	}
	p.log.Info("the outbox holds many writes; older entries of Redis are not served until they are read")
	p.done.Go(func() {
		if <-retained; ctx.Err() != nil {
			return
		}
		p.log.InfoContext(ctx, "read all writes of the outbox; serving entries of Redis")
	})
}
