package gqlcache_test

import (
	"context"
	"errors"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/tracker"
)

// panicking resolves a mutation whose resolver panics at its end if it says so.
type panicking struct {
	*tracker.Resolver
	resolver bool
}

type panickingMutation struct {
	tracker.MutationResolver
	panics bool
}

func (p panicking) Mutation() tracker.MutationResolver { return panickingMutation{panics: p.resolver} }

func (p panickingMutation) Redraw(context.Context) (bool, error) {
	if p.panics {
		panic("after the write")
	}
	return true, nil
}

// panicsAfterwards is an extension that panics after a mutation was executed.
type panicsAfterwards struct{}

func (panicsAfterwards) ExtensionName() string { return "panics" }

func (panicsAfterwards) Validate(graphql.ExecutableSchema) error { return nil }

func (panicsAfterwards) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	r := next(ctx)
	if graphql.GetOperationContext(ctx).Operation.Operation == "mutation" {
		panic("after the mutation")
	}
	return r
}

// A mutation that panics may have written before. It evicts what its directive names.
func TestMutationsThatPanicEvict(t *testing.T) {
	t.Parallel()
	for name, resolver := range map[string]bool{"in its resolver": true, "in an extension": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fc, srv := exampleServer(panicking{resolver: resolver})
			defer func() { _ = fc.Close() }()
			if !resolver {
				srv.Use(panicsAfterwards{})
			}
			srv.SetRecoverFunc(func(context.Context, any) error { return errors.New("panicked") }) // without a stack in the log
			h := fc.Handler(srv)
			loads := func() uint64 {
				before := gqlcache.CacheOf(fc).Stats().Loads.Load()
				exampleAsk(h, `{grid(size:3)}`)
				return gqlcache.CacheOf(fc).Stats().Loads.Load() - before
			}
			loads()
			if n := loads(); n != 0 {
				t.Fatalf("got %d loads of a cached value", n)
			}
			exampleAsk(h, `mutation{redraw}`)
			if n := loads(); n != 1 {
				t.Errorf("got %d loads after the mutation, want 1", n)
			}
		})
	}
}
