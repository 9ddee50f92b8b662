package transport

import (
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"fieldcache/cache/answers"
	"fieldcache/cache/apierror"
)

// Admission limits how many operations are executed at a time. The others wait in one queue. An operation that would have to
// wait too long is refused early enough for its client to react. Cached responses bypass the queue. It is safe for
// concurrent use.
type Admission struct {
	o AdmissionOptions

	refused atomic.Uint64
	// lastRefused is when the last request was refused, in Unix nanoseconds; 0 once the overload is over.
	lastRefused atomic.Int64

	mu      sync.Mutex // guards the fields below
	running int64
	took    time.Duration // how long requests run: a moving average in which each request counts for an eighth
	beside  int           // requests that were admitted beyond the limit
	queue   list.List     // of *turn, in the order of arrival
	look    *time.Timer
}

// turn is a request that waits.
type turn struct {
	weight int64
	leave  func() // set before ready is closed
	ready  chan struct{}
}

// AdmissionOptions are the options of an [Admission].
type AdmissionOptions struct {
	MaxRunning int64         // operations. Required
	MaxWait    time.Duration // for a request to start. Required
	// Deadline is the total time of a request. The longer requests run, the less of it they may wait, so that admitted
	// requests have time left: four times the average run time. They may always wait for a third of MaxWait. Default:
	// requests may always wait for MaxWait.
	Deadline time.Duration
	// MaxWaiting limits how many requests may wait. Default: only MaxWait limits them.
	MaxWaiting int64
	// Outage reports whether the database does not respond at all, as [cache.Cache.Silent] does. Meanwhile the operations
	// that wait for it use no CPU, and must not block operations that can be served stale: up to 4,096 requests are admitted
	// beyond the limit. Default: never.
	Outage func() bool
	Log    *slog.Logger // receives one message when refusals begin, and one when they end. Default: slog.Default()
}

const (
	// calm is how long after the last refusal an overload is over.
	calm = 10 * time.Second
	// besideAtMost limits the memory of requests that wait for something that does not respond.
	besideAtMost = 4096
	// lookEvery is how often Outage is called while requests wait.
	lookEvery = 100 * time.Millisecond
)

// NewAdmission returns an Admission. It returns an error for options without limits, which would admit nothing.
func NewAdmission(o AdmissionOptions) (*Admission, error) {
	if o.MaxRunning <= 0 || o.MaxWait <= 0 || o.MaxWaiting < 0 {
		return nil, fmt.Errorf("transport: an admission needs MaxRunning and MaxWait above 0 and no negative MaxWaiting, not %d, %v and %d",
			o.MaxRunning, o.MaxWait, o.MaxWaiting)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Outage == nil {
		o.Outage = func() bool { return false }
	}
	return &Admission{o: o}, nil
}

// enter waits for the turn of a request of n operations, and returns a function that ends its turn,
// or a refusal. If the request ended meanwhile, both are nil.
func (a *Admission) enter(ctx context.Context, n int) (leave func(), _ *refusal) {
	if a == nil {
		return func() {}, nil
	}
	weight := min(int64(n), a.o.MaxRunning)
	a.mu.Lock()
	if a.queue.Len() == 0 && a.running+weight <= a.o.MaxRunning {
		leave = a.run(weight)
		a.mu.Unlock()
		a.recover()
		return leave, nil
	}
	if leave = a.letBeside(); leave != nil {
		a.mu.Unlock()
		return leave, nil
	}
	if a.o.MaxWaiting > 0 && int64(a.queue.Len()) >= a.o.MaxWaiting {
		a.mu.Unlock()
		return nil, a.refuse(ctx)
	}
	t := &turn{weight: weight, ready: make(chan struct{})}
	place := a.queue.PushBack(t)
	if a.look == nil {
		a.look = time.AfterFunc(lookEvery, a.lookForOutage)
	}
	timer := time.NewTimer(a.patience())
	a.mu.Unlock()
	defer timer.Stop()
	select {
	case <-t.ready:
		return t.leave, nil
	case <-ctx.Done():
	case <-timer.C:
	}
	a.mu.Lock()
	if t.leave != nil {
		a.mu.Unlock()
		return t.leave, nil // its turn came at the same moment
	}
	a.queue.Remove(place)
	a.next() // requests behind it may need less
	a.mu.Unlock()
	if ctx.Err() != nil {
		return nil, nil
	}
	return nil, a.refuse(ctx)
}

// run counts a request as running until the returned function is called. The caller holds mu.
func (a *Admission) run(weight int64) (leave func()) {
	a.running += weight
	began := time.Now()
	return func() {
		took := time.Since(began)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.running -= weight; a.took == 0 {
			a.took = took
		} else {
			a.took += (took - a.took) / 8
		}
		a.next()
	}
}

// patience returns for how long a new request may wait. The caller holds mu.
func (a *Admission) patience() time.Duration {
	if a.o.Deadline <= 0 {
		return a.o.MaxWait
	}
	return min(a.o.MaxWait, max(a.o.MaxWait/3, a.o.Deadline-4*a.took))
}

// letBeside admits a request beyond the limit if that helps; otherwise it returns nil. The caller
// holds mu.
func (a *Admission) letBeside() (leave func()) {
	if a.beside >= besideAtMost || !a.o.Outage() {
		return nil
	}
	a.beside++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.beside--
	}
}

// next admits waiting requests as long as there is room. The caller holds mu.
func (a *Admission) next() {
	for front := a.queue.Front(); front != nil; front = a.queue.Front() {
		t := front.Value.(*turn)
		if a.running+t.weight > a.o.MaxRunning {
			return
		}
		a.queue.Remove(front)
		t.begin(a.run(t.weight))
	}
}

func (t *turn) begin(leave func()) {
	t.leave = leave
	close(t.ready)
}

// lookForOutage admits waiting requests beyond the limit if an outage has begun. It repeats as long
// as requests wait.
func (a *Admission) lookForOutage() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for front := a.queue.Front(); front != nil; front = a.queue.Front() {
		leave := a.letBeside()
		if leave == nil {
			a.look.Reset(lookEvery)
			return
		}
		a.queue.Remove(front)
		front.Value.(*turn).begin(leave)
	}
	a.look = nil
}

// refuse counts a refusal, and logs the first of many.
func (a *Admission) refuse(ctx context.Context) *refusal {
	a.refused.Add(1)
	if a.lastRefused.Swap(time.Now().UnixNano()) == 0 {
		a.o.Log.WarnContext(ctx, "overloaded: refusing requests",
			"running", a.o.MaxRunning, "waiting", a.Waiting(), "max_wait", a.o.MaxWait)
	}
	f := refuse(apierror.Overloaded)
	f.cache, f.retryAfter = answers.Overloaded, strconv.Itoa(max(1, int(a.o.MaxWait.Seconds()/3)))
	return f
}

// recover logs the end of an overload, if no request waits and the last refusal was a while ago.
func (a *Admission) recover() {
	last := a.lastRefused.Load()
	if last != 0 && time.Since(time.Unix(0, last)) > calm && a.lastRefused.CompareAndSwap(last, 0) {
		a.o.Log.Info("no longer overloaded", "refused", a.refused.Load())
	}
}

// Refused returns how many requests have been refused.
func (a *Admission) Refused() uint64 { return a.refused.Load() }

// Waiting returns how many requests are waiting.
func (a *Admission) Waiting() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(a.queue.Len())
}
