package main

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"fieldcache/internal/testservers"
)

// backlog is how many writes the tests of a backlog begin with; the environment may ask for more.
func backlog(t *testing.T) int {
	t.Helper()
	text := os.Getenv("BACKLOG")
	if text == "" {
		return 4000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// metric is the value of a metric of a gateway.
func (p *program) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, text := send(t, http.MethodGet, p.admin+"metrics", "")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// hits reports whether a gateway answers a query from its caches.
func (p *program) hits(t *testing.T, query string) (hit bool, text string) {
	t.Helper()
	res, text := send(t, http.MethodPost, p.graphql, fmt.Sprintf(`{"query":%q}`, query), "Content-Type: application/json")
	return strings.Contains(res.Header.Get("Cache-Status"), "hit"), text
}

// One transaction of many one-row updates by psql: memory and Redis are used again soon after it, Redis holds
// nothing of before, and no row waits.
func TestFault10ATransactionOfManyUpdates(t *testing.T) {
	t.Parallel()
	database, redisURL := shop(t), testservers.Redis(t)
	p := startAs(t, newGateway, "DATABASE_URL="+database, "REDIS_URL="+redisURL)
	const read = `{ product(id: 7) { name stock } user(id: 42) { name } }`
	p.query(t, read)
	psql(t, database, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP UPDATE products SET stock = 100000 + i WHERE id = 1 + i %% 50; END LOOP; END $$`, backlog(t)-1)+
		"; UPDATE products SET stock = 777 WHERE id = 7")
	began := time.Now()
	eventually(t, "a hit with what is new", func() bool {
		hit, text := p.hits(t, read)
		return hit && strings.Contains(text, `"stock":777`)
	})
	t.Logf("a hit %v after the commit", time.Since(began))
	eventually(t, "no row waits", func() bool {
		return p.metric(t, "fieldcache_outbox_backlog") == 0 && p.metric(t, "fieldcache_outbox_lag_seconds") == 0
	})
	t.Logf("relayed %v after the commit", time.Since(began))
	other := startAs(t, newGateway, "DATABASE_URL="+database, "REDIS_URL="+redisURL)
	if text := other.query(t, read); !strings.Contains(text, `"stock":777`) {
		t.Errorf("another gateway answers %s", text)
	}
}

// A gateway that starts where many writes are kept trusts its own loads at once, and soon uses what Redis has
// from before them, if they did not touch it.
func TestFault28AStartAfterManyWrites(t *testing.T) {
	t.Parallel()
	database, redisURL := shop(t), testservers.Redis(t)
	p := startAs(t, newGateway, "DATABASE_URL="+database, "REDIS_URL="+redisURL)
	product := func(id int) string { return fmt.Sprintf(`{ product(id: %d) { name } }`, id) }
	const first, last = 60, 119
	for id := first; id <= last; id++ {
		p.query(t, product(id))
	}
	const values = `jsonb_build_object('id', (8 + i %% 50)::text)`
	psql(t, database, fmt.Sprintf(`INSERT INTO cache_outbox (tbl, op, rows, done_at) SELECT 'products', 'UPDATE', `+
		`jsonb_build_array(jsonb_build_object('was', `+values+`, 'is', `+values+`, 'changed', jsonb_build_array('stock'))), now() FROM generate_series(1, %d) i`, backlog(t)))
	began := time.Now()
	other := startAs(t, newGateway, "DATABASE_URL="+database, "REDIS_URL="+redisURL)
	t.Logf("started after %v", time.Since(began))
	eventually(t, "a hit of what it loaded itself", func() bool { hit, _ := other.hits(t, product(1)); return hit })
	t.Logf("a hit after %v", time.Since(began))
	id := first
	eventually(t, "a value of Redis", func() bool {
		time.Sleep(patience / 100) // else all are loaded before
		other.query(t, product(id))
		id = min(id+1, last)
		return other.metric(t, `fieldcache_hits_total{tier="redis"}`) > 0
	})
	t.Logf("a value of Redis after %v", time.Since(began))
}

// What a shop is seeded with is relayed, and told as long as it waits.
func TestFault27SeedThenServe(t *testing.T) {
	t.Parallel()
	database, redisURL := testservers.Postgres(t), testservers.Redis(t)
	for _, args := range [][]string{{"migrate", "up"}, {"seed", "--users", "3000", "--products", "3000", "--reviews", "9000", "--orders", "3000"}} {
		launchAs(t, newGateway, []string{"DATABASE_URL=" + database}, args...).wantExit(t, 0)
	}
	p := startAs(t, newGateway, "DATABASE_URL="+database, "REDIS_URL="+redisURL, "REDIS_TIMEOUT=5s")
	eventually(t, "no row waits", func() bool {
		return p.metric(t, "fieldcache_relayed_total") > 0 && p.metric(t, "fieldcache_outbox_backlog") == 0
	})
	if n := p.metric(t, "fieldcache_redis_faults_total"); n > 0 {
		t.Errorf("%v calls of Redis failed", n)
	}
}
