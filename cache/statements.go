package cache

import (
	"context"
	"slices"
	"sync"
)

// maxStatements limits how many different statements a log remembers.
const maxStatements = 2000

// statementLog records which statements ran, and when. The zero value is empty.
type statementLog struct {
	mu   sync.Mutex
	seq  uint64 // the number of beginnings and ends
	lost uint64 // the last beginning or end of a statement that is not in ran
	ran  map[string]*ranStatement

	standby ranStatement // the statements on standbys
}

type ranStatement struct {
	last    uint64 // its last beginning or end
	running int
}

// began records a statement's beginning. "" is a statement whose text is unknown.
func (l *statementLog) began(statement string) { l.note(statement, 1) }

// ended records a statement's end.
func (l *statementLog) ended(statement string) { l.note(statement, -1) }

func (l *statementLog) note(statement string, running int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	switch statement {
	case "":
		l.lost = l.seq
		return
	case OnStandby:
		l.standby.note(l.seq, running)
		return
	}
	s := l.ran[statement]
	if s == nil {
		if l.ran == nil {
			l.ran = map[string]*ranStatement{}
		}
		if len(l.ran) >= maxStatements {
			l.shrink()
		}
		s = &ranStatement{}
		l.ran[statement] = s
	}
	s.note(l.seq, running)
}

func (s *ranStatement) note(seq uint64, running int) {
	s.last, s.running = seq, max(s.running+running, 0)
}

// after reports whether it ran after moment, began or ended.
func (s *ranStatement) after(moment uint64) bool { return s.last > moment || s.running > 0 }

// shrink removes statements that are not running. The caller holds mu.
func (l *statementLog) shrink() {
	for text, s := range l.ran {
		if s.running == 0 {
			l.lost = max(l.lost, s.last)
			delete(l.ran, text)
		}
	}
	if len(l.ran) >= maxStatements {
		l.lost = l.seq
		clear(l.ran)
	}
}

// now returns the current moment, for a later call of since.
func (l *statementLog) now() uint64 {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seq
}

// since appends to list the statements that ran after moment, began or ended. It reports whether
// the result is complete.
func (l *statementLog) since(list []string, moment uint64) ([]string, bool) {
	if l == nil {
		return list, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seq == moment && len(l.ran) == 0 {
		return list, l.lost <= moment
	}
	for text, s := range l.ran {
		if s.after(moment) && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list, l.lost <= moment
}

// standbySince reports whether a statement on a standby ran after moment, began or ended.
func (l *statementLog) standbySince(moment uint64) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.standby.after(moment)
}

// Moment is when something began, such as a request.
type Moment struct {
	generations generationsAt
	softs       uint64    // how many soft evictions there had been
	polled      *Snapshot // nil: no outbox was polled
}

type requestKey struct{}

// RequestState is what the cache records about a request: when it began, and its statements. The zero value belongs to
// no request: see [Cache.BeginRequest].
type RequestState struct {
	began      Moment
	statements statementLog
}

// Begin returns a context for everything that is read to serve one request. If ctx is such a context already, Begin
// returns ctx. Loaders may hold rows for as long as a request takes, and read for several fields at once. So a value
// that a source computes from rows that its own statements did not read may be as old as the request, see [Loaded], and
// depend on every statement of it, see [Watch.CollectStatements].
func (c *Cache) Begin(ctx context.Context) context.Context {
	if requestOf(ctx) != nil {
		return ctx
	}
	if t, _ := ctx.Value(togetherKey{}).(*together); t != nil {
		t.begin.Do(func() { c.BeginRequest(&t.request) })
		return context.WithValue(ctx, requestKey{}, &t.request)
	}
	r := new(RequestState)
	c.BeginRequest(r)
	return context.WithValue(ctx, requestKey{}, r)
}

// together is the request of several operations.
type together struct {
	begin   sync.Once
	request RequestState
}

type togetherKey struct{}

// Together returns a context for several operations of one request, such as those of a batch: the
// first [Cache.Begin] with it, or with a context derived from it, begins the request of all of them.
func Together(ctx context.Context) context.Context {
	return context.WithValue(ctx, togetherKey{}, new(together))
}

// AreTogether reports whether ctx derives from [Together].
func AreTogether(ctx context.Context) bool { return ctx.Value(togetherKey{}) != nil }

// BeginRequest is [Cache.Begin] for a context of the caller's own type, whose Value returns r for the
// key that [IsRequestKey] recognizes.
func (c *Cache) BeginRequest(r *RequestState) {
	r.began = Moment{generations: c.Generations().now(), softs: c.follower.soft.count.Load()}
	if c.follower.outbox != nil {
		r.began.polled = c.follower.floors.polled.Load()
	}
}

// IsRequestKey reports whether a key of a context is that of a [RequestState].
func IsRequestKey(key any) bool { return key == requestKey{} }

// BeganAt returns when the request of a context began, or nil if [Cache.Begin] was not called.
func BeganAt(ctx context.Context) *Moment {
	if r := requestOf(ctx); r != nil {
		return &r.began
	}
	return nil
}

func requestOf(ctx context.Context) *RequestState {
	r, _ := ctx.Value(requestKey{}).(*RequestState)
	return r
}

// statementsOf returns the log of a context's request; nil if it has none.
func statementsOf(ctx context.Context) *statementLog {
	if r := requestOf(ctx); r != nil {
		return &r.statements
	}
	return nil
}
