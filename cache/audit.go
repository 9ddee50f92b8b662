package cache

import (
	"context"
	"math/rand/v2"
	"time"
)

// auditPause is the shortest time between two audits: the load on the database must not grow with
// the number of hits.
const auditPause = time.Second

// Fault is what an audit found wrong with a value.
type Fault string

// The faults.
const (
	// Outdated is a value that differs from the source although no known write explains it: a dependency was forgotten.
	Outdated Fault = "outdated"
	// Leaked is a value that depends on the viewer, although the viewer is not a part of its key.
	Leaked Fault = "leaked"
)

// Auditor is a [Source] that can read a value for another viewer. Its values are also audited when
// they are loaded.
type Auditor interface {
	Source
	// Anonymous returns the request that an anonymous viewer would make instead of r, and false if the viewer is part
	// of the request.
	Anonymous(r Request) (Request, bool)
	// Found is called with each fault.
	Found(r Request, fault Fault)
}

// loaded audits one in auditEvery values that were just loaded: another viewer may read them next.
func (c *Cache) loaded(ctx context.Context, r *Request, found *Result) {
	if c.auditEvery <= 0 || found.Tier != SourceTier || found.Stamp == nil || found.Err != nil {
		return
	}
	if _, ok := r.Source.(Auditor); ok && rand.IntN(c.auditEvery) == 0 && c.audits.Allow() {
		c.audit(ctx, r, found)
	}
}

// audit reads an item again, for the same viewer and for an anonymous one. It counts a fault if the
// values differ and no write explains the difference, even after a pause. Only one audit runs at a
// time.
func (c *Cache) audit(ctx context.Context, r *Request, found *Result) {
	select {
	case c.auditor <- struct{}{}:
	default:
		return
	}
	g := c.flights.beginAlone(ctx)
	go func(r Request, found Result) {
		defer func() { <-c.auditor }()
		defer c.flights.end(g)
		stamp := Join(c.Generations().Stamp(r.Item), c.Generations().stampTags(found.Tags))
		if found.Stamp != nil { // the value may have been evicted since it was found
			stamp = Join(stamp, found.Stamp)
		}
		explained := func() bool {
			return !c.Generations().Holds(stamp) || c.softened(&r.Item, &Entry{Loaded: found.Loaded, Tags: found.Tags})
		}
		ctx, cancel := context.WithTimeout(g.ctx, 5*c.lease)
		defer cancel()
		fault := c.look(ctx, r, &found)
		if fault == "" {
			return
		}
		pause(ctx, 2*c.lease) // a write may not be known here yet
		if explained() || ctx.Err() != nil {
			return
		}
		if fault == Leaked { // a write between the two reads is not a leak
			if fault = c.look(ctx, r, &found); fault == "" || explained() {
				return
			}
		}
		c.reportFault(r, found, fault)
	}(*r, *found)
}

// look compares a value with the source. It returns "" if they are equal, or if a write explains the
// difference: the request may hold rows from before it.
func (c *Cache) look(ctx context.Context, r Request, found *Result) Fault {
	now, ok := c.readAgain(ctx, r)
	if !ok || now.Since != nil && !c.Generations().quiet(now.Since.generations, r.Key, nil, r.Tags, found.Tags, now.Tags) {
		return ""
	}
	c.stats.Audits.Add(1)
	if a, is := r.Source.(Auditor); is {
		if anonymous, apart := a.Anonymous(r); apart {
			if other, ok := c.readAgain(ctx, anonymous); ok && differ(now.Value, other.Value) {
				return Leaked
			}
		}
	}
	if differ(now.Value, found.Value) {
		return Outdated
	}
	return ""
}

// readAgain reads from the source, not from a tier. It reports false if the value cannot be compared: there was an error,
// or a standby was read.
func (c *Cache) readAgain(ctx context.Context, r Request) (read Loaded, ok bool) {
	inside, l, collector := c.enter(ctx, 0, false)
	defer l.end()
	values, _, err := callSource(inside, r.Source, []Request{r})
	if err != nil {
		return read, false
	}
	if own, is := values[0].(*Loaded); is {
		return *own, own.Err == nil && (own.Deps == nil || !own.Deps.Standby)
	}
	return Loaded{Value: values[0]}, !collector.Deps().Standby
}

func (c *Cache) reportFault(r Request, found Result, fault Fault) {
	count, message := &c.stats.AuditsStale, "a cached value differs from the source, and no write explains it"
	if fault == Leaked {
		count, message = &c.stats.AuditsLeaks, "a value that is cached as public depends on the viewer"
	}
	count.Add(1)
	c.log.Error(message, "key", string(r.Key), "coordinate", r.Meter.name(), "loaded", found.Loaded)
	if a, ok := r.Source.(Auditor); ok {
		a.Found(r, fault)
	}
}
