package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds say how long after its acknowledgement a write may be invisible.
type Bounds struct {
	Other  time.Duration // through another gateway than the one that acknowledged it
	Direct time.Duration // through any gateway, if it was written directly to the database

	// Query and Mutation limit the time of a response.
	Query, Mutation time.Duration
}

// lag returns how long w may be invisible to a reader.
func (b Bounds) lag(w Write, via string) time.Duration {
	switch {
	case w.Via == Direct:
		return b.Direct
	case w.Via == Nobody:
		return b.Other
	case w.Via == via, via == Stored:
		return 0
	}
	return b.Other
}

// Violation is a read that breaks a promise.
type Violation struct {
	Read
	Lowest, Highest int64 // the values that it could have seen
	Last            Write // the newest write that it had to see, if any
}

func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v, which could be %d to %d", v.Read, v.Lowest, v.Highest)
	if w := v.Last; w.Register != "" {
		fmt.Fprintf(&b, ": %d%+d was written via %s, sent at %v, known at %v, %v before the read", w.Version, w.Delta, w.Via,
			w.Sent.Round(time.Millisecond/10), w.Acked.Round(time.Millisecond/10), (v.Begun - w.Acked).Round(time.Millisecond/10))
	}
	return b.String()
}

// Check returns the reads that saw something older than what was known long enough before they
// began, or a write that was sent only after they ended.
func Check(h *History, b Bounds) []Violation {
	writes := map[string][]Write{}
	for _, w := range h.Writes {
		writes[w.Register] = append(writes[w.Register], w)
	}
	var found []Violation
	for _, r := range h.Reads {
		v := allowed(r, h.Initial[r.Register], writes[r.Register], b)
		if r.Stale {
			// A response marked as stale may be of any age, if the mark is allowed.
			if h.Excused(r.Via, r.Begun, r.Ended, func(e Excuse) bool { return e.Stale }) {
				v.Lowest = h.Initial[r.Register]
			} else {
				found = append(found, v)
				continue
			}
		}
		if r.Via == Stored && h.Excused(Stored, r.Begun, r.Ended, func(e Excuse) bool { return e.Old }) {
			continue
		}
		if !sawWithin(r.Saw, v.Lowest, v.Highest) {
			found = append(found, v)
		}
	}
	return found
}

// allowed returns the violation that r would be, with the lowest and highest values that it could
// have seen.
func allowed(r Read, initial int64, writes []Write, b Bounds) Violation {
	v := Violation{Read: r, Lowest: initial, Highest: initial}
	for _, w := range writes {
		possible := w.Sent < r.Ended
		certain := w.Acked > 0 && w.Acked+b.lag(w, r.Via) < r.Begun
		switch {
		case w.Delta > 0 && possible:
			v.Highest += w.Delta
		case w.Delta < 0 && possible:
			v.Lowest += w.Delta
		case possible:
			v.Highest = max(v.Highest, w.Version)
		}
		if !certain {
			continue
		}
		switch {
		case w.Delta > 0:
			v.Lowest += w.Delta
		case w.Delta < 0:
			v.Highest += w.Delta
		default:
			v.Lowest = max(v.Lowest, w.Version)
		}
		if v.Last.Register == "" || w.Acked > v.Last.Acked {
			v.Last = w
		}
	}
	return v
}

func sawWithin(saw []Span, low, high int64) bool {
	for _, s := range saw {
		if s.Low <= high && low <= s.High {
			return true
		}
	}
	return false
}

// CheckCalls returns the calls that failed or took too long without an excuse.
func CheckCalls(h *History, b Bounds) []Call {
	var found []Call
	for _, c := range h.Calls {
		limit := b.Query
		if c.Mutation {
			limit = b.Mutation
		}
		failed := c.Err != "" && !h.Excused(c.Via, c.Begun, c.Ended, func(e Excuse) bool { return e.Errors })
		slow := c.Ended-c.Begun > limit && !h.Excused(c.Via, c.Begun, c.Ended, func(e Excuse) bool { return e.Slow })
		if failed || slow {
			found = append(found, c)
		}
	}
	return found
}

// Queries returns the durations of the queries that had no excuse to be slow, longest first. Those
// that began in calm periods are returned separately.
func (h *History) Queries() (took, calm []time.Duration) {
	for _, c := range h.Calls {
		switch {
		case c.Mutation, h.Excused(c.Via, c.Begun, c.Ended, func(e Excuse) bool { return e.Slow }):
		case slices.ContainsFunc(h.Calm, func(p Period) bool { return p.From <= c.Begun && c.Begun <= p.To }):
			calm = append(calm, c.Ended-c.Begun)
		default:
			took = append(took, c.Ended-c.Begun)
		}
	}
	longestFirst(took)
	longestFirst(calm)
	return took, calm
}

// OneInAHundred returns the duration that one in a hundred exceeds. ds is sorted, longest first.
func OneInAHundred(ds []time.Duration) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	return ds[len(ds)/100]
}

func longestFirst(ds []time.Duration) {
	slices.SortFunc(ds, func(a, b time.Duration) int { return cmp.Compare(b, a) })
}

// Windows returns how long after their acknowledgement writes were still invisible, longest first.
// For each write that kind selects, and each gateway, it is the latest start of a read that saw an
// older value. Writes that every read saw are not included.
func Windows(h *History, kind func(w Write, via string) bool) []time.Duration {
	reads := map[string][]Read{}
	for _, r := range h.Reads {
		if r.Via != Stored && !r.Stale && len(r.Saw) == 1 {
			reads[r.Register] = append(reads[r.Register], r)
		}
	}
	var found []time.Duration
	for _, w := range h.Writes {
		if w.Acked == 0 || w.Delta != 0 {
			continue
		}
		longest := map[string]time.Duration{}
		for _, r := range reads[w.Register] {
			if kind(w, r.Via) && r.Begun > w.Acked && r.Saw[0].High < w.Version {
				longest[r.Via] = max(longest[r.Via], r.Begun-w.Acked)
			}
		}
		found = slices.AppendSeq(found, maps.Values(longest))
	}
	longestFirst(found)
	return found
}
