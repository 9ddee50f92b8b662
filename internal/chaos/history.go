// Package chaos tests fieldcache's promises with real processes: three gateways, PostgreSQL and
// Redis. Each gateway has its own proxies to both. Clients read and write while faults occur.
//
// What happened is recorded as a [History] of writes and reads with their start and end times.
// [Check] judges it read by read, by the definitions of the promises; it knows neither processes
// nor clocks. The tests produce the histories: TestFaults under load, the others step by step.
//
// At rest, after the faults, what every gateway returns and what every key in Redis holds is
// compared with the rows.
package chaos

import (
	"fmt"
	"math"
	"time"
)

// History is everything that clients did and saw. Times are durations since its beginning.
type History struct {
	// Initial has the first values of registers, unless they are 0.
	Initial map[string]int64
	Writes  []Write
	Reads   []Read
	Calls   []Call
	Excuses []Excuse
	// Calm has the periods without a fault. The duration of queries in them shows what this machine
	// needs.
	Calm []Period
}

// Period is a span of time that includes both ends.
type Period struct{ From, To time.Duration }

// Write is one change of a register, which is a thing with a number.
type Write struct {
	Register string
	// Version is the register's value after the write; versions of one register increase. For a
	// register that counts, Delta is what is added instead: 1 or -1.
	Version, Delta int64
	// Via is the gateway that wrote, or Direct or Nobody.
	Via  string
	Sent time.Duration
	// Acked is when the commit was known; 0 means that the outcome is unknown.
	Acked time.Duration
}

const (
	// Direct is the writer of writes without a gateway.
	Direct = "psql"
	// Nobody is the writer if the gateway died after the commit. Acked is then when the commit was
	// seen.
	Nobody = "nobody"
	// Stored is the reader of Redis without a gateway.
	Stored = "redis"
)

// Span is a range of numbers that includes both ends.
type Span struct{ Low, High int64 }

// Exactly returns the span of one number.
func Exactly(n int64) []Span { return []Span{{n, n}} }

// But returns all numbers except those from low to high.
func But(low, high int64) []Span { return []Span{{math.MinInt64, low - 1}, {high + 1, math.MaxInt64}} }

// Read is one read of a register.
type Read struct {
	Register     string
	Via          string // the gateway that responded, or Stored
	Begun, Ended time.Duration
	Saw          []Span // the numbers that the register can have had, according to the response
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

// Call is one request to a gateway.
type Call struct {
	Via          string
	Mutation     bool
	Begun, Ended time.Duration
	Err          string // "" if the response has no errors
}

func (c Call) String() string {
	kind := "query"
	if c.Mutation {
		kind = "mutation"
	}
	return fmt.Sprintf("a %s via %s from %v to %v (%v) %s", kind, c.Via, c.Begun.Round(time.Millisecond),
		c.Ended.Round(time.Millisecond), (c.Ended - c.Begun).Round(time.Millisecond), c.Err)
}

// Excuse is a period in which less is promised of a gateway, or of the entries in Redis.
type Excuse struct {
	Via      string // the excused gateway; "" for all
	From, To time.Duration
	Errors   bool // requests may fail
	Slow     bool // requests may take long
	Stale    bool // responses may be old if they are marked as stale
	Old      bool // entries in Redis may be old: gateways have to refuse them
}

// overlaps reports whether the excuse covers a part of an action.
func (e Excuse) overlaps(via string, began, ended time.Duration) bool {
	return (e.Via == "" || e.Via == via) && e.From <= ended && began <= e.To
}

// Excused reports whether an action in a period has an excuse of a kind.
func (h *History) Excused(via string, began, ended time.Duration, kind func(Excuse) bool) bool {
	for _, e := range h.Excuses {
		if kind(e) && e.overlaps(via, began, ended) {
			return true
		}
	}
	return false
}
