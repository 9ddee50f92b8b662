package cache_test

import (
	"math/rand/v2"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/internal/protocol"
)

func FuzzParseSnapshot(f *testing.F) {
	for _, text := range []string{"0:0:", "5:5:", "3:9:3,7", "100:104:100,102", "1:2", "2:1:", "3:9:9", "3:9:7,3", "3:9:x", "-1:2:", "3:9:3,", "18446744073709551615:18446744073709551615:"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := cache.ParseSnapshot(text)
		if err != nil {
			if !s.IsZero() {
				t.Errorf("%q returns both an error and %v", text, s)
			}
			return
		}
		again, err := cache.ParseSnapshot(s.String())
		if err != nil || again.String() != s.String() {
			t.Errorf("%q parses as %v, whose text parses as %v, error %v", text, s, again, err)
		}
		if !s.Covers(s) {
			t.Errorf("%v does not cover itself", s)
		}
		if s.Xmin > 0 && !s.Sees(s.Xmin-1) || s.Sees(s.Xmax) {
			t.Errorf("%v does not see a transaction below it, or sees one above it", s)
		}
		for _, x := range s.Xip {
			if s.Sees(x) {
				t.Errorf("%v sees %d, which was in progress", s, x)
			}
		}
	})
}

func TestParseSnapshotRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "1", "1:2", "2:1:", "3:9:9", "3:9:2", "3:9:7,3", "3:9:x", "x:9:", "3:x:", "-1:2:", "3:9:3,", "1:2::", "99999999999999999999:1:"} {
		if s, err := cache.ParseSnapshot(text); err == nil {
			t.Errorf("%q parses as %v, want an error", text, s)
		}
	}
}

// timeline returns the snapshots of a database in which transactions begin and end at random, in
// the order in which they were taken. ended has the transactions that had ended by each.
func timeline(seed uint64) (all []cache.Snapshot, ended []map[uint64]bool, newest uint64) {
	d := newDatabase(seed)
	d.next, d.newest = 1, 0
	done := map[uint64]bool{}
	for range 60 {
		switch d.random.IntN(3) {
		case 0:
			d.begin()
		case 1:
			for x := range d.underWay {
				d.rollback(x)
				done[x] = true
				break
			}
		default:
			copied := map[uint64]bool{}
			for x := range done {
				copied[x] = true
			}
			all, ended = append(all, d.snapshot()), append(ended, copied)
		}
	}
	return all, ended, d.next
}

func TestSnapshotsOfATimeline(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		all, ended, newest := timeline(seed)
		for i, s := range all {
			for x := uint64(1); x < newest; x++ {
				if s.Sees(x) != ended[i][x] {
					t.Fatalf("seed %d: %v sees %d: got %v, want %v", seed, s, x, s.Sees(x), ended[i][x])
				}
			}
			for j, o := range all {
				if j <= i && !s.Covers(o) {
					t.Fatalf("seed %d: %v does not cover the earlier %v", seed, s, o)
				}
				if s.Covers(o) && len(ended[j]) > len(ended[i]) {
					t.Fatalf("seed %d: %v covers %v, which saw more", seed, s, o)
				}
			}
		}
	}
}

// anySnapshot returns a snapshot that may not occur on any timeline.
func anySnapshot(random *rand.Rand) cache.Snapshot {
	s := cache.Snapshot{Xmin: random.Uint64N(12)}
	s.Xmax = s.Xmin + random.Uint64N(6)
	for x := s.Xmin; x < s.Xmax; x++ {
		if random.IntN(2) == 0 {
			s.Xip = append(s.Xip, x)
		}
	}
	return s
}

// Covers is a partial order that is consistent with Sees.
func TestCovers(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // not a secret
	covered := 0
	for range 200_000 {
		a, b, c := anySnapshot(random), anySnapshot(random), anySnapshot(random)
		if !a.Covers(a) || !a.Covers(cache.Snapshot{}) {
			t.Fatalf("%v does not cover itself or the zero snapshot", a)
		}
		if a.Covers(b) && b.Covers(c) && !a.Covers(c) {
			t.Fatalf("%v covers %v, which covers %v, but the first does not cover the third", a, b, c)
		}
		all := true
		for x := range uint64(20) {
			all = all && (!b.Sees(x) || a.Sees(x))
			if a.Covers(b) && b.Sees(x) && !a.Sees(x) {
				t.Fatalf("%v covers %v but does not see %d", a, b, x)
			}
		}
		// The reverse holds too, unless b only has a greater Xmax, for transactions that it did not
		// see.
		if all && a.Xmax >= b.Xmax && !a.Covers(b) {
			t.Fatalf("%v sees every transaction of %v but does not cover it", a, b)
		}
		if a.Covers(b) {
			covered++
		}
	}
	if covered < 10_000 {
		t.Errorf("got %d pairs that cover one another, want at least 10000", covered)
	}
}

// A floor never admits a snapshot that lacks one of the writes. It admits every snapshot that was
// taken now, after the last poll, and saw them all.
func TestFloors(t *testing.T) {
	t.Parallel()
	folded := 0
	for seed := range uint64(300) {
		d := newDatabase(seed)
		d.next, d.newest = 1, 0
		var floor protocol.Floor
		var polled *cache.Snapshot
		var raised []uint64
		var all []cache.Snapshot
		for range 150 {
			switch d.random.IntN(5) {
			case 0, 1:
				d.begin()
			case 2: // commits; this gateway learns of it immediately or later
				for x := range d.underWay {
					d.commit(x, write{})
					raised = append(raised, x)
					floor = floor.Raise(x, polled)
					break
				}
			case 3:
				s := d.snapshot()
				polled = &s
			default:
				all = append(all, d.snapshot())
			}
			if floor.Base != nil {
				folded++
			}
			for _, s := range all {
				saw := true
				for _, x := range raised {
					saw = saw && s.Sees(x)
				}
				if floor.Admits(s) && !saw {
					t.Fatalf("seed %d: %v admits %v, which did not see all of %v", seed, floor, s, raised)
				}
			}
			if now := d.snapshot(); !floor.Admits(now) {
				t.Fatalf("seed %d: %v does not admit the current snapshot %v", seed, floor, now)
			}
		}
	}
	if folded == 0 {
		t.Error("no floor got a base")
	}
}

// A floor stays small, however often its name is written, once polls have seen that the writes
// ended.
func TestAFloorStaysSmall(t *testing.T) {
	t.Parallel()
	var floor protocol.Floor
	for x := uint64(1); x < 10_000; x++ {
		polled := cache.SnapshotAfter(x - 1)
		if floor = floor.Raise(x, &polled); len(floor.Xids) > 8 {
			t.Fatalf("after %d writes the floor lists %d", x, len(floor.Xids))
		}
	}
}

func TestTheZeroFloorAdmitsAll(t *testing.T) {
	t.Parallel()
	if !(protocol.Floor{}).Admits(cache.Snapshot{}) {
		t.Error("the zero floor does not admit the zero snapshot")
	}
	if v := protocol.Judge(cache.Snapshot{}, protocol.Known{Trusted: true}); v != protocol.Serve {
		t.Errorf("got verdict %d, want Serve", v)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	saw := cache.SnapshotAfter(7)
	for name, c := range map[string]struct {
		known protocol.Known
		want  protocol.Verdict
	}{
		"before the first poll nothing is trusted": {protocol.Known{}, protocol.Untrusted},
		"a write that it saw":                      {protocol.Known{Trusted: true, Floors: []protocol.Floor{{Xids: []uint64{7}}}}, protocol.Serve},
		"a write that it did not see":              {protocol.Known{Trusted: true, Floors: []protocol.Floor{{Xids: []uint64{3}}, {Xids: []uint64{7, 8}}}}, protocol.BelowFloor},
		"a horizon that it covers":                 {protocol.Known{Trusted: true, Horizon: saw}, protocol.Serve},
		"a horizon beyond it":                      {protocol.Known{Trusted: true, Horizon: cache.SnapshotAfter(8)}, protocol.PastHorizon},
	} {
		if got := protocol.Judge(saw, c.known); got != c.want {
			t.Errorf("%s: got verdict %d, want %d", name, got, c.want)
		}
	}
}
