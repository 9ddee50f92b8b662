package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Bounds say how long after its acknowledgement a write may go unseen.
type Bounds struct {
	Other  time.Duration // by another gateway than the one that acknowledged it
	Direct time.Duration // by any gateway, if it went around them

	// Query and Mutation bound how long an answer takes.
	Query, Mutation time.Duration
}

// lag is how long w may go unseen by who reads via.
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

// Violation is a read that no promise allows.
type Violation struct {
	Read
	Lowest, Highest int64 // what it could have seen
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

// Check returns the reads that saw something older than what was known long enough before they began, or
// something that nobody had begun to write before they ended.
func Check(h *History, b Bounds) []Violation {
	writes := map[string][]Write{}
	for _, w := range h.Writes {
		writes[w.Register] = append(writes[w.Register], w)
	}
	var found []Violation
	for _, r := range h.Reads {
		v := allowed(r, h.Initial[r.Register], writes[r.Register], b)
		if r.Stale {
			// What is marked may be of any time, but only when it is allowed to be marked.
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

// allowed is the violation that r would be: what it could have seen at least and at most.
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

// Queries returns how long the queries took that had no excuse to be slow, longest first, and apart from them those
// that began while all was calm.
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

// OneInAHundred is what one in a hundred of the durations exceeds, which are sorted, longest first.
func OneInAHundred(ds []time.Duration) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	return ds[len(ds)/100]
}

func longestFirst(ds []time.Duration) {
	slices.SortFunc(ds, func(a, b time.Duration) int { return cmp.Compare(b, a) })
}

// Windows answers for how long after their acknowledgement writes were seen not to be there yet, longest first: of
// the writes that kind chooses, the latest beginning of a read through each gateway that saw something older.
// Writes that no read missed are not in it.
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
