package cache

import (
	"context"
	"slices"
	"time"
)

// Parameters of the relay.
const (
	// relayAfter is the age at which a write that is not done is relayed. Its own gateway had time to evict by then.
	relayAfter = 200 * time.Millisecond
	// relayRest is the first pause after a relay that failed completely. The pauses grow up to the longest.
	relayRest    = time.Second
	relayRestMax = 5 * time.Second
	// sweepEvery is how often the relay searches for writes that are not done, even if none is known.
	sweepEvery = 5 * time.Second
	// countEvery is how often the backlog is counted while there is one.
	countEvery = time.Second
	// relayRows is how many rows a piece has, at first and at most: a piece must be relayed within its deadline, and is
	// done as a whole or not at all.
	relayRows    = 300
	relayRowsMax = 10_000
	// maxAside limits how many rows are set aside. asideMin and asideMax limit for how long.
	maxAside = 1000
	asideMin = 5 * time.Second
	asideMax = 5 * time.Minute
)

// harmless is evicted to test whether the shared tier executes evictions, as long as it has
// executed none.
const harmless Key = "probe"

// relayer evicts from the shared tier the writes of the outbox that no gateway has evicted there: their writer was not
// a gateway, died, or could not reach the shared tier.
//
// It relays piece by piece. A piece that succeeds makes the next one larger, one that fails makes it smaller, down to a
// single row; if that fails too, its table is evicted instead. If even that fails, and the shared tier executes another
// eviction, the row is set aside for a while, so that it does not delay the others. One goroutine uses it.
type relayer struct {
	*follower
	rows    int
	aside   map[int64]*aside
	taken   Eviction // a name that the shared tier has evicted
	resting time.Duration
	rest    time.Time // nothing is relayed before this time
	swept   time.Time
	counted time.Time
	waiting bool // whether rows were waiting at the last count

	down, stuck bool // the state that was logged
}

// aside is a row whose eviction failed.
type aside struct {
	failures int
	until    time.Time
}

func newRelayer(f *follower) *relayer {
	return &relayer{follower: f, rows: relayRows, aside: map[int64]*aside{}, taken: Eviction{Keys: []Key{harmless}}}
}

// run relays what is due.
func (r *relayer) run(ctx context.Context) {
	oldest := r.undone.oldest()
	// Another gateway's relay may have failed after this gateway read its rows, which no poll reports.
	sweep := time.Since(r.swept) >= sweepEvery || r.waiting && time.Since(r.counted) >= countEvery
	if !sweep && (oldest.IsZero() || time.Since(oldest) < relayAfter) {
		return
	}
	r.countNow(ctx)
	if time.Now().Before(r.rest) {
		return
	}
	r.swept = time.Now()
	for ctx.Err() == nil {
		began := time.Now()
		piece := Piece{Age: relayAfter, Rows: r.rows, Except: r.except(began)}
		relayed, failed, err := r.relay(ctx, piece)
		if err != nil && failed && piece.Rows == 1 {
			piece.ByTable = true
			relayed, failed, err = r.relay(ctx, piece)
		}
		if err != nil {
			if ctx.Err() != nil || !r.fails(ctx, relayed, failed, err) {
				r.count(ctx)
				return
			}
			continue
		}
		r.succeeds(ctx, relayed)
		if relayed.Rows < piece.Rows {
			r.undone.before(began.Add(-relayAfter))
			for id, a := range r.aside {
				if !began.Before(a.until) {
					delete(r.aside, id)
				}
			}
			if r.stuck && len(r.aside) == 0 {
				r.stuck = false
				r.log.InfoContext(ctx, "all failed evictions were retried successfully")
			}
			if r.waiting || relayed.Rows > 0 {
				r.count(ctx)
			}
			return
		}
		r.countNow(ctx)
	}
}

// countNow counts the backlog unless it was counted just now.
func (r *relayer) countNow(ctx context.Context) {
	if time.Since(r.counted) >= countEvery {
		r.count(ctx)
	}
}

// relay relays a piece; failed reports whether the eviction was what failed.
func (r *relayer) relay(ctx context.Context, piece Piece) (relayed Relayed, failed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.lease+2*r.shared.timeout)
	defer cancel()
	relayed, err = r.outbox.Relay(ctx, piece, func(ctx context.Context, ev Eviction) error {
		// Other gateways learn of it by their polls.
		_, err := r.shared.evict(ctx, Write{Eviction: ev, Quiet: true}, time.Time{})
		if failed = err != nil; !failed {
			r.taken = ev.one()
		}
		return err
	})
	return relayed, failed, err
}

// except returns the rows that are set aside.
func (r *relayer) except(now time.Time) (ids []int64) {
	for id, a := range r.aside {
		if now.Before(a.until) {
			ids = append(ids, id)
		}
	}
	return ids
}

// fails handles a piece that failed, and reports whether to continue.
func (r *relayer) fails(ctx context.Context, relayed Relayed, evicting bool, err error) bool {
	if r.rows > 1 {
		if relayed.Rows > 0 {
			r.rows = min(r.rows, relayed.Rows)
		}
		r.rows = max(1, r.rows/8)
		return true
	}
	if evicting && relayed.First != 0 && r.tierIsWell(ctx) && r.setAside(ctx, relayed.First, err) {
		return true
	}
	r.resting = min(max(relayRest, 2*r.resting), relayRestMax)
	r.rest = time.Now().Add(r.resting)
	if !r.down {
		r.down = true
		r.log.WarnContext(ctx, "evictions cannot be sent to Redis; retrying", "error", err, "rows", r.stats.backlog.Load())
	}
	return false
}

// tierIsWell reports whether the shared tier evicts a name that it has evicted before.
func (r *relayer) tierIsWell(ctx context.Context) bool {
	_, err := r.shared.evict(ctx, Write{Eviction: r.taken, Quiet: true}, time.Time{})
	return err == nil
}

// setAside excludes a row for a while, if there are not too many.
func (r *relayer) setAside(ctx context.Context, id int64, err error) bool {
	a := r.aside[id]
	if a == nil {
		if len(r.aside) >= maxAside {
			return false
		}
		a = &aside{}
		r.aside[id] = a
	}
	a.until = time.Now().Add(min(asideMax, asideMin<<min(a.failures, 10)))
	a.failures++
	if !r.stuck {
		r.stuck = true
		r.log.WarnContext(ctx, "an eviction fails while others succeed; retrying it separately", "error", err)
	}
	return true
}

// succeeds handles a piece that was relayed.
func (r *relayer) succeeds(ctx context.Context, relayed Relayed) {
	r.stats.Relayed.Add(uint64(relayed.Writes)) //nolint:gosec // a count
	if relayed.Rows == 0 {
		return
	}
	r.rows, r.resting = min(2*r.rows, relayRowsMax), 0
	if r.down {
		r.down = false
		r.log.InfoContext(ctx, "evictions are sent to Redis again")
	}
}

// one returns an eviction of one of the names.
func (ev Eviction) one() Eviction {
	if len(ev.Keys) > 0 {
		return Eviction{Keys: slices.Clone(ev.Keys[:1])}
	}
	return Eviction{Tags: slices.Clone(ev.Tags[:1])}
}

// count counts the backlog, for the metrics.
func (r *relayer) count(ctx context.Context) {
	cctx, cancel := context.WithTimeout(ctx, r.lease)
	defer cancel()
	r.counted = time.Now()
	b, err := r.outbox.Backlog(cctx)
	if err != nil {
		r.log.DebugContext(ctx, "cannot count the backlog", "error", err)
		return
	}
	r.waiting = b.Rows > 0 && b.Oldest >= relayAfter
	oldest := int64(0)
	if r.waiting {
		oldest = r.counted.Add(-b.Oldest).UnixMilli()
	}
	r.stats.oldest.Store(oldest)
	r.stats.backlog.Store(int64(b.Rows))
}
