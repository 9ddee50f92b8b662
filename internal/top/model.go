package top

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"time"
)

// listed is how many evictions are remembered.
const listed = 100

// window is over how many events latency is told: about a minute.
const window = 60

// order says by what the coordinates are sorted.
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

// state is what is shown. Nothing in it knows the terminal.
type state struct {
	address   string
	connected bool
	problem   string // why it is not
	before    Counters
	now       Counters
	evictions []Eviction // the newest first
	waiting   []Eviction // those that came while the screen is paused, likewise
	skipped   uint64
	outcomes  [][]Outcome // of the last events, the oldest first: latency is told of what came since
	order     order
	paused    bool
}

// take puts an event into the state.
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

// pause has the screen stay as it is, or go on.
func (s *state) pause() {
	s.paused = !s.paused
	s.evictions = append(s.waiting, s.evictions...)
	s.evictions, s.waiting = s.evictions[:min(len(s.evictions), listed)], nil
}

// lost notes that no more events come.
func (s *state) lost(why error) {
	s.connected, s.problem = false, "no answer: the server has ended"
	if why != nil {
		if of := (*url.Error)(nil); errors.As(why, &of) {
			why = of.Err // without the address, which is shown already
		}
		s.problem = "no answer: " + why.Error()
	}
	s.before, s.now, s.outcomes = Counters{}, Counters{}, nil // another one begins with other counts
}

// seconds is how far apart the last two events are; 0 until there are two.
func (s *state) seconds() float64 {
	if s.before.When.IsZero() {
		return 0
	}
	return s.now.When.Sub(s.before.When).Seconds()
}

// rate is by how much a metric grew in a second.
func (s *state) rate(name, label string) float64 {
	d := s.seconds()
	if d <= 0 {
		return 0
	}
	return max(0, (s.now.sum(name, label)-s.before.sum(name, label))/d)
}

// row is a coordinate as it is shown.
type row struct {
	Coordinate
	rate float64 // values asked for in a second
}

// rows are the coordinates of which something was asked, in order.
func (s *state) rows() []row {
	before := map[string]uint64{}
	for _, c := range s.before.Coordinates {
		before[c.Coordinate] = c.asked()
	}
	var rows []row
	for _, c := range s.now.Coordinates {
		if c.asked() == 0 {
			continue
		}
		r := row{Coordinate: c}
		if d := s.seconds(); d > 0 {
			r.rate = max(0, float64(c.asked()-before[c.Coordinate])/d)
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
		case byTruth: // what no write evicts first
			by = cmp.Or(-boolean(a.Truth == "ttl", b.Truth == "ttl"), cmp.Compare(a.Truth, b.Truth))
		}
		return cmp.Or(by, cmp.Compare(a.Coordinate.Coordinate, b.Coordinate.Coordinate))
	})
	return rows
}

// latencies are those of each outcome of the last minute, or since the first event.
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

// boolean compares as [cmp.Compare] does: false is less than true.
func boolean(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// age is for how long the server has run, as far as it says.
func (s *state) age() time.Duration {
	began := s.now.sum("process_start_time_seconds", "")
	if began == 0 {
		return 0
	}
	return s.now.When.Sub(time.UnixMilli(int64(1000 * began))).Truncate(time.Second)
}
