package top

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"time"
)

// listed is the number of evictions in the list.
const listed = 100

// window is the number of counter events over which latency is computed: about a minute.
const window = 60

// order is the order of the coordinates.
type order int

const (
	byLoads order = iota
	byRate
	byShare
	byName
	byTruth
	orders // how many there are
)

func (o order) String() string { return [...]string{"loads", "asked/s", "hits", "name", "truth"}[o] }

// state is what the screen shows. It does not depend on the terminal.
type state struct {
	address   string
	connected bool
	problem   string // why it is not connected
	before    Counters
	now       Counters
	evictions []Eviction // newest first
	waiting   []Eviction // received while the screen is paused, newest first
	skipped   uint64
	outcomes  [][]Outcome // of the last counter events, oldest first; latency is the difference to the first
	order     order
	paused    bool
}

// take updates the state with an event.
func (s *state) take(event any) {
	switch e := event.(type) {
	case Counters:
		s.connected, s.problem = true, ""
		s.skipped += e.Skipped
		if s.paused {
			return
		}
		s.before, s.now = s.now, e
		s.outcomes = append(s.outcomes, e.Outcomes)
		s.outcomes = s.outcomes[max(0, len(s.outcomes)-window-1):]
	case Eviction:
		into := &s.evictions
		if s.paused {
			into = &s.waiting
		}
		*into = slices.Insert(*into, 0, e)
		*into = (*into)[:min(len(*into), listed)]
	}
}

// pause freezes the screen, or resumes it.
func (s *state) pause() {
	s.paused = !s.paused
	s.evictions = append(s.waiting, s.evictions...)
	s.evictions, s.waiting = s.evictions[:min(len(s.evictions), listed)], nil
}

// lost records that the stream of events has ended.
func (s *state) lost(why error) {
	s.connected, s.problem = false, "disconnected: the server ended the stream"
	if why != nil {
		if of := (*url.Error)(nil); errors.As(why, &of) {
			why = of.Err // without the address, which the screen shows already
		}
		s.problem = "disconnected: " + why.Error()
	}
	s.before, s.now, s.outcomes = Counters{}, Counters{}, nil // a restarted server counts from 0
}

// seconds returns the time between the last two counter events, or 0 before the second.
func (s *state) seconds() float64 {
	if s.before.When.IsZero() {
		return 0
	}
	return s.now.When.Sub(s.before.When).Seconds()
}

// rate returns how much a metric grows per second.
func (s *state) rate(name, label string) float64 {
	d := s.seconds()
	if d <= 0 {
		return 0
	}
	return max(0, (s.now.sum(name, label)-s.before.sum(name, label))/d)
}

// row is a row of the table of coordinates.
type row struct {
	Coordinate
	rate float64 // values requested per second
}

// rows returns the coordinates with at least one request, sorted.
func (s *state) rows() []row {
	before := map[string]uint64{}
	for _, c := range s.before.Coordinates {
		before[c.Coordinate] = c.requests()
	}
	var rows []row
	for _, c := range s.now.Coordinates {
		if c.requests() == 0 {
			continue
		}
		r := row{Coordinate: c}
		if d := s.seconds(); d > 0 {
			r.rate = max(0, float64(c.requests()-before[c.Coordinate])/d)
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b row) int {
		by := 0
		switch s.order {
		case byLoads:
			by = cmp.Compare(b.loads(), a.loads())
		case byRate:
			by = cmp.Compare(b.rate, a.rate)
		case byShare:
			by = cmp.Compare(a.share(), b.share())
		case byTruth: // values that no write evicts come first
			by = cmp.Or(-boolean(a.Truth == "ttl", b.Truth == "ttl"), cmp.Compare(a.Truth, b.Truth))
		}
		return cmp.Or(by, cmp.Compare(a.Coordinate.Coordinate, b.Coordinate.Coordinate))
	})
	return rows
}

// latencies returns the latency of each outcome in the last minute, or since the first event if
// that is more recent.
func (s *state) latencies() []Outcome {
	if len(s.outcomes) < 2 {
		return nil
	}
	var of []Outcome
	for _, o := range s.now.Outcomes {
		of = append(of, o.since(s.outcomes[0]))
	}
	return of
}

// boolean compares a and b as [cmp.Compare] does; false is less than true.
func boolean(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// age returns the server's uptime, or 0 if the server does not report it.
func (s *state) age() time.Duration {
	began := s.now.sum("process_start_time_seconds", "")
	if began == 0 {
		return 0
	}
	return s.now.When.Sub(time.UnixMilli(int64(1000 * began))).Truncate(time.Second)
}
