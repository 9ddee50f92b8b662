package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const ms = time.Millisecond

// wrote, counted and saw keep the histories below short.
func wrote(version int64, via string, sent, acked time.Duration) Write {
	return Write{Register: "user:1", Version: version, Via: via, Sent: sent, Acked: acked}
}

func counted(delta int64, via string, sent, acked time.Duration) Write {
	return Write{Register: "user:1", Delta: delta, Via: via, Sent: sent, Acked: acked}
}

func saw(spans []Span, via string, began, ended time.Duration) Read {
	return Read{Register: "user:1", Via: via, Begun: began, Ended: ended, Saw: spans}
}

func marked(r Read) Read { r.Stale = true; return r }

func TestCheck(t *testing.T) {
	bounds := Bounds{Other: 1100 * ms, Direct: 750 * ms}
	newer := []Write{wrote(1, "A", 10*ms, 20*ms), wrote(2, "A", 30*ms, 40*ms)}
	one := func(w ...Write) []Write { return w }
	tests := map[string]struct {
		initial int64
		writes  []Write
		read    Read
		excuses []Excuse
		refused bool
	}{
		"current": {writes: newer, read: saw(Exactly(2), "A", 41*ms, 42*ms)},
		"older after the acknowledgement, same gateway":    {writes: newer, read: saw(Exactly(1), "A", 41*ms, 42*ms), refused: true},
		"older, begun before the acknowledgement":          {writes: newer, read: saw(Exactly(1), "A", 39*ms, 2000*ms)},
		"older within the lease, another gateway":          {writes: newer, read: saw(Exactly(1), "B", 1139*ms, 1140*ms)},
		"older after the lease, another gateway":           {writes: newer, read: saw(Exactly(1), "B", 1141*ms, 1142*ms), refused: true},
		"older, began within the lease and returned later": {writes: newer, read: saw(Exactly(1), "B", 1139*ms, 9000*ms)},
		"of the future":                  {writes: newer, read: saw(Exactly(2), "A", 1*ms, 29*ms), refused: true},
		"not acknowledged yet":           {writes: newer, read: saw(Exactly(2), "B", 1*ms, 31*ms)},
		"never written":                  {writes: newer, read: saw(Exactly(3), "A", 41*ms, 42*ms), refused: true},
		"unknown outcome, not seen":      {writes: one(wrote(1, "A", 10*ms, 0)), read: saw(Exactly(0), "A", 5000*ms, 5001*ms)},
		"unknown outcome, seen":          {writes: one(wrote(1, "A", 10*ms, 0)), read: saw(Exactly(1), "A", 5000*ms, 5001*ms)},
		"older than the initial version": {initial: 7, read: saw(Exactly(6), "A", 1*ms, 2*ms), refused: true},
		"around the gateways, in time":   {writes: one(wrote(1, Direct, 10*ms, 20*ms)), read: saw(Exactly(0), "A", 769*ms, 770*ms)},
		"around the gateways, too late":  {writes: one(wrote(1, Direct, 10*ms, 20*ms)), read: saw(Exactly(0), "A", 771*ms, 772*ms), refused: true},
		"its writer died, in time":       {writes: one(wrote(1, Nobody, 10*ms, 20*ms)), read: saw(Exactly(0), "A", 1119*ms, 1120*ms)},
		"its writer died, too late":      {writes: one(wrote(1, Nobody, 10*ms, 20*ms)), read: saw(Exactly(0), "A", 1121*ms, 1122*ms), refused: true},
		"stored after it was evicted":    {writes: newer, read: saw(Exactly(1), Stored, 41*ms, 42*ms), refused: true},
		"stored, but to be refused":      {writes: newer, read: saw(Exactly(1), Stored, 41*ms, 42*ms), excuses: []Excuse{{Via: Stored, From: 0, To: time.Hour, Old: true}}},
		"an excuse of others":            {writes: newer, read: saw(Exactly(1), Stored, 41*ms, 42*ms), excuses: []Excuse{{Via: "A", From: 0, To: time.Hour, Old: true}}, refused: true},
		"to be refused, but served":      {writes: newer, read: saw(Exactly(1), "A", 41*ms, 42*ms), excuses: []Excuse{{From: 0, To: time.Hour, Old: true}}, refused: true},
		"marked as stale, and allowed":   {writes: newer, read: marked(saw(Exactly(1), "A", 41*ms, 42*ms)), excuses: []Excuse{{From: 0, To: 41 * ms, Stale: true}}},
		"marked as stale for no reason":  {writes: newer, read: marked(saw(Exactly(2), "A", 41*ms, 42*ms)), refused: true},
		"marked as stale too late":       {writes: newer, read: marked(saw(Exactly(1), "A", 41*ms, 42*ms)), excuses: []Excuse{{From: 0, To: 40 * ms, Stale: true}}, refused: true},
		"stale and not marked":           {writes: newer, read: saw(Exactly(1), "A", 41*ms, 42*ms), excuses: []Excuse{{From: 0, To: time.Hour, Stale: true}}, refused: true},
		"absent after it was created":    {writes: one(wrote(1, "A", 10*ms, 20*ms)), read: saw(But(1, 1), "A", 21*ms, 22*ms), refused: true},
		"absent before its creation":     {writes: one(wrote(1, "A", 10*ms, 20*ms)), read: saw(But(1, 1), "A", 1*ms, 15*ms)},
		"absent after it was deleted":    {writes: newer, read: saw(But(1, 1), "A", 41*ms, 42*ms)},
		"absent while it is deleted":     {writes: newer, read: saw(But(1, 1), "A", 25*ms, 35*ms)},
		"there after it was deleted":     {writes: newer, read: saw(Exactly(1), "A", 41*ms, 42*ms), refused: true},
		"a count without an added row":   {initial: 3, writes: one(counted(1, "A", 10*ms, 20*ms)), read: saw(Exactly(3), "A", 21*ms, 22*ms), refused: true},
		"a count with an added row":      {initial: 3, writes: one(counted(1, "A", 10*ms, 20*ms)), read: saw(Exactly(4), "A", 21*ms, 22*ms)},
		"a count with a row that is being added": {initial: 3, writes: one(counted(1, "A", 10*ms, 20*ms), counted(1, "B", 10*ms, 90*ms)),
			read: saw(Exactly(5), "A", 21*ms, 22*ms)},
		"a count above the added rows": {initial: 3, writes: one(counted(1, "A", 10*ms, 20*ms)), read: saw(Exactly(5), "A", 21*ms, 22*ms), refused: true},
		"a count with a deleted row":   {initial: 3, writes: one(counted(-1, "A", 10*ms, 20*ms)), read: saw(Exactly(3), "A", 21*ms, 22*ms), refused: true},
		"a count with a row that is being deleted": {initial: 3, writes: one(counted(-1, "A", 10*ms, 20*ms)),
			read: saw(Exactly(2), "B", 11*ms, 12*ms)},
		"a count that anyone's addition explains": {initial: 3, writes: one(counted(1, "A", 10*ms, 20*ms), counted(-1, "B", 10*ms, 0)),
			read: saw(Exactly(3), "A", 5000*ms, 5001*ms)},
		"one of several versions is allowed": {writes: newer, read: saw([]Span{{0, 0}, {2, 5}}, "A", 41*ms, 42*ms)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &History{Initial: map[string]int64{"user:1": test.initial}, Writes: test.writes, Reads: []Read{test.read}, Excuses: test.excuses}
			if got := fmt.Sprint(Check(h, bounds)); (got != "[]") != test.refused {
				t.Errorf("got the violations %s, want some: %v", got, test.refused)
			}
		})
	}
}

// A read is judged by the writes of its own register only.
func TestCheckKeepsRegistersApart(t *testing.T) {
	h := &History{
		Writes: []Write{{Register: "user:1", Version: 1, Via: "A", Sent: 1, Acked: 2}},
		Reads:  []Read{{Register: "user:2", Via: "A", Begun: 3, Ended: 4, Saw: Exactly(0)}},
	}
	if got := Check(h, Bounds{}); len(got) != 0 {
		t.Errorf("got the violations %v, want none", got)
	}
}

func TestCheckCalls(t *testing.T) {
	bounds := Bounds{Query: 150 * ms, Mutation: time.Second}
	tests := map[string]struct {
		call    Call
		excuses []Excuse
		refused bool
	}{
		"in time":                      {call: Call{Via: "A", Begun: 10 * ms, Ended: 160 * ms}},
		"too slow":                     {call: Call{Via: "A", Begun: 10 * ms, Ended: 161 * ms}, refused: true},
		"a mutation in time":           {call: Call{Via: "A", Mutation: true, Begun: 10 * ms, Ended: 161 * ms}},
		"a mutation, too slow":         {call: Call{Via: "A", Mutation: true, Begun: 10 * ms, Ended: 1011 * ms}, refused: true},
		"slow with an excuse":          {call: Call{Via: "A", Begun: 10 * ms, Ended: 999 * ms}, excuses: []Excuse{{Via: "A", From: 500 * ms, To: 600 * ms, Slow: true}}},
		"slow before the excuse":       {call: Call{Via: "A", Begun: 10 * ms, Ended: 499 * ms}, excuses: []Excuse{{Via: "A", From: 500 * ms, To: 600 * ms, Slow: true}}, refused: true},
		"slow, another one's excuse":   {call: Call{Via: "A", Begun: 10 * ms, Ended: 999 * ms}, excuses: []Excuse{{Via: "B", To: time.Hour, Slow: true}}, refused: true},
		"slow, excused for errors":     {call: Call{Via: "A", Begun: 10 * ms, Ended: 999 * ms}, excuses: []Excuse{{To: time.Hour, Errors: true}}, refused: true},
		"an error":                     {call: Call{Via: "A", Begun: 10 * ms, Ended: 11 * ms, Err: "no"}, refused: true},
		"an error with an excuse":      {call: Call{Via: "A", Begun: 10 * ms, Ended: 11 * ms, Err: "no"}, excuses: []Excuse{{To: time.Hour, Errors: true}}},
		"an error, excused to be slow": {call: Call{Via: "A", Begun: 10 * ms, Ended: 11 * ms, Err: "no"}, excuses: []Excuse{{To: time.Hour, Slow: true}}, refused: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &History{Calls: []Call{test.call}, Excuses: test.excuses}
			if got := CheckCalls(h, bounds); (len(got) > 0) != test.refused {
				t.Errorf("got %v, want some: %v", got, test.refused)
			}
		})
	}
}

func TestQueries(t *testing.T) {
	t.Parallel()
	h := &History{
		Calls: []Call{
			{Via: "A", Begun: 10 * ms, Ended: 12 * ms}, {Via: "A", Begun: 10 * ms, Ended: 90 * ms}, {Via: "B", Begun: 10 * ms, Ended: 17 * ms},
			{Via: "A", Mutation: true, Begun: 10 * ms, Ended: 15 * ms}, {Via: "B", Begun: 101 * ms, Ended: 105 * ms},
		},
		Excuses: []Excuse{{Via: "A", From: 80 * ms, To: 85 * ms, Slow: true}},
		Calm:    []Period{{100 * ms, 102 * ms}},
	}
	took, calm := h.Queries()
	if want := []time.Duration{7 * ms, 2 * ms}; !slices.Equal(took, want) {
		t.Errorf("queries took %v, want %v", took, want)
	}
	if want := []time.Duration{4 * ms}; !slices.Equal(calm, want) {
		t.Errorf("in calm periods they took %v, want %v", calm, want)
	}
}

func TestOneInAHundred(t *testing.T) {
	t.Parallel()
	ds := make([]time.Duration, 200)
	for i := range ds {
		ds[i] = time.Duration(200 - i)
	}
	if got := OneInAHundred(ds); got != 198 {
		t.Errorf("got %d for the durations 200 to 1, want 198: two are longer", got)
	}
	if got := OneInAHundred(nil); got != 0 {
		t.Errorf("got %d without durations, want 0", got)
	}
}

func TestWindows(t *testing.T) {
	t.Parallel()
	h := &History{
		Writes: []Write{wrote(1, Direct, 10*ms, 20*ms), wrote(2, "A", 90*ms, 100*ms)},
		Reads: []Read{
			saw(Exactly(0), "A", 15*ms, 16*ms), saw(Exactly(0), "A", 50*ms, 51*ms), saw(Exactly(0), "A", 60*ms, 61*ms),
			saw(Exactly(0), "B", 30*ms, 31*ms), saw(Exactly(1), "B", 130*ms, 131*ms), saw(Exactly(2), "B", 140*ms, 141*ms),
			marked(saw(Exactly(0), "B", 900*ms, 901*ms)),
		},
	}
	got := Windows(h, func(w Write, _ string) bool { return w.Via == Direct })
	if want := []time.Duration{40 * ms, 10 * ms}; !slices.Equal(got, want) {
		t.Errorf("direct writes: got %v, want %v", got, want)
	}
	got = Windows(h, func(w Write, via string) bool { return w.Via != Direct && w.Via != via })
	if want := []time.Duration{30 * ms}; !slices.Equal(got, want) {
		t.Errorf("writes through another gateway: got %v, want %v", got, want)
	}
}
