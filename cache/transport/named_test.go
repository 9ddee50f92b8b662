package transport_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"fieldcache/cache/transport"
)

// Named gets the operation of a trusted document, however the request names the document and
// whether or not it is executed. It does not get the operations of other documents.
func TestTrustedOperationsAreNamed(t *testing.T) {
	t.Parallel()
	const trusted = "query Home { hello }"
	var named []string
	k := newKeeper(t, transport.Options{
		Trusted: transport.Trusted{hash(trusted): trusted}, Named: func(_ context.Context, operation string) { named = append(named, operation) },
	})
	for _, c := range []struct {
		name, body   string
		named, front string // what Named gets without ServeCached, and what ServeCached returns afterwards
	}{
		{"executed by its text", `{"query":"` + trusted + `"}`, "Home", "Home"},
		{"by its id, cached", `{"documentId":"` + hash(trusted) + `"}`, "Home", "Home"},
		{"another that means the same", `{"query":"query  Home { hello }"}`, "", ""},
		{"another of the same name", `{"query":"query Home { long }"}`, "", ""},
	} {
		named = nil
		r := k.send(t, request{method: http.MethodPost, target: "/", body: c.body, headers: []string{"Content-Type: application/json"}})
		if r.status != http.StatusOK || !slices.Equal(named, list(c.named)) {
			t.Errorf("%s: Named got %q, response %d %s, want %q", c.name, named, r.status, r.body, c.named)
		}
		again := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.body))
		again.Header.Set("Content-Type", "application/json")
		if operation, served := k.ServeCached(httptest.NewRecorder(), again); !served || operation != c.front {
			t.Errorf("%s: ServeCached returns %q, %t, want %q", c.name, operation, served, c.front)
		}
	}
}

func list(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}
