package cache

import (
	"encoding/json"
	"fmt"
	"time"
)

// absentMaxAge is the maximum time for which the absence of a row is cached.
const absentMaxAge = 10 * time.Second

// maxAbsent limits how many absent rows a gateway puts into the shared tier in absentMaxAge, so
// that requests for ids that do not exist do not fill it.
const maxAbsent = 10_000

// jitter is the largest part of an entry's age that is subtracted at random, so that entries stored
// at about the same time, after a start for example, do not all expire together. Entries of one
// load do expire together, and one call loads them again.
const jitter = 0.1

// newEntry returns the entry of a value that was read at loaded and may be cached for maxAge, minus
// the part early.
func newEntry(value any, shape string, loaded time.Time, maxAge time.Duration, early float64, seen Snapshot, stamp *Stamp) (*Entry, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("cache: a value is no JSON: %w", err)
	}
	loaded = loaded.UTC().Truncate(time.Millisecond) // precise enough for a person who inspects it
	e := &Entry{Data: data, Shape: shape, Value: value, Loaded: loaded, Seen: seen, Stamp: stamp}
	if e.Absent() {
		maxAge = min(maxAge, absentMaxAge)
	}
	e.Ends = loaded.Add(maxAge - time.Duration(early*float64(maxAge))).Truncate(time.Millisecond)
	return e, nil
}

// clockSkew is the largest difference between the clocks of two gateways, and rounding the amount
// by which an entry may end later than its age says: its times are stored in milliseconds.
const (
	clockSkew = time.Second
	rounding  = 100 * time.Millisecond
)

// Current reports whether an entry that a tier holds for the item may be served at a given time: it
// was loaded in the past, it expired no longer than the Keep of the item ago, and it does not live
// longer than the item may, whichever release stored it.
func (e *Entry) Current(item Item, now time.Time) bool {
	return now.Before(e.Ends.Add(item.Keep())) && !e.Loaded.After(now.Add(clockSkew)) && !e.Ends.After(e.Loaded.Add(item.MaxAge+rounding))
}

// WithClock returns t with the monotonic clock of now, for [Left].
func WithClock(t, now time.Time) time.Time { return now.Add(t.Sub(now)) }

// Left returns the time from now until end, or a negative one after it: by the monotonic clock, or
// by the wall clock if that leaves less. The former is right if the clock was set back in between,
// the latter if the machine was suspended.
func Left(now, end time.Time) time.Duration {
	return min(end.Sub(now), time.Duration(end.UnixNano()-now.UnixNano()))
}

// revalidates reports whether an expired entry is served for the item while it is loaded again.
func (e *Entry) revalidates(item *Item, now time.Time) bool {
	return item.StaleWhileRevalidate > 0 && Left(now, e.Ends.Add(item.StaleWhileRevalidate)) > 0 && !e.Absent()
}

// localEntry returns the entry of a value that has no JSON. It must not leave this process.
func localEntry(value any, loaded time.Time, maxAge time.Duration, early float64, seen Snapshot, stamp *Stamp) *Entry {
	loaded = loaded.UTC().Truncate(time.Millisecond)
	return &Entry{
		Value: value, Loaded: loaded, Seen: seen, Stamp: stamp,
		Ends: loaded.Add(maxAge - time.Duration(early*float64(maxAge))).Truncate(time.Millisecond),
	}
}

// inMemory returns e as memory may store it: without an outbox, and with other processes that
// write, for no longer than a lease.
func (c *Cache) inMemory(e *Entry) *Entry {
	if c.shared == nil || c.follower.outbox != nil {
		return e
	}
	end := time.Now().Add(c.lease)
	if e.Ends.Add(e.Keep).Before(end) {
		return e
	}
	short := *e
	short.Ends = earlier(e.Ends, end)
	short.Keep = min(e.Keep, end.Sub(short.Ends))
	return &short
}
