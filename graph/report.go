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

// report records what the fields of an operation read, and from where. Its methods do nothing on a nil
// report.
type report struct {
	*Debug

	mu      sync.Mutex
	entries []reportEntry
}

// reportEntry is an entry of extensions.cache: a value that a field read, or a mutation.
type reportEntry struct {
	Path       ast.Path    `json:"path"`
	Coordinate string      `json:"coordinate"`
	Key        cache.Key   `json:"key,omitempty"`
	Tier       string      `json:"tier,omitempty"`   // memory, redis or database
	Status     string      `json:"status,omitempty"` // hit, miss, stale, swr, bypass or collapsed
	Age        *int        `json:"age,omitempty"`    // seconds since it was read from the database
	TTL        *int        `json:"ttl,omitempty"`    // seconds it may still be served from there
	Loaded     int64       `json:"loaded,omitempty"` // when it was loaded, in milliseconds since 1970; the same for all values of a load
	Scope      string      `json:"scope,omitempty"`
	Tags       []cache.Tag `json:"tags,omitempty"`
	Truth      string      `json:"truth,omitempty"`    // rows, observed, tags or ttl
	Unstored   string      `json:"unstored,omitempty"` // why it was not stored everywhere

	Evicted     []cache.Key `json:"evicted,omitempty"`
	EvictedTags []cache.Tag `json:"evictedTags,omitempty"`
	// Acknowledged is "relay" or "lease", whichever allowed the response, if Redis did not execute the
	// eviction in time.
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
		age := int(max(now.Sub(r.Loaded), 0).Seconds()) // rounded down, like the Age header
		e.Age, e.Loaded = &age, r.Loaded.UnixMilli()
	}
	if !r.Ends.IsZero() {
		ttl := int(math.Ceil(max(r.Ends.Sub(now), 0).Seconds())) // rounded up, so that 0 means expired
		e.TTL = &ttl
	}
	d.add(e)
}

// unknown records a field that read the database outside of a source.
func (d *report) unknown(ctx context.Context) {
	if d == nil || graphql.GetOperationContext(ctx).Operation.Operation != ast.Query {
		return // responses to mutations are never stored
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

// entry returns a new entry for the field of ctx.
func (d *report) entry(ctx context.Context) reportEntry {
	fc := graphql.GetFieldContext(ctx)
	return reportEntry{Path: fc.Path(), Coordinate: fc.Object + "." + fc.Field.Name}
}

func (d *report) add(e reportEntry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = append(d.entries, e)
}

// show adds the entries to the response, sorted by path. There is no response if the request timed out.
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
