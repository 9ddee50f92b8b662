package gqlcache_test

import (
	"fmt"
	"strings"
	"testing"

	"fieldcache/internal/testservers"
)

// If Redis does not execute the evictions of a mutation, the response says what allowed the
// acknowledgment.
func TestLateMutationsSayWhatAllowedThem(t *testing.T) {
	t.Parallel()
	redis := testservers.RedisServer(t)
	a := adopt(t, redis.URL(), nil)
	rename := func(title string) string {
		t.Helper()
		_, header := post(t, a.url, fmt.Sprintf(`mutation{setTitle(id:%q,title:%q){title}}`, bug, title))
		if body, _ := post(t, a.url, titleOf); !strings.Contains(body, title) {
			t.Errorf("after the mutation to %q: got %s", title, body)
		}
		return header.Get("Cache-Status")
	}
	if got := rename("in time"); got != "fieldcache; fwd=bypass" {
		t.Errorf("got Cache-Status %s, want no detail", got)
	}
	redis.Stop()
	if got := rename("late"); got != "fieldcache; fwd=bypass; detail=lease" {
		t.Errorf("without Redis: got Cache-Status %s, want detail=lease", got)
	}
	redis.Start()
	a.eventually("evictions are still late", func() bool { return rename("in time again") == "fieldcache; fwd=bypass" })
}
