package graph

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

// DebugHeader is the request header that requests a report in extensions.cache, with the value 1.
const DebugHeader = "Cache-Debug"

// report notes what the fields of an operation read from where. Its methods do nothing on nil.
type report struct {
	*Debug

	mu      sync.Mutex
	entries []reportEntry
}

// reportEntry is what extensions.cache holds of one thing that a field read, or of one mutation.
type reportEntry struct {
	Path       ast.Path    `json:"path"`
	Coordinate string      `json:"coordinate"`
	Key        cache.Key   `json:"key,omitempty"`
	Tier       string      `json:"tier,omitempty"`   // memory, redis or database
	Status     string      `json:"status,omitempty"` // hit, miss, stale, swr, bypass or collapsed
	Age        *int        `json:"age,omitempty"`    // seconds since it was read from the database
	TTL        *int        `json:"ttl,omitempty"`    // seconds it may still be served from there
	Loaded     int64       `json:"loaded,omitempty"` // when, in milliseconds since 1970: the same for all that one load brought
	Scope      string      `json:"scope,omitempty"`
	Tags       []cache.Tag `json:"tags,omitempty"`
	Truth      string      `json:"truth,omitempty"`    // rows, observed, tags or ttl
	Unstored   string      `json:"unstored,omitempty"` // why it was not stored everywhere

	Evicted     []cache.Key `json:"evicted,omitempty"`
	EvictedTags []cache.Tag `json:"evictedTags,omitempty"`
	// Acknowledged is "relay" or "lease" where Redis did not execute the eviction in time: what allowed the answer.
	Acknowledged string `json:"acknowledged,omitempty"`
}

type reportKey struct{}

func reportFrom(ctx context.Context) *report {
	d, _ := ctx.Value(reportKey{}).(*report)
	return d
}

func (d *report) observer() cache.Observer {
	if d == nil {
		return nil
	}
	return d.read
}

func (d *report) read(ctx context.Context, item cache.Item, r cache.Result) {
	e := d.entry(ctx)
	e.Key, e.Tags, e.Unstored = item.Key, item.Tags, r.Unstored
	e.Scope = d.Policy(e.Coordinate).Scope.String()
	if item.Meter != nil && d.Truth != nil {
		e.Truth = d.Truth(item.Meter.Coordinate)
	}
	switch {
	case r.Tier == cache.MemoryTier:
		e.Tier, e.Status = "memory", "hit"
	case r.Tier == cache.SharedTier:
		e.Tier, e.Status = "redis", "hit"
	case r.Shadow:
		e.Tier, e.Status, e.Unstored = "database", "bypass", "it is in shadow mode"
	case item.MaxAge <= 0:
		e.Tier, e.Status = "database", "bypass"
	default:
		e.Tier, e.Status = "database", "miss"
	}
	switch {
	case r.Stale:
		e.Status = "stale"
	case r.Revalidating:
		e.Status = "swr"
	case r.Joined && e.Status == "miss":
		e.Status = "collapsed"
	}
	now := time.Now()
	if !r.Loaded.IsZero() {
		age := int(max(now.Sub(r.Loaded), 0).Seconds()) // rounded down, as the header of that name
		e.Age, e.Loaded = &age, r.Loaded.UnixMilli()
	}
	if !r.Ends.IsZero() {
		ttl := int(math.Ceil(max(r.Ends.Sub(now), 0).Seconds())) // rounded up: what has a moment left does not show 0
		e.TTL = &ttl
	}
	d.add(e)
}

// unknown notes where something was read that no source knows.
func (d *report) unknown(ctx context.Context) {
	if d == nil || graphql.GetOperationContext(ctx).Operation.Operation != ast.Query {
		return // what a mutation answers is kept in no case
	}
	for _, place := range cache.CollectorOf(ctx).Unknown() {
		e := reportEntry{Path: ast.Path{}, Tier: "database", Status: "bypass", Coordinate: place.String(), Unstored: cache.UnknownReason}
		if at, ok := place.(interface{ Path() ast.Path }); ok {
			e.Path = at.Path()
		}
		d.add(e)
	}
}

func (d *report) evicted(ctx context.Context, ev cache.Eviction, acknowledged string) {
	if d == nil {
		return
	}
	e := d.entry(ctx)
	e.Evicted, e.EvictedTags, e.Acknowledged = ev.Keys, ev.Tags, acknowledged
	d.add(e)
}

// entry begins an entry for the field of ctx.
func (d *report) entry(ctx context.Context) reportEntry {
	fc := graphql.GetFieldContext(ctx)
	return reportEntry{Path: fc.Path(), Coordinate: fc.Object + "." + fc.Field.Name}
}

func (d *report) add(e reportEntry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, e)
}

// show puts the entries into the response, in the order of their paths. There is none where the time was up.
func (d *report) show(r *graphql.Response, how *decision) {
	if d == nil || r == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.SortStableFunc(d.entries, func(a, b reportEntry) int {
		return cmp.Or(cmp.Compare(a.Path.String(), b.Path.String()), cmp.Compare(a.Key, b.Key))
	})
	if r.Extensions == nil {
		r.Extensions = map[string]any{}
	}
	r.Extensions["cache"] = d.entries
	if how != nil {
		r.Extensions["cachePolicy"] = how
	}
}
