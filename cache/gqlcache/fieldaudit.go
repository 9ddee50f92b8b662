package gqlcache

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"fieldcache/cache"
)

var _ cache.Auditor = (*fieldSource)(nil)

// Anonymous implements [cache.Auditor]: a public field is read again for an anonymous viewer. If
// requests have variants, it is not: the context of an anonymous viewer lacks what the variant is made of.
func (s *fieldSource) Anonymous(r cache.Request) (cache.Request, bool) {
	original := r.Arg.(*fieldCall)
	if original.private || s.f.o.Variant != nil {
		return r, false
	}
	call := &fieldCall{cachedField: original.cachedField, ctx: original.ctx, run: original.run, receiver: original.receiver, args: original.args, selection: original.selection}
	if anonymous := s.f.o.Nobody; anonymous != nil {
		call.ctx = anonymous(call.ctx)
	} else {
		call.ctx = bareContext{call.ctx}
	}
	r.Arg = call
	return r, true
}

// Found implements [cache.Auditor]: it bars the coordinate, which no process caches any more, and evicts all its
// values.
func (s *fieldSource) Found(r cache.Request, fault cache.Fault) {
	call := r.Arg.(*fieldCall)
	if call.barred.Swap(true) {
		return
	}
	s.f.o.Log.Error("a field is no longer cached: an audit found a wrong value. Fix the cause, then evict the coordinate to cache it again",
		"coordinate", call.coordinate, "fault", string(fault))
	if bars := s.f.o.Cache.Bars(); bars != nil {
		ctx, cancel := context.WithTimeout(context.Background(), barsIn) // the eviction does not wait for longer
		defer cancel()
		if err := bars.Bar(ctx, call.coordinate); err != nil {
			s.f.o.Log.Error("processes that start later will cache a barred field", "coordinate", call.coordinate, "error", err)
		}
	}
	if _, err := s.f.o.Cache.EvictByHand(context.Background(), cache.Eviction{Tags: []cache.Tag{call.tag, call.tag + barSuffix}}); err != nil {
		s.f.o.Log.Error("the values of a barred field were not evicted everywhere", "coordinate", call.coordinate, "error", err)
	}
}

// barsIn limits how long the outbox may take to record a bar, or to read all.
const barsIn = 10 * time.Second

// barSuffix is added to the tag of a coordinate if an eviction also bars it. Nothing is stored under such a tag.
const barSuffix = ":barred"

// evictedByOthers bars the coordinates that another process barred, and lifts the bar if an operator evicted the
// coordinate there.
func (f *Fields) evictedByOthers(ev cache.Eviction) {
	for _, tag := range ev.Tags {
		name, ok := strings.CutPrefix(string(tag), "{")
		if !ok {
			continue
		}
		if name, bars := strings.CutSuffix(name, "}"+barSuffix); bars {
			if c := f.of(name); c != nil && !c.barred.Swap(true) {
				f.o.Log.Error("a field is no longer cached: an audit of another process found a wrong value. Fix the cause, then evict the coordinate to cache it again",
					"coordinate", name)
			}
		} else if c := f.of(strings.TrimSuffix(name, "}")); c != nil && c.barred.Load() && !slices.Contains(ev.Tags, tag+barSuffix) {
			f.trust(c.coordinate)
		}
	}
}

// readBars bars the coordinates in which audits of other processes, which may have ended since, found a fault.
func (f *Fields) readBars() error {
	bars := f.o.Cache.Bars()
	if bars == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), barsIn)
	defer cancel()
	list, err := bars.Barred(ctx)
	if err != nil {
		return fmt.Errorf("find out which fields must not be cached: %w", err)
	}
	for _, coordinate := range list {
		if c := f.of(coordinate); c != nil && !c.barred.Swap(true) {
			f.o.Log.Error("a field is not cached: an audit found a wrong value before this process began. Fix the cause, then evict the coordinate to cache it again",
				"coordinate", coordinate)
		}
	}
	return nil
}

// bareContext is a context with only the values of gqlgen and of the cache, and so without a
// viewer.
type bareContext struct{ context.Context }

var ours = strings.TrimSuffix(reflect.TypeFor[Fields]().PkgPath(), "/gqlcache")

// Value implements [context.Context].
func (c bareContext) Value(key any) any {
	pkg := ""
	if t := reflect.TypeOf(key); t != nil {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		pkg = t.PkgPath()
	}
	if strings.HasPrefix(pkg, "github.com/99designs/gqlgen/graphql") || pkg == ours || strings.HasPrefix(pkg, ours+"/") || pkg == "context" {
		return c.Context.Value(key)
	}
	return nil
}
