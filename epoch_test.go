package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"fieldcache/db"
	"fieldcache/db/fixtures"
	"fieldcache/internal/testservers"
)

// seed fills an empty PostgreSQL database with the demo data.
func seed(t *testing.T, url string) {
	t.Helper()
	d, err := db.Open(t.Context(), db.Options{URL: url, Rows: rowsOf(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.MigrateUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := fixtures.Seed(t.Context(), d, fixtures.Demo); err != nil {
		t.Fatal(err)
	}
	runSQL(t, url, "DELETE FROM cache_outbox")
}

// runSQL writes without a gateway, each statement in its own transaction.
func runSQL(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// bios sets the bios of a range of users, each in its own transaction.
func bios(t *testing.T, url, bio string, from, to int) {
	t.Helper()
	var statements []string
	for id := from; id <= to; id++ {
		statements = append(statements, fmt.Sprintf("UPDATE users SET bio = '%s' WHERE id = %d", bio, id))
	}
	runSQL(t, url, statements...)
}

// bio asks a gateway for a user's bio. It returns "" while the gateway cannot answer.
func (p *program) bio(t *testing.T, id int, headers ...string) string {
	t.Helper()
	_, text := send(t, http.MethodPost, p.graphql, fmt.Sprintf(`{"query":"{ user(id: %d) { bio } }"}`, id), append(headers, "Content-Type: application/json")...)
	var response struct {
		Data struct{ User *struct{ Bio *string } }
	}
	if err := json.Unmarshal([]byte(text), &response); err != nil || response.Data.User == nil || response.Data.User.Bio == nil {
		return ""
	}
	return *response.Data.User.Bio
}

// answers waits until a gateway returns the wanted bio for the first user, then checks it for all
// users in the range.
func (p *program) answers(t *testing.T, want string, from, to int) {
	t.Helper()
	eventually(t, "the gateway returns "+want, func() bool { return p.bio(t, from) == want })
	for id := from; id <= to; id++ {
		if got := p.bio(t, id); got != want {
			t.Errorf("bio of user %d is %q, want %q", id, got, want)
		}
	}
}

// site is three gateways with one database and one Redis. They reach the database through a proxy
// that can lead to another one.
type site struct {
	way      *testservers.Proxy
	redis    string
	environ  []string
	gateways []*program
}

func (s *site) add(t *testing.T) *program {
	t.Helper()
	p := startAs(t, newGateway, append([]string{"DATABASE_URL=" + s.way.URL(), "DATABASE_MAX_CONNS=4", "REDIS_URL=" + s.redis, "REDIS_TIMEOUT=5s"}, s.environ...)...)
	s.gateways = append(s.gateways, p)
	return p
}

func openSite(t *testing.T, database string, environ ...string) *site {
	t.Helper()
	s := &site{way: testservers.NewProxy(t, database), redis: testservers.Redis(t), environ: environ}
	for range 3 {
		s.add(t)
	}
	return s
}

// fills waits until Redis holds the bio of each user in the range.
func (s *site) fills(t *testing.T, bio string, from, to int) {
	t.Helper()
	c := redisClient(t, s.redis)
	for id := from; id <= to; id++ {
		eventually(t, fmt.Sprintf("Redis has %q for user %d", bio, id), func() bool {
			if strings.Contains(c.Get(t.Context(), fmt.Sprint("user:", id)).Val(), bio) {
				return true
			}
			for _, g := range s.gateways { // bypass the caches: memory may hold what a relay evicted from Redis
				g.bio(t, id, "Cache-Control: no-cache")
			}
			return false
		})
	}
}

// A standby that lacks commits takes over and reuses their transaction numbers. No gateway serves a
// lost value, and every gateway serves the values committed since.
func TestFault26FailoverToAStandbyThatLacksCommits(t *testing.T) {
	t.Parallel()
	primary := testservers.PrimaryServer(t)
	seed(t, primary.URL())
	standby := primary.Standby()
	s := openSite(t, primary.URL())
	s.fills(t, "", 21, 25)
	standby.Detach()
	bios(t, primary.URL(), "lost", 1, 20)
	s.fills(t, "lost", 1, 20)

	s.way.Cut()
	primary.Stop()
	standby.Promote()
	bios(t, standby.URL(), "kept", 21, 25)
	bios(t, standby.URL(), "kept", 1, 5)
	for range 20 { // transaction numbers up to those of the lost writes, and beyond
		bios(t, standby.URL(), "other", 26, 30)
	}
	s.way.Redirect(t, standby.URL())
	s.way.Mend()

	newcomer := s.add(t)
	for _, g := range s.gateways {
		eventually(t, "the gateway sees the failover", func() bool { return g != newcomer && g.bio(t, 1) == "kept" || g == newcomer })
		for id := 1; id <= 25; id++ {
			if got := g.bio(t, id); got == "lost" || (id <= 5 || id > 20) && got != "kept" {
				t.Errorf("bio of user %d is %q", id, got)
			}
		}
		if g != newcomer && !strings.Contains(g.stderr.String(), "evicted the whole cache") {
			t.Error("the log does not say that the whole cache was evicted")
		}
	}
	s.fills(t, "kept", 1, 5) // the cache works as before
}

// A backup replaces the gateways' database: restored under another name and renamed into place, or
// restored in place.
func TestFault26Restored(t *testing.T) {
	t.Parallel()
	server := testservers.PostgresServer(t)
	at := func(database string) string { return strings.Replace(server.URL(), "/postgres?", "/"+database+"?", 1) }
	restored := map[string]func(t *testing.T, name, file string){
		"renamed into place": func(t *testing.T, name, file string) {
			runSQL(t, server.URL(), "CREATE DATABASE "+name+"_new")
			testservers.Restore(t, at(name+"_new"), file)
			bios(t, at(name+"_new"), "other", 21, 50)
			runSQL(t, server.URL(), "ALTER DATABASE "+name+" RENAME TO "+name+"_old", "ALTER DATABASE "+name+"_new RENAME TO "+name)
		},
		"in place": func(t *testing.T, name, file string) {
			testservers.Restore(t, at(name), file, "--clean")
			bios(t, at(name), "other", 21, 50)
		},
	}
	for what, restore := range restored {
		t.Run(what, func(t *testing.T) {
			name := "shop_" + strings.ReplaceAll(what, " ", "_")
			runSQL(t, server.URL(), "CREATE DATABASE "+name)
			seed(t, at(name))
			bios(t, at(name), "kept", 1, 20)
			file := filepath.Join(t.TempDir(), "dump")
			testservers.Dump(t, at(name), file)
			s := openSite(t, at(name))
			bios(t, at(name), "lost", 1, 20)
			s.fills(t, "lost", 1, 20)
			s.way.Cut()
			runSQL(t, server.URL(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+name+"'")
			restore(t, name, file)
			s.way.Mend()
			s.add(t).answers(t, "kept", 1, 20)
			for _, g := range s.gateways {
				g.answers(t, "kept", 1, 20)
			}
			s.fills(t, "kept", 1, 5)
		})
	}
}

// A dump of a database with high transaction numbers is restored in a new cluster with low ones.
// The cache is used, nothing is evicted without a write, and writes evict.
func TestFault07DumpInANewCluster(t *testing.T) {
	t.Parallel()
	old := testservers.PostgresServer(t)
	seed(t, old.URL())
	old.Stop()
	old.RaiseNumbers(64 << 20)
	old.Start()
	bios(t, old.URL(), "old", 1, 50) // records that are not yet relayed
	for what, horizon := range map[string]string{
		"records and horizon are ahead": "INSERT INTO cache_horizon (one, snapshot) VALUES (true, pg_current_snapshot()::text) ON CONFLICT (one) DO UPDATE SET snapshot = excluded.snapshot",
		"the horizon alone is ahead":    "DELETE FROM cache_outbox",
	} {
		t.Run(what, func(t *testing.T) {
			runSQL(t, old.URL(), horizon)
			file := filepath.Join(t.TempDir(), "dump")
			testservers.Dump(t, old.URL(), file)
			moved := testservers.Postgres(t)
			testservers.Restore(t, moved, file)
			s := openSite(t, moved, "ANSWER_CACHE=false")
			s.fills(t, "old", 1, 20)
			for _, g := range s.gateways {
				g.answers(t, "old", 1, 20)
				hits := func() float64 {
					return g.metric(t, `fieldcache_hits_total{tier="redis"}`) + g.metric(t, `fieldcache_hits_total{tier="memory"}`)
				}
				evicted := g.metric(t, `fieldcache_evictions_total{cause="outbox"}`)
				// A machine that pauses for longer than the lease loses a hit.
				eventually(t, "20 of 20 reads are hits", func() bool {
					before := hits()
					for id := 1; id <= 20; id++ {
						g.bio(t, id)
					}
					return hits()-before >= 20
				})
				if n := g.metric(t, `fieldcache_evictions_total{cause="outbox"}`) - evicted; n > 0 {
					t.Errorf("got %v evictions without a write, want 0", n)
				}
			}
			eventually(t, "a new gateway has 20 of 20 hits in Redis", func() bool {
				g := s.add(t)
				g.answers(t, "old", 1, 20)
				return g.metric(t, `fieldcache_hits_total{tier="redis"}`) >= 20
			})
			bios(t, moved, "new", 1, 20)
			for _, g := range s.gateways {
				g.answers(t, "new", 1, 1)
			}
		})
	}
}

// Two databases share one Redis by mistake: no gateway serves the other database's values, and the
// log says so.
func TestFault06TwoDatabasesOneRedis(t *testing.T) {
	t.Parallel()
	redisURL := testservers.Redis(t)
	gateway := func(bio string) (*program, string) {
		database := shop(t)
		bios(t, database, bio, 1, 20)
		return startAs(t, newGateway, "DATABASE_URL="+database, "REDIS_URL="+redisURL, "REDIS_TIMEOUT=5s"), database
	}
	first, _ := gateway("first")
	first.answers(t, "first", 1, 20)
	second, database := gateway("second")
	second.answers(t, "second", 1, 20)
	first.answers(t, "first", 1, 20)
	second.stderr.wait(t, "Redis holds entries of another database")
	bios(t, database, "changed", 1, 20)
	for id := 1; id <= 20; id++ { // with polls in between
		eventually(t, "the second gateway serves the new value", func() bool { return second.bio(t, id) == "changed" })
	}
	first.answers(t, "first", 1, 20)
}

// A gateway that is led to a lagging standby is not ready and caches nothing from it. It goes on
// once it is led to a primary again.
func TestFault09Standby(t *testing.T) {
	t.Parallel()
	primary := testservers.PrimaryServer(t)
	seed(t, primary.URL())
	standby := primary.Standby()
	standby.Detach()
	s := openSite(t, primary.URL())
	bios(t, primary.URL(), "new", 1, 20)
	s.fills(t, "new", 1, 20)
	s.way.Redirect(t, standby.URL())
	for _, g := range s.gateways {
		eventually(t, "the gateway is not ready and reports why", func() bool {
			res, text := send(t, http.MethodGet, g.admin+"readyz", "")
			return res.StatusCode == http.StatusServiceUnavailable && strings.Contains(text, `"database":"standby"`)
		})
		for id := 1; id <= 20; id++ {
			if got := g.bio(t, id); got != "new" && got != "" {
				t.Errorf("bio of user %d is %q", id, got)
			}
		}
		_, text := send(t, http.MethodPost, g.graphql, `{"query":"mutation { setStock(productId: 7, stock: 1) { stock } }"}`, "Content-Type: application/json")
		if !strings.Contains(text, `"errors"`) {
			t.Errorf("a mutation on a standby: got %s, want an error", text)
		}
	}
	if code := launchAs(t, newGateway, []string{"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "DATABASE_URL=" + s.way.URL()}); true {
		code.wantExit(t, 1)
		if !strings.Contains(code.stderr.String(), "in recovery") {
			t.Errorf("the log does not say that the database is in recovery: %s", code.stderr)
		}
	}
	s.way.Redirect(t, primary.URL())
	for _, g := range s.gateways {
		eventually(t, "the gateway is ready", func() bool {
			res, _ := send(t, http.MethodGet, g.admin+"readyz", "")
			return res.StatusCode == http.StatusOK
		})
		g.answers(t, "new", 1, 20)
		g.query(t, `mutation { setStock(productId: 7, stock: 1) { stock } }`)
	}
}

// Entries in Redis that were changed by hand, or written under a wrong clock, are not served.
func TestFault05EntriesOfOthers(t *testing.T) {
	t.Parallel()
	database, redisURL := shop(t), testservers.Redis(t)
	environ := []string{"DATABASE_URL=" + database, "REDIS_URL=" + redisURL, "REDIS_TIMEOUT=5s"}
	p, c := startAs(t, newGateway, environ...), redisClient(t, redisURL)
	const read = `{ user(id: 42) { id name bio } }`
	want := p.query(t, read)
	entry := c.Get(t.Context(), "user:42").Val()
	var parts map[string]json.RawMessage
	if err := json.Unmarshal([]byte(entry), &parts); err != nil {
		t.Fatalf("%s: %v", entry, err)
	}
	p.query(t, `{ user(id: 43) { name } }`)
	changed := func(name, value string) string {
		copied := map[string]json.RawMessage{}
		for k, v := range parts {
			copied[k] = v
		}
		copied[name] = json.RawMessage(value)
		text, err := json.Marshal(copied)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	moment := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(`"2006-01-02T15:04:05.000Z"`) }
	for name, text := range map[string]string{
		"without a column":        changed("value", `{"id":42,"name":"Eve"}`),
		"of another id":           c.Get(t.Context(), "user:43").Val(),
		"with another id":         changed("value", strings.Replace(string(parts["value"]), `"id":42`, `"id":43`, 1)),
		"loaded half an hour ago": changed("loaded", moment(-30*time.Minute)),
		"loaded in an hour":       changed("loaded", moment(time.Hour)),
		"with a longer life":      changed("ends", moment(time.Hour)),
		"null":                    changed("value", "null"),
		"by hand":                 "{}",
	} {
		if err := c.Set(t.Context(), "user:42", text, time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		if got := startAs(t, newGateway, environ...).query(t, read); got != want {
			t.Errorf("an entry %s was served: got %s", name, got)
		}
	}
}
