package gqlcache

import (
	"context"
	"reflect"
	"strings"

	"fieldcache/cache"
)

var _ cache.Auditor = (*fieldSource)(nil)

// Anonymous implements [cache.Auditor]: a public field is read again as nobody would read it.
func (s *fieldSource) Anonymous(r cache.Request) (cache.Request, bool) {
	call := *r.Arg.(*fieldCall)
	if call.private {
		return r, false
	}
	if nobody := s.f.o.Nobody; nobody != nil {
		call.ctx = nobody(call.ctx)
	} else {
		call.ctx = bareContext{call.ctx}
	}
	r.Arg = &call
	return r, true
}

// Found implements [cache.Auditor]: the coordinate is not cached any more, and what is cached of it is evicted.
func (s *fieldSource) Found(r cache.Request, fault cache.Fault) {
	call := r.Arg.(*fieldCall)
	if call.barred.Swap(true) {
		return
	}
	s.f.o.Log.Error("a field is not cached any more: what was cached of it was wrong. Once that is mended, evict the coordinate to have it cached again",
		"field", call.coordinate, "fault", string(fault))
	if _, err := s.f.o.Cache.EvictByHand(context.Background(), cache.Eviction{Tags: []cache.Tag{call.tag}}); err != nil {
		s.f.o.Log.Error("what was cached of it was not evicted everywhere", "field", call.coordinate, "error", err)
	}
}

// bareContext is a context of which only the values of gqlgen and of the cache are left: who asks is not among them.
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
