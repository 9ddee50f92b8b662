package gqlcache

import (
	"context"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sync"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache"
)

// fieldCall is a field that is to be resolved.
type fieldCall struct {
	*cachedField
	ctx      context.Context // whose values the resolver sees
	receiver reflect.Value
	args     map[string]any
	viewer   string
}

// fieldSource resolves fields, of whatever coordinates.
type fieldSource struct{ f *Fields }

// Load implements [cache.Source]: all resolvers run side by side, so that loaders behind them batch what
// they ask for.
func (s *fieldSource) Load(ctx context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values := make([]any, len(requests))
	if len(requests) == 1 {
		values[0] = s.resolve(ctx, requests[0])
		return values, cache.Snapshot{}, nil
	}
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() { values[i] = s.resolve(ctx, r) })
	}
	wg.Wait()
	return values, cache.Snapshot{}, nil
}

// Also implements [cache.Source].
func (*fieldSource) Also(cache.Request) []cache.Request { return nil }

// Decode implements [cache.Source].
func (*fieldSource) Decode(r cache.Request, data []byte) (any, error) {
	return r.Arg.(*fieldCall).codec.Decode(data)
}

// resolve calls a resolver and finds out how its value may be kept.
func (s *fieldSource) resolve(ctx context.Context, r cache.Request) (loaded *cache.Loaded) {
	call := r.Arg.(*fieldCall)
	loaded = &cache.Loaded{}
	defer func() {
		if p := recover(); p != nil {
			loaded = &cache.Loaded{Err: &cache.PanicError{Value: p, Stack: debug.Stack()}}
		}
	}()
	ctx, deps := s.f.o.Cache.Watch().CollectApart(cache.LoadContext(ctx, call.ctx), placeOf)
	said := new(words)
	ctx = context.WithValue(ctx, wordsKey{}, said)
	errorsBefore := len(graphql.GetErrors(call.ctx))
	v, err := call.resolver.Call(ctx, call.receiver, call.args)
	if err != nil {
		loaded.Err = err
		return loaded
	}
	box := call.codec.Box(v.Interface())
	loaded.Value = box
	made := deps.Made()
	foreign := len(made.Unknown) > 0
	if made.Unknown = nil; call.follows && made.Unkept == cache.UnknownReason {
		made.Unkept = "" // its own statements are declared
	}
	loaded.Made = &made
	var named bool
	loaded.Tags, named = call.appendHeld(said.tags, v)
	switch {
	case len(graphql.GetErrors(call.ctx)) != errorsBefore:
		loaded.Unstored = "there were errors beside it"
	case said.hinted:
		loaded.Unstored = "its resolver says itself how long it may be stored"
	case len(made.Names) > 0 && !foreign && len(said.tags) == 0:
		call.passes.Store(true)
		loaded.Unstored = "its parts are cached by themselves"
	case made.Unkept != "":
		loaded.Unstored = made.Unkept
	case !named:
		loaded.Unstored = "what it holds cannot be named"
	default:
		if err := call.codec.Survives(box); err != nil {
			loaded.Local = err.Error()
			call.tell(s.f.o.Log, "a field's values stay in this process: they do not survive JSON", loaded.Local)
		}
	}
	return loaded
}

// tell logs something of a coordinate once.
func (c *cachedField) tell(log *slog.Logger, message, why string) {
	if _, told := c.told.LoadOrStore(message, struct{}{}); !told {
		log.Warn(message, "field", c.coordinate, "because", why)
	}
}
