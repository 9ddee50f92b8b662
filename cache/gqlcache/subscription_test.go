package gqlcache_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
)

// ticker is a schema whose subscription returns a number with each event. A batch loads the number.
type ticker struct {
	graphql.ExecutableSchema
	number atomic.Int64
	maxAge time.Duration
	events chan struct{}
}

type tickerBatch struct{}

func newTicker(maxAge time.Duration) *ticker {
	s := &ticker{maxAge: maxAge, events: make(chan struct{})}
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: `type Query { number: Int } type Subscription { number: Int }`})
	s.ExecutableSchema = &graphql.ExecutableSchemaMock{
		SchemaFunc:     func() *ast.Schema { return schema },
		ComplexityFunc: func(context.Context, string, string, int, map[string]any) (int, bool) { return 0, false },
		ExecFunc:       func(context.Context) graphql.ResponseHandler { return s.event },
	}
	return s
}

// event waits for an event and returns its response.
func (s *ticker) event(ctx context.Context) *graphql.Response {
	select {
	case <-s.events:
	case <-ctx.Done():
		return nil
	}
	oc := graphql.GetOperationContext(ctx)
	f := graphql.CollectFields(oc, oc.Operation.SelectionSet, nil)[0]
	value := graphql.ResolveField(ctx, oc, f,
		func(_ context.Context, f graphql.CollectedField) (*graphql.FieldContext, error) {
			return &graphql.FieldContext{Object: "Subscription", Field: f}, nil
		},
		func(ctx context.Context) (any, error) {
			r := cache.Request{Item: cache.Item{Key: "number:1", MaxAge: s.maxAge}, Source: s}
			results, err := ctx.Value(tickerBatch{}).(*cache.Batch).Load(ctx, []cache.Request{r})
			if err != nil {
				return nil, err
			}
			return results[0].Value, results[0].Err
		}, nil,
		func(_ context.Context, _ ast.SelectionSet, value any) graphql.Marshaler {
			return graphql.MarshalString(fmt.Sprint(value))
		}, true, false)
	return &graphql.Response{Data: marshal(value)}
}

func (s *ticker) Load(_ context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	values := make([]any, len(requests))
	for i := range values {
		values[i] = s.number.Load()
	}
	return values, cache.Snapshot{}, nil
}

func (*ticker) Also(cache.Request) []cache.Request { return nil }

func (*ticker) Decode(cache.Request, []byte) (any, error) { return nil, http.ErrNotSupported }

// eventTicker is a ticker that uses gqlgen's other way: an event has a context of its own, and is
// resolved before any interceptor of its response is called.
type eventTicker struct{ *ticker }

func (s eventTicker) ExecWithEventContext(context.Context) graphql.ResponseHandlerWithContext {
	return func(ctx context.Context) (context.Context, *graphql.Response) { return ctx, s.event(ctx) }
}

// subscribers begin a subscription over one of gqlgen's transports. They return a function that
// reads the next event.
var subscribers = map[string]func(t *testing.T, url string) func() string{
	"graphql-transport-ws": func(t *testing.T, url string) func() string {
		c, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}}) //nolint:bodyclose // it has none
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.CloseNow() })
		send := func(message string) {
			if err := c.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
				t.Fatal(err)
			}
		}
		next := func() string {
			var m struct {
				Type    string
				Payload json.RawMessage
			}
			for m.Type != "connection_ack" && m.Type != "next" {
				if err := wsjson.Read(t.Context(), c, &m); err != nil {
					t.Fatal(err)
				}
			}
			return string(m.Payload)
		}
		send(`{"type": "connection_init"}`)
		next()
		send(`{"type": "subscribe", "id": "1", "payload": {"query": "subscription { number }"}}`)
		return next
	},
	"text/event-stream": func(t *testing.T, url string) func() string {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"query": "subscription { number }"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "text/event-stream")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		lines := bufio.NewScanner(response.Body)
		return func() string {
			for lines.Scan() {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
					return data
				}
			}
			t.Fatal(lines.Err())
			return ""
		}
	},
}

// Each event of a subscription has the current value, no matter where the batch was created and
// whether the value is cached.
func TestFault24EachEventIsLoadedAnew(t *testing.T) {
	t.Parallel()
	for transportName, subscribe := range subscribers {
		for _, batchOf := range []string{"operation", "response", "operation, event context"} {
			for _, maxAge := range []time.Duration{0, time.Hour} {
				t.Run(fmt.Sprintf("%s, batch of an %s, max age %v", transportName, batchOf, maxAge), func(t *testing.T) {
					t.Parallel()
					s := newTicker(maxAge)
					memory, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
					if err != nil {
						t.Fatal(err)
					}
					c, err := cache.New(cache.Options{Memory: memory})
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = c.Close() })
					attach := func(ctx context.Context) context.Context {
						return context.WithValue(ctx, tickerBatch{}, c.NewBatch())
					}
					var es graphql.ExecutableSchema = s
					if batchOf == "operation, event context" {
						es = eventTicker{s}
					}
					srv := handler.New(es)
					srv.AddTransport(transport.Websocket{})
					srv.AddTransport(transport.SSE{})
					srv.Use(&gqlcache.FieldCount{Of: func(ctx context.Context) gqlcache.Counter { return ctx.Value(tickerBatch{}).(*cache.Batch) }})
					if batchOf == "response" {
						srv.AroundResponses(func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response { return next(attach(ctx)) })
					}
					srv.AroundOperations(func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
						return next(attach(ctx))
					})
					site := httptest.NewServer(srv)
					t.Cleanup(site.Close)
					next := subscribe(t, site.URL)
					for n := range int64(3) {
						s.number.Store(n)
						if n > 0 && maxAge > 0 {
							if _, err := c.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"number:1"}}}); err != nil {
								t.Fatal(err)
							}
						}
						s.events <- struct{}{}
						if got, want := next(), fmt.Sprintf(`{"data":"%d"}`, n); got != want {
							t.Errorf("got %s, want %s", got, want)
						}
					}
				})
			}
		}
	}
}
