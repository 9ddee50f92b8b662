package outbox_test

import (
	"context"
	"slices"
	"testing"

	"fieldcache/cache"
)

// A bar remains until it is lifted, whatever is pruned. Polls and relays do not treat it as a
// write.
func TestBars(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		ctx := t.Context()
		is := func(when string, want ...string) {
			t.Helper()
			if got, err := b.Barred(ctx); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: got %q, error %v; want %q", when, got, err, want)
			}
		}
		is("at first")
		before := b.poll(t, beginning).Snapshot
		for _, c := range []string{"Query.motto", "Issue.score", "Issue.score"} {
			if err := b.Bar(ctx, c); err != nil {
				t.Fatal(err)
			}
		}
		is("barred", "Issue.score", "Query.motto")
		if news := b.poll(t, before); len(news.Writes) > 0 || news.Unreadable > 0 {
			t.Errorf("got news %+v, want none", news)
		}
		relayed, err := b.Relay(ctx, cache.Piece{Rows: 10}, func(context.Context, cache.Eviction) error { return nil })
		if err != nil || relayed.Rows > 0 {
			t.Errorf("relayed %d rows, error %v; want 0", relayed.Rows, err)
		}
		if backlog, err := b.Backlog(ctx); err != nil || backlog.Rows > 0 {
			t.Errorf("got backlog %+v, error %v; want none", backlog, err)
		}
		b.exec(t, "INSERT INTO things VALUES (1, 'a', '')")
		if more, err := b.Prune(ctx, 0, false); err != nil || more {
			t.Fatal(more, err)
		}
		is("pruned", "Issue.score", "Query.motto")
		if err := b.Unbar(ctx, nil); err != nil {
			t.Fatal(err)
		}
		is("nothing lifted", "Issue.score", "Query.motto")
		if err := b.Unbar(ctx, []string{"Issue.score", "Issue.title"}); err != nil {
			t.Fatal(err)
		}
		is("lifted", "Query.motto")
	})
}
