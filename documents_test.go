package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldcache/internal/testservers"
)

const britain = `{"data":{"country":{"name":"United Kingdom"}}}`

// persistedQuery asks for a query by its hash; text "" leaves the query out.
func (p *program) persistedQuery(t *testing.T, text, hash string) string {
	t.Helper()
	parameters := url.Values{"extensions": {fmt.Sprintf(`{"persistedQuery":{"version":1,"sha256Hash":%q}}`, hash)}}
	if text != "" {
		parameters.Set("query", text)
	}
	_, answer := send(t, http.MethodGet, p.graphql+"?"+parameters.Encode(), "")
	return answer
}

// What a client registers with one gateway, the others know; without Redis each still knows its own.
func TestGatewaySharesDocuments(t *testing.T) {
	t.Parallel()
	const query = `{ country(code: "GB") { name } }`
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(query)))
	server := testservers.RedisServer(t)
	environ := []string{"REDIS_URL=" + server.URL(), "REDIS_PREFIX=shop:"}
	first, second, third := startAs(t, newGateway, environ...), startAs(t, newGateway, environ...), startAs(t, newGateway, environ...)
	if got := second.persistedQuery(t, "", hash); !strings.Contains(got, `"message":"PersistedQueryNotFound"`) {
		t.Errorf("before it is registered: %s", got)
	}
	if got := first.persistedQuery(t, query, hash); got != britain {
		t.Errorf("registered: %s", got)
	}
	if got := second.persistedQuery(t, "", hash); got != britain {
		t.Errorf("at another gateway: %s", got)
	}
	c := redisClient(t, server.URL())
	if ttl := c.TTL(context.Background(), "shop:apq:"+hash).Val(); ttl > 24*time.Hour || ttl < 23*time.Hour {
		t.Errorf("it is kept for %v, want a day", ttl)
	}

	server.Pause()
	began := time.Now()
	if got := third.persistedQuery(t, "", hash); !strings.Contains(got, `"message":"PersistedQueryNotFound"`) {
		t.Errorf("Redis hangs: %s", got)
	}
	if got := third.persistedQuery(t, query, hash); got != britain {
		t.Errorf("Redis hangs, registered: %s", got)
	}
	if got := third.persistedQuery(t, "", hash); got != britain {
		t.Errorf("Redis hangs, by hash: %s", got)
	}
	// Twice REDIS_TIMEOUT for the documents, and the reads of the country, on a machine that may be busy.
	if took := time.Since(began); took > 8*time.Second { // a client left to its own defaults takes half a minute
		t.Errorf("it took %v", took)
	}
	server.Resume()
}

func TestGatewayTrustsDocuments(t *testing.T) {
	t.Parallel()
	const query = `query Name($code: ID!) { country(code: $code) { name } }`
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "name.graphql"), []byte(query), 0o600); err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"documentId":"sha256:%x","variables":{"code":"GB"}}`, sha256.Sum256([]byte(query)))
	const other = `{"query":"{ country(code: \"GB\") { name } }"}`
	for name, c := range map[string]struct {
		environ []string
		status  int // of another query
	}{
		"and others": {[]string{"TRUSTED_DOCUMENTS=" + folder}, http.StatusOK},
		"alone":      {[]string{"TRUSTED_DOCUMENTS=" + folder, "TRUSTED_ONLY=true"}, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startAs(t, newGateway, c.environ...)
			if res, got := send(t, http.MethodPost, p.graphql, body, "Content-Type: application/json"); got != britain {
				t.Errorf("by id: %d %s", res.StatusCode, got)
			}
			if res, got := send(t, http.MethodPost, p.graphql, other, "Content-Type: application/json"); res.StatusCode != c.status {
				t.Errorf("by text: %d %s", res.StatusCode, got)
			}
		})
	}

	p := launchAs(t, newGateway, []string{
		"LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "DATABASE_URL=sqlite::memory:", "TRUSTED_DOCUMENTS=" + t.TempDir(),
	})
	p.wantExit(t, 1)
	if !strings.Contains(p.stderr.String(), "there is no file *.graphql") {
		t.Errorf("a folder without documents: %s", p.stderr)
	}
}
