package gqlcache_test

import (
	"fmt"
	"strings"
	"testing"

	"fieldcache/internal/testservers"
)

// The response to a mutation whose evictions Redis does not execute says what allowed it.
func TestLateMutationsSayWhatAllowedThem(t *testing.T) {
	t.Parallel()
	redis := testservers.RedisServer(t)
	a := adopt(t, redis.URL(), nil)
	rename := func(title string) string {
		t.Helper()
		_, header := post(t, a.url, fmt.Sprintf(`mutation{setTitle(id:%q,title:%q){title}}`, bug, title))
		if body, _ := post(t, a.url, titleOf); !strings.Contains(body, title) {
			t.Errorf("after the mutation to %q: %s", title, body)
		}
		return header.Get("Cache-Status")
	}
	if got := rename("in time"); got != "fieldcache; fwd=bypass" {
		t.Errorf("Cache-Status: %s", got)
	}
	redis.Stop()
	if got := rename("late"); got != "fieldcache; fwd=bypass; detail=lease" {
		t.Errorf("without Redis Cache-Status: %s", got)
	}
	redis.Start()
	a.eventually("it is late still", func() bool { return rename("in time again") == "fieldcache; fwd=bypass" })
}
