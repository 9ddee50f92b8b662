package gqlcache

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"fieldcache/cache/answers"
)

// Admission bounds how many operations are executed at a time. The others wait in one queue, whatever they do, and those for
// which waiting would take too long are refused, while a client still has time to do something about it. Responses that are cached
// pass by it.
type Admission struct {
	o     AdmissionOptions
	slots *semaphore.Weighted // first come, first served

	waiting atomic.Int64
	refused atomic.Uint64
	// lastRefused is when, in nanoseconds of the Unix epoch; 0 once that was so long ago that the overload is over.
	lastRefused atomic.Int64
}

// AdmissionOptions are the bounds of an [Admission].
type AdmissionOptions struct {
	MaxRunning int64         // operations. Required
	MaxWait    time.Duration // for a turn. Required
	// MaxWaiting is how many requests may wait. Default: no bound but MaxWait.
	MaxWaiting int64
	Log        *slog.Logger // is told once when requests begin to be refused, and once when none is any more. Required
}

// calm is for how long no request is refused before an overload counts as over.
const calm = 10 * time.Second

// NewAdmission makes an admission.
func NewAdmission(o AdmissionOptions) *Admission {
	return &Admission{o: o, slots: semaphore.NewWeighted(o.MaxRunning)}
}

// enter waits for the turn of a request of n operations, and returns what ends its turn, or a refusal. Where the request has ended
// meanwhile both are nil.
func (a *Admission) enter(ctx context.Context, n int) (leave func(), _ *refusal) {
	if a == nil {
		return func() {}, nil
	}
	weight := min(int64(n), a.o.MaxRunning)
	leave = func() { a.slots.Release(weight) }
	if a.slots.TryAcquire(weight) {
		a.recover()
		return leave, nil
	}
	waiting := a.waiting.Add(1)
	defer a.waiting.Add(-1)
	if a.o.MaxWaiting > 0 && waiting > a.o.MaxWaiting {
		return nil, a.refuse(ctx)
	}
	wait, cancel := context.WithTimeout(ctx, a.o.MaxWait)
	defer cancel()
	switch err := a.slots.Acquire(wait, weight); {
	case err == nil:
		return leave, nil
	case ctx.Err() != nil:
		return nil, nil
	}
	return nil, a.refuse(ctx)
}

// refuse counts a refusal, and logs the first of many.
func (a *Admission) refuse(ctx context.Context) *refusal {
	a.refused.Add(1)
	if a.lastRefused.Swap(time.Now().UnixNano()) == 0 {
		a.o.Log.WarnContext(ctx, "overloaded: operations that have waited too long for their turn are refused, until fewer come",
			"running", a.o.MaxRunning, "waiting", a.waiting.Load(), "max_wait", a.o.MaxWait)
	}
	return &refusal{
		status: http.StatusServiceUnavailable, code: codeOverloaded,
		message: "The server is overloaded: nothing was executed. Try again later.",
		cache:   answers.Overloaded, retryAfter: strconv.Itoa(max(1, int(a.o.MaxWait.Seconds()))),
	}
}

// recover tells that an overload is over, where nobody waits and the last refusal was a while ago.
func (a *Admission) recover() {
	last := a.lastRefused.Load()
	if last != 0 && time.Since(time.Unix(0, last)) > calm && a.lastRefused.CompareAndSwap(last, 0) {
		a.o.Log.Info("no longer overloaded", "refused", a.refused.Load())
	}
}

// Refused returns how many requests were refused so far.
func (a *Admission) Refused() uint64 { return a.refused.Load() }

// Waiting returns how many requests wait for their turn.
func (a *Admission) Waiting() int64 { return a.waiting.Load() }
