package cache

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Snapshot says which transactions a read of the database saw, in the terms of PostgreSQL's pg_snapshot:
// every one below Xmin, none from Xmax on, and of those between all but Xip, which is in ascending order. The
// zero Snapshot saw none.
//
// Where transactions commit one after the other and are counted, the snapshot after the nth is
// [SnapshotAfter](n).
type Snapshot struct {
	Xmin, Xmax uint64
	Xip        []uint64 // still under way when the snapshot was taken; never changed
}

// SnapshotAfter is the snapshot that saw every transaction up to and including xid.
func SnapshotAfter(xid uint64) Snapshot { return Snapshot{Xmin: xid + 1, Xmax: xid + 1} }

// ParseSnapshot reads the text form of pg_snapshot, xmin:xmax:xip1,xip2,….
func ParseSnapshot(text string) (s Snapshot, err error) {
	xmin, rest, _ := strings.Cut(text, ":")
	xmax, xip, ok := strings.Cut(rest, ":")
	if !ok {
		return s, fmt.Errorf("cache: %.60q is not a snapshot", text)
	}
	if s.Xmin, err = strconv.ParseUint(xmin, 10, 64); err == nil {
		s.Xmax, err = strconv.ParseUint(xmax, 10, 64)
	}
	if xip != "" && err == nil {
		list := strings.Split(xip, ",")
		s.Xip = make([]uint64, len(list))
		for i, x := range list {
			if s.Xip[i], err = strconv.ParseUint(x, 10, 64); err != nil {
				break
			}
		}
	}
	if err != nil || s.Xmin > s.Xmax || !slices.IsSorted(s.Xip) ||
		len(s.Xip) > 0 && (s.Xip[0] < s.Xmin || s.Xip[len(s.Xip)-1] >= s.Xmax) {
		return Snapshot{}, fmt.Errorf("cache: %.60q is not a snapshot", text)
	}
	return s, nil
}

// String is the text form of pg_snapshot.
func (s Snapshot) String() string {
	b := make([]byte, 0, 48)
	b = strconv.AppendUint(b, s.Xmin, 10)
	b = append(b, ':')
	b = strconv.AppendUint(b, s.Xmax, 10)
	b = append(b, ':')
	for i, x := range s.Xip {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, x, 10)
	}
	return string(b)
}

// IsZero reports whether the snapshot saw nothing.
func (s Snapshot) IsZero() bool { return s.Xmax == 0 }

// Sees reports whether what a transaction wrote was visible, if it committed.
func (s Snapshot) Sees(xid uint64) bool {
	if xid < s.Xmin {
		return true
	}
	if xid >= s.Xmax {
		return false
	}
	_, underWay := slices.BinarySearch(s.Xip, xid)
	return !underWay
}

// Covers reports whether s saw every transaction that o saw. Of two snapshots taken one after the other
// the later one covers the earlier.
func (s Snapshot) Covers(o Snapshot) bool {
	if s.Xmin >= o.Xmax {
		return true
	}
	if s.Xmax < o.Xmax {
		return false
	}
	for _, x := range s.Xip {
		if o.Sees(x) {
			return false
		}
	}
	return true
}

// UpTo is the snapshot that saw what s saw of the transactions up to and including xid, one that s saw.
func (s Snapshot) UpTo(xid uint64) Snapshot {
	i, _ := slices.BinarySearch(s.Xip, xid)
	return snapshotOf(xid+1, s.Xip[:i])
}

// Union is the smallest snapshot that saw what s saw and what o saw.
func (s Snapshot) Union(o Snapshot) Snapshot {
	var underWay []uint64
	for _, x := range slices.Concat(s.Xip, o.Xip) {
		if !s.Sees(x) && !o.Sees(x) {
			underWay = append(underWay, x)
		}
	}
	slices.Sort(underWay)
	return snapshotOf(max(s.Xmax, o.Xmax), slices.Compact(underWay))
}

// snapshotOf is the one that saw everything below xmax but those under way, which are in ascending order.
func snapshotOf(xmax uint64, underWay []uint64) Snapshot {
	s := Snapshot{Xmin: xmax, Xmax: xmax, Xip: underWay}
	if len(underWay) > 0 {
		s.Xmin = underWay[0]
	}
	return s
}
