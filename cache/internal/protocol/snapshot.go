package protocol

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Epoch names a period in the life of a database in which transactions' numbers only rise and no commit is lost. A
// database that went back to an earlier state, after a failover or from a backup, begins another epoch, as does a copy.
// Numbers of different epochs cannot be compared. An Epoch consists of ASCII letters and digits.
//
// The zero Epoch is that of a database that does not report one. It is assumed never to change its epoch.
type Epoch string

// MixedEpoch is the epoch of values that were read in several epochs. It is never polled.
const MixedEpoch Epoch = "mixed"

// valid reports whether e can be part of the text of a snapshot, and of JSON.
func (e Epoch) valid() bool {
	for i := range len(e) {
		if c := e[i] | 0x20; (c < 'a' || c > 'z') && (e[i] < '0' || e[i] > '9') {
			return false
		}
	}
	return true
}

// Snapshot says which transactions a read of the database saw, in the terms of PostgreSQL's pg_snapshot: every
// transaction below Xmin, none from Xmax on, and in between all but those in Xip. The zero Snapshot saw none.
//
// If transactions commit one after the other and are counted, the snapshot after the nth is [SnapshotAfter](n).
type Snapshot struct {
	Epoch      Epoch // the epoch of the numbers
	Xmin, Xmax uint64
	Xip        []uint64 // in progress when the snapshot was taken, in ascending order; immutable
}

// SnapshotAfter returns the snapshot that saw every transaction up to and including xid.
func SnapshotAfter(xid uint64) Snapshot { return Snapshot{Xmin: xid + 1, Xmax: xid + 1} }

// ParseSnapshot parses the text form of pg_snapshot, xmin:xmax:xip1,xip2,…, which an epoch and a slash may precede.
func ParseSnapshot(text string) (s Snapshot, err error) {
	numbers := text
	if epoch, rest, ok := strings.Cut(text, "/"); ok {
		s.Epoch, numbers = Epoch(epoch), rest
		if epoch == "" || !s.Epoch.valid() {
			return Snapshot{}, fmt.Errorf("cache: %.60q is not a snapshot", text)
		}
	}
	xmin, rest, _ := strings.Cut(numbers, ":")
	xmax, xip, ok := strings.Cut(rest, ":")
	if !ok {
		return Snapshot{}, fmt.Errorf("cache: %.60q is not a snapshot", text)
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

// String returns the text form of pg_snapshot, without the epoch.
func (s Snapshot) String() string { return string(s.appendNumbers(make([]byte, 0, 48))) }

// Append appends the text that [ParseSnapshot] reads: the epoch, if there is one, and the numbers.
func (s Snapshot) Append(b []byte) []byte {
	if s.Epoch != "" {
		b = append(append(b, s.Epoch...), '/')
	}
	return s.appendNumbers(b)
}

func (s Snapshot) appendNumbers(b []byte) []byte {
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
	return b
}

// Then returns the snapshot of a value that was read in s and, by a later statement, in next: it is s, since next saw
// what s saw. If their epochs differ, it belongs to neither.
func (s Snapshot) Then(next Snapshot) Snapshot {
	if s.Epoch != next.Epoch {
		s.Epoch = MixedEpoch
	}
	return s
}

// IsZero reports whether the snapshot saw nothing.
func (s Snapshot) IsZero() bool { return s.Xmax == 0 }

// Sees reports whether the writes of a transaction of the same epoch were visible, if it committed.
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

// Covers reports whether s saw every transaction that o saw. If two snapshots of one epoch are taken one after the
// other, the later one covers the earlier one. Snapshots of different epochs do not cover each other.
func (s Snapshot) Covers(o Snapshot) bool {
	if s.Epoch != o.Epoch {
		return o.IsZero()
	}
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

// UpTo returns the snapshot that saw what s saw of the transactions up to and including xid. s must have seen xid.
func (s Snapshot) UpTo(xid uint64) Snapshot {
	i, _ := slices.BinarySearch(s.Xip, xid)
	return snapshotOf(s.Epoch, xid+1, s.Xip[:i])
}

// Union returns the smallest snapshot that saw what s and o saw. The epoch of o must be that of s, or zero.
func (s Snapshot) Union(o Snapshot) Snapshot {
	var underWay []uint64
	for _, x := range slices.Concat(s.Xip, o.Xip) {
		if !s.Sees(x) && !o.Sees(x) {
			underWay = append(underWay, x)
		}
	}
	slices.Sort(underWay)
	return snapshotOf(max(s.Epoch, o.Epoch), max(s.Xmax, o.Xmax), slices.Compact(underWay))
}

// snapshotOf returns the snapshot that saw everything below xmax except underWay, which is in ascending order.
func snapshotOf(epoch Epoch, xmax uint64, underWay []uint64) Snapshot {
	s := Snapshot{Epoch: epoch, Xmin: xmax, Xmax: xmax, Xip: underWay}
	if len(underWay) > 0 {
		s.Xmin = underWay[0]
	}
	return s
}
