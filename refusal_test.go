package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"fieldcache/internal/testservers"
)

// TestFault16RedisThatRefuses gives the gateway a Redis user without the rights that it needs: it is told once why Redis
// is of no use, everywhere, and when it is of use again.
func TestFault16RedisThatRefuses(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	c := redisClient(t, server.URL())
	allow := func(rules ...any) {
		t.Helper()
		rules = append([]any{"ACL", "SETUSER", "few", "on", ">geheim", "~*", "&*"}, rules...)
		if err := c.Do(t.Context(), rules...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	allow("+@read", "+@connection")
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_TIMEOUT=5s",
		"REDIS_URL="+strings.Replace(server.URL(), "redis://", "redis://few:geheim@", 1))
	product := 1
	ask := func() { product++; p.query(t, fmt.Sprintf("{product(id: %d) {name}}", product)) }
	for range 5 {
		ask()
		time.Sleep(20 * time.Millisecond)
	}
	p.query(t, "mutation {setStock(productId: 1, stock: 5) {stock}}")
	if line := p.stderr.wait(t, "refuses a command"); !strings.Contains(line, "NOPERM") {
		t.Errorf("told %s", line)
	}
	if n := strings.Count(p.stderr.String(), "refuses a command"); n != 1 {
		t.Errorf("told %d times", n)
	}
	if _, text := send(t, http.MethodGet, p.admin+"readyz", ""); !strings.Contains(text, `"redis":"sick"`) || !strings.Contains(text, "NOPERM") || !strings.Contains(text, `"status":"ready"`) {
		t.Errorf("readyz: %s", text)
	}
	if _, text := send(t, http.MethodGet, p.admin+"metrics", ""); !strings.Contains(text, "fieldcache_redis_sick 1") ||
		!strings.Contains(text, `fieldcache_redis_sick_reason{reason="refused"} 1`) {
		t.Error("the metrics do not say that Redis refuses")
	}
	allow("+@all")
	eventually(t, "Redis is used again", func() bool {
		ask()
		return strings.Contains(p.stderr.String(), "answers again")
	})
	if _, text := send(t, http.MethodGet, p.admin+"readyz", ""); !strings.Contains(text, `"redis":"ok"`) {
		t.Errorf("readyz: %s", text)
	}
	if _, text := send(t, http.MethodGet, p.admin+"metrics", ""); !strings.Contains(text, "fieldcache_redis_sick 0") {
		t.Error("the metrics say that Redis is sick still")
	}
}

// TestFault16OptionalCommands has a mutation acknowledged without a wait where Redis refuses only what there is another
// way for.
func TestFault16OptionalCommands(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	c := redisClient(t, server.URL())
	if err := c.Do(t.Context(), "ACL", "SETUSER", "few", "on", ">geheim", "~*", "&*",
		"+@all", "-@connection", "-@scripting", "-getex", "-unlink", "-@pubsub", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_TIMEOUT=5s",
		"REDIS_URL="+strings.Replace(server.URL(), "redis://", "redis://few:geheim@", 1))
	p.query(t, "{product(id: 7) {name stock}}")
	if n := c.Exists(t.Context(), "product:7").Val(); n != 1 {
		t.Error("Redis is not filled")
	}
	p.query(t, "mutation {setStock(productId: 7, stock: 5) {id}}")
	if n := c.Exists(t.Context(), "{product:7}:stock").Val(); n != 0 {
		t.Error("Redis was not rid of what a mutation changed")
	}
	if text := p.stderr.String(); strings.Contains(text, "the shared cache") {
		t.Errorf("told %s", text)
	}
	if _, text := send(t, http.MethodGet, p.admin+"readyz", ""); !strings.Contains(text, `"redis":"ok"`) {
		t.Errorf("readyz: %s", text)
	}
}
