package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache/gqlcache"
	"fieldcache/db"
	"fieldcache/internal/config"
	"fieldcache/internal/serve"
)

// The server accepts tokens made by the token command.
func TestCommandToken(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway, "JWT_SECRET="+secret)
	token := func(environ []string, args ...string) string {
		stdout, _ := finish(t, append(environ, "JWT_SECRET="+secret), 0, append([]string{"token"}, args...)...)
		return "Authorization: Bearer " + strings.TrimSpace(stdout)
	}
	const mails = `{"query":"{ me { id } other: user(id: 8) { email } }"}`
	for header, want := range map[string][2]string{
		token(nil, "--user", "42", "--role", "admin", "--ttl", "10m"): {`"me":{"id":"42"}`, `"email":"`},
		token([]string{"TOKEN_USER=7"}):                               {`"me":{"id":"7"}`, `"email":null`},
	} {
		_, body := send(t, "POST", p.graphql, mails, "Content-Type: application/json", header)
		if !strings.Contains(body, want[0]) || !strings.Contains(body, want[1]) {
			t.Errorf("%s: %s, want %q in it", header, body, want)
		}
	}
}

// evictions records the last eviction order.
type evictions struct{ got string }

func (e *evictions) Evict(_ context.Context, o gqlcache.Order) (int, error) {
	e.got = fmt.Sprint(o.Keys, o.Types, o.Tags)
	if o.Soft {
		e.got = fmt.Sprint(o.Coordinates, o.Rows)
	}
	return 5, nil
}

// TestCommandEvictReachesKinds shows that evicting a coordinate evicts the values cached for it,
// and nothing else of the same product.
func TestCommandEvictReachesKinds(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway)
	address := "ADMIN_ADDR=" + strings.Trim(strings.TrimPrefix(p.admin, "http://"), "/")
	const read = `{ product(id: 7) { name price { amount } averageRating reviews(first: 2) { totalCount nodes { rating } } } }`
	misses := func() map[string]float64 {
		all := map[string]float64{}
		for _, c := range []string{"Product", "Product.price", "Product.averageRating", "Product.reviews", "ReviewConnection.totalCount", "Review"} {
			all[c] = p.metric(t, fmt.Sprintf(`fieldcache_field_requests_total{coordinate=%q,result="miss"}`, c))
		}
		return all
	}
	want := p.query(t, read)
	for coordinate, gone := range map[string][]string{
		"Product.price":               {"Product.price"},
		"Product.averageRating":       {"Product.averageRating"},
		"Product.reviews":             {"Product.reviews", "ReviewConnection.totalCount"},
		"ReviewConnection.totalCount": {"ReviewConnection.totalCount"},
	} {
		eventually(t, "everything is cached", func() bool {
			before := misses()
			p.query(t, read)
			return maps.Equal(before, misses())
		})
		before := misses()
		finish(t, []string{address}, 0, "evict", "--coordinate", coordinate)
		if got := p.query(t, read); got != want {
			t.Errorf("after the eviction of %s: got %s, want %s", coordinate, got, want)
		}
		for c, n := range misses() {
			if missed := n > before[c]; missed != slices.Contains(gone, c) {
				t.Errorf("after the eviction of %s: loaded %s again: got %v, want the opposite", coordinate, c, missed)
			}
		}
	}
	if _, stderr := finish(t, []string{address}, 1, "evict", "--coordinate", "Product.name"); !strings.Contains(stderr, "no values are cached for Product.name by itself: evict the type Product") {
		t.Errorf("evicting a field that is cached with its product: got stderr %q", stderr)
	}
}

func TestCommandEvict(t *testing.T) {
	t.Parallel()
	var cache evictions
	p := startAs(t, func(ctx context.Context, cfg config.Config, d *db.DB, metrics prometheus.Registerer, traces *serve.Traces, log *slog.Logger) (*serve.Gateway, error) {
		gw, err := fake(echo())(ctx, cfg, d, metrics, traces, log)
		gw.Evictor = &cache
		return gw, err
	})
	addr := "ADMIN_ADDR=" + strings.Trim(strings.TrimPrefix(p.admin, "http://"), "/")
	if stdout, _ := finish(t, []string{addr}, 0, "evict", "--coordinate", "Product.reviews", "--row", "reviews:9,users:1", "--soft"); cache.got != "[Product.reviews] [reviews:9 users:1]" ||
		!strings.Contains(stdout, "1 coordinates, 2 rows") {
		t.Errorf("soft eviction: got order %q, stdout %s", cache.got, stdout)
	}
	stdout, _ := finish(t, []string{addr}, 0, "evict", "user:42", "product:7", "--type", "Product,User", "--type", "Order", "--tag", "users")
	if want := "[user:42 product:7] [Product User Order] [users]"; cache.got != want || stdout != "evicted: 5 cached keys, 3 types, 1 tags\n" {
		t.Errorf("got order %s, want %s; stdout is %q", cache.got, want, stdout)
	}
	if _, stderr := finish(t, []string{addr}, 1, "evict", " "); !strings.Contains(stderr, "status 400") || !strings.Contains(stderr, "is not a name") {
		t.Errorf("bad key: got stderr %q, want status 400 and the reason", stderr)
	}
}
