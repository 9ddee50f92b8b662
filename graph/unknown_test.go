package graph_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/cache"
	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/db/fixtures"
	"fieldcache/graph"
)

// readProduct reads a product's name without a loader.
type readProduct func(ctx context.Context, k *rootShop) (string, error)

const productName = "SELECT name FROM products WHERE id = 7"

// ways are the ways by which a resolver can read the database. The cache must notice each of them.
var ways = map[string]readProduct{
	"by bun": func(ctx context.Context, k *rootShop) (name string, err error) {
		err = k.db.Bun().NewRaw(productName).Scan(ctx, &name)
		return name, err
	},
	"by the package of statements": func(ctx context.Context, k *rootShop) (string, error) {
		found, _, err := k.db.ProductsByID(ctx, []int64{7}, db.ProductColumns{Product: true})
		if err != nil {
			return "", err
		}
		return found[7].Name, nil
	},
	"by database/sql": func(ctx context.Context, k *rootShop) (name string, err error) {
		err = k.db.Bun().DB.QueryRowContext(ctx, productName).Scan(&name)
		return name, err
	},
	"in a transaction": func(ctx context.Context, k *rootShop) (name string, err error) {
		tx, err := k.db.Bun().DB.BeginTx(ctx, &sql.TxOptions{})
		if err != nil {
			return "", err
		}
		defer func() { _ = tx.Rollback() }()
		err = tx.QueryRowContext(ctx, productName).Scan(&name)
		return name, err
	},
	"by a connection": func(ctx context.Context, k *rootShop) (name string, err error) {
		c, err := k.db.Bun().DB.Conn(ctx)
		if err != nil {
			return "", err
		}
		defer c.Close()
		err = c.QueryRowContext(ctx, productName).Scan(&name)
		return name, err
	},
	"prepared": func(ctx context.Context, k *rootShop) (name string, err error) {
		s, err := k.db.Bun().DB.PrepareContext(ctx, productName)
		if err != nil {
			return "", err
		}
		defer s.Close()
		err = s.QueryRowContext(ctx).Scan(&name)
		return name, err
	},
	"on a goroutine": func(ctx context.Context, k *rootShop) (name string, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			err = k.db.Bun().NewRaw(productName).Scan(context.WithoutCancel(ctx), &name)
		}()
		<-done
		return name, err
	},
	"with a context of its own": func(_ context.Context, k *rootShop) (name string, err error) {
		err = k.db.Bun().NewRaw(productName).Scan(context.Background(), &name)
		return name, err
	},
	"without a context": func(_ context.Context, k *rootShop) (name string, err error) {
		err = k.db.Bun().DB.QueryRow(productName).Scan(&name) //nolint:noctx // a resolver may do that
		return name, err
	},
}

// readBy resolves a user's bio to a product's name that is read in one of the ways.
func readBy(k **rootShop, read readProduct) graphql.FieldMiddleware {
	return func(ctx context.Context, next graphql.Resolver) (any, error) {
		if f := graphql.GetFieldContext(ctx); f.Object == "User" && f.Field.Name == "bio" {
			name, err := read(ctx, *k)
			return &name, err
		}
		return next(ctx)
	}
}

// header runs a query and returns the body and the header.
func (k *rootShop) header(t *testing.T, query string, header ...string) (string, http.Header) {
	t.Helper()
	r := httptest.NewRequestWithContext(graph.WithViewer(t.Context(), everyone), http.MethodGet, "/graphql?query="+url.QueryEscape(query), nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	k.handler.ServeHTTP(w, r)
	return w.Body.String(), w.Header()
}

const bio = `{ user(id: 1) { name bio } }`

// A resolver that reads without a loader keeps its response out of every cache. After a write to
// the product that it reads, the next response is new.
func TestFault01WhatNobodyKnowsIsNotStored(t *testing.T) {
	t.Parallel()
	for backend, databaseURL := range map[string]func(*testing.T) string{
		"SQLite":     func(t *testing.T) string { return sqlite(t) },
		"PostgreSQL": func(t *testing.T) string { return seeded(t, "demo", fixtures.Demo) },
	} {
		for way, read := range ways {
			t.Run(backend+"/"+way, func(t *testing.T) {
				t.Parallel()
				var k *rootShop
				k = newRootShopIn(t, databaseURL(t), readBy(&k, read))
				for _, name := range []string{"", "Renamed", "Renamed again"} {
					if name != "" {
						k.read(t, new(json.RawMessage), `mutation($n: String!) { updateProduct(id: 7, input: {name: $n}) { name } }`, "n", name)
					}
					for range 2 {
						body, header := k.header(t, bio)
						if !strings.Contains(body, `"bio":"`+name) || header.Get("Cache-Control") != "no-store" || header.Get("ETag") != "" ||
							header.Get("Age") != "" || strings.Contains(header.Get("Cache-Status"), "stored") {
							t.Errorf("name %q: got %s %v, want an uncached response with it", name, body, header)
						}
					}
				}
			})
		}
	}
}

// A loader may have given rows of the statement to the other root field.
func TestFault01OtherRootFieldsAreNotStored(t *testing.T) {
	t.Parallel()
	var k *rootShop
	k = newRootShop(t, readBy(&k, ways["by bun"]))
	const query = `{ a: user(id: 1) { bio } b: user(id: 1) { name } }`
	for range 3 {
		want := []string{"a", "b"}
		if _, status, resolved := k.get(t, query); !slices.Equal(resolved, want) || strings.Contains(status, "stored") {
			t.Errorf("resolved %v, want %v; Cache-Status is %s", resolved, want, status)
		}
	}
}

// The report and the log say why a response is not cached; the log says it once.
func TestFault01IsTold(t *testing.T) {
	t.Parallel()
	for way, want := range map[string]string{"by bun": `coordinate=User.bio`, "without a context": "without the context of a request"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var k *rootShop
			k = newRootShop(t, readBy(&k, ways[way]))
			for range 3 {
				k.header(t, bio)
			}
			k.read(t, new(json.RawMessage), `mutation { setStock(productId: 7, stock: 3) { stock } }`)
			if log := k.log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, want) {
				t.Errorf("the log is %q, want %s in one warning", log, want)
			}
		})
	}
	t.Run("report", func(t *testing.T) {
		t.Parallel()
		var k *rootShop
		k = newRootShop(t, readBy(&k, ways["by bun"]))
		body, _ := k.header(t, bio, "Cache-Debug", "1")
		var a struct {
			Extensions struct {
				Cache []struct {
					Path                         []string
					Coordinate, Status, Unstored string
				}
			}
		}
		if err := json.Unmarshal([]byte(body), &a); err != nil {
			t.Fatal(err)
		}
		for _, e := range a.Extensions.Cache {
			if slices.Equal(e.Path, []string{"user", "bio"}) && e.Coordinate == "User.bio" && e.Status == "bypass" && e.Unstored == cache.UnknownReason {
				return
			}
		}
		t.Errorf("the report does not give the reason for user.bio: %s", body)
	})
}

// Responses are cached if a resolver reads with a loader, or declares its reads as unwatched.
func TestFault01WhatIsKnownIsStored(t *testing.T) {
	t.Parallel()
	for way, read := range map[string]readProduct{
		"by a loader": func(ctx context.Context, _ *rootShop) (string, error) {
			p, err := dataloader.For(ctx).Product(ctx, 7)
			if err != nil {
				return "", err
			}
			return p.Name, nil
		},
		"unwatched": func(ctx context.Context, k *rootShop) (string, error) { return ways["by bun"](cache.Unwatched(ctx), k) },
		"unwatched background": func(_ context.Context, k *rootShop) (string, error) {
			return ways["by bun"](cache.Unwatched(context.Background()), k)
		},
	} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var k *rootShop
			k = newRootShop(t, readBy(&k, read))
			for _, want := range []string{"stored", "hit"} {
				if body, header := k.header(t, bio); !strings.Contains(header.Get("Cache-Status"), want) {
					t.Errorf("want %s, got %s %v", want, body, header)
				}
			}
		})
	}
}
