package protocol

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// random returns a snapshot with numbers below 40.
func random(r *rand.Rand) Snapshot {
	xmax := r.Uint64N(40)
	var underWay []uint64
	for x := range xmax {
		if r.IntN(4) == 0 {
			underWay = append(underWay, x)
		}
	}
	return snapshotOf("", xmax, underWay)
}

func valid(t *testing.T, s Snapshot) {
	t.Helper()
	if parsed, err := ParseSnapshot(s.String()); err != nil || parsed.String() != s.String() {
		t.Errorf("%v is not a snapshot: %v", s, err)
	}
}

func TestUnion(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		a, b := random(r), random(r)
		u := a.Union(b)
		valid(t, u)
		if !u.Covers(a) || !u.Covers(b) {
			t.Fatalf("the union of %v and %v is %v, which does not cover both", a, b, u)
		}
		for x := range uint64(45) {
			if u.Sees(x) != (a.Sees(x) || b.Sees(x)) {
				t.Fatalf("the union of %v and %v is %v: sees %d: got %v", a, b, u, x, u.Sees(x))
			}
		}
	}
}

func TestUpTo(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		s := random(r)
		newest := r.Uint64N(40)
		if !s.Sees(newest) {
			continue
		}
		u := s.UpTo(newest)
		valid(t, u)
		if !s.Covers(u) {
			t.Fatalf("%v up to %d is %v, which it does not cover", s, newest, u)
		}
		for x := range uint64(45) {
			if u.Sees(x) != (x <= newest && s.Sees(x)) {
				t.Fatalf("%v up to %d is %v: sees %d: got %v", s, newest, u, x, u.Sees(x))
			}
		}
	}
	if s := snapshotOf("", 5, []uint64{2, 3}); s.Xmin != 2 || !slices.Equal(s.Xip, []uint64{2, 3}) {
		t.Errorf("got %v", s)
	}
}
