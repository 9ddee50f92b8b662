// Package chaos proves what fieldcache promises by real processes: three gateways, PostgreSQL and Redis, each
// gateway with its own ways to both, while clients read and write and faults come and go.
//
// What happened is written down as a [History] of writes and reads with the moments at which they began and
// ended. [Check] judges it read by read, by the promises' own definitions; it knows neither processes nor
// clocks. The tests bring the histories about: TestFaults under load, the others step by step.
//
// At rest, when the faults have ended, what every gateway answers and what every key in Redis holds is compared
// with the rows.
package chaos

import (
	"fmt"
	"math"
	"time"
)

// History is all that clients did and saw. Moments are durations since its beginning.
type History struct {
	// Initial is what the registers held at first, where it is not 0.
	Initial map[string]int64
	Writes  []Write
	Reads   []Read
	Calls   []Call
	Excuses []Excuse
	// Calm are the times in which nothing is wrong: what a query takes then is what this machine needs.
	Calm []Period
}

// Period is a time, both ends in it.
type Period struct{ From, To time.Duration }

// Write is one change of a register: one thing that has a number.
type Write struct {
	Register string
	// Version is what the register holds afterwards; writes of one register count upwards. Or, for a register that
	// counts, Delta is what is added: 1 or -1.
	Version, Delta int64
	// Via is the gateway that wrote, or Direct or Nobody.
	Via  string
	Sent time.Duration
	// Acked is when the write was known to be committed; 0 means that nobody knows whether it is.
	Acked time.Duration
}

const (
	// Direct is who writes to the database without a gateway.
	Direct = "psql"
	// Nobody is who wrote where the gateway died after the commit: Acked is when the commit was seen.
	Nobody = "nobody"
	// Stored is who reads what Redis holds, without a gateway.
	Stored = "redis"
)

// Span is a range of numbers, both ends in it.
type Span struct{ Low, High int64 }

// Exactly is the span of one number.
func Exactly(n int64) []Span { return []Span{{n, n}} }

// But is every number except those from low to high.
func But(low, high int64) []Span { return []Span{{math.MinInt64, low - 1}, {high + 1, math.MaxInt64}} }

// Read is one look at a register.
type Read struct {
	Register     string
	Via          string // the gateway that answered, or Stored
	Begun, Ended time.Duration
	Saw          []Span // the numbers that the register can have had, by what was answered
	Stale        bool   // marked as stale
}

func (r Read) String() string {
	mark := ""
	if r.Stale {
		mark = ", marked as stale"
	}
	return fmt.Sprintf("%s via %s from %v to %v saw %v%s", r.Register, r.Via, r.Begun.Round(time.Millisecond/10),
		r.Ended.Round(time.Millisecond/10), r.Saw, mark)
}

// Call is one request to a gateway, whatever it asked for.
type Call struct {
	Via          string
	Mutation     bool
	Begun, Ended time.Duration
	Err          string // "" where it was answered without errors
}

func (c Call) String() string {
	kind := "query"
	if c.Mutation {
		kind = "mutation"
	}
	return fmt.Sprintf("a %s via %s from %v to %v (%v) %s", kind, c.Via, c.Begun.Round(time.Millisecond),
		c.Ended.Round(time.Millisecond), (c.Ended - c.Begun).Round(time.Millisecond), c.Err)
}

// Excuse is a time in which less is promised of one gateway, or of what is stored.
type Excuse struct {
	Via      string // who is excused; "" is everyone
	From, To time.Duration
	Errors   bool // requests may fail
	Slow     bool // requests may take long
	Stale    bool // answers may be old if they are marked as stale
	Old      bool // what is stored may be old: gateways have to refuse it
}

// overlaps reports whether the excuse covers a part of what somebody did.
func (e Excuse) overlaps(via string, begun, ended time.Duration) bool {
	return (e.Via == "" || e.Via == via) && e.From <= ended && begun <= e.To
}

// Excused reports whether who did something in a time has an excuse of a kind.
func (h *History) Excused(via string, begun, ended time.Duration, kind func(Excuse) bool) bool {
	for _, e := range h.Excuses {
		if kind(e) && e.overlaps(via, begun, ended) {
			return true
		}
	}
	return false
}
