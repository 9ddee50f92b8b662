package outbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// unreadable are contents of an outbox row that cannot be interpreted with certainty.
var unreadable = []string{
	`{}`, `7`, `"x"`, `null`, `[7]`, `[null]`, `[{}]`, `[[]]`, `[{"was":null}]`, `[{"Was":{"id":"1"}}]`, `[{"IS":{"id":"1"}}]`,
	`[{"is":{"id":1}}]`, `[{"is":{"id":["1"]}}]`, `[{"is":"1"}]`, `[{"is":{"id":"1"},"more":1}]`, `[{"is":{"id":"1"},"was":{"id":"1"},"changed":"name"}]`,
}

// unreadableText are further such contents, of a database that does not check JSON.
var unreadableText = []string{
	``, `x`, `[{"is":{"id":"1"}}`, `[{"is":{"id":"1"},"is":{"id":"2"}}]`, `[{"is":{"id":"1","id":"2"}}]`, `[{"is":{"id":"\ud800"}}]`, `[{"is":{"id":"1"}}] []`,
}

func unreadableIn(b box) []string {
	if b.postgres {
		return unreadable
	}
	return append(unreadableText, unreadable...)
}

func (b box) note(t *testing.T, table, op, text string) {
	t.Helper()
	b.exec(t, fmt.Sprintf("INSERT INTO cache_outbox (tbl, op, rows) VALUES ('%s', '%s', '%s')", table, op, text))
}

// An unreadable row stands for a write of any row of its table, no matter how it is read: by a
// poll, in a sum, or by a relay. The rows beside it are read as usual.
func TestFault31RowsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		for _, text := range unreadableIn(b) {
			b.exec(t, "DELETE FROM cache_outbox")
			b.note(t, "things", "UPDATE", text)
			b.note(t, "others", "DELETE", `[{"was":{"id":"1","name":"x"}}]`)
			const want = "1x>[] things UPDATE"
			news := b.poll(t, beginning)
			if got := what(news); got != want || news.Unreadable != 1 {
				t.Errorf("%s: got %s from a poll, %d unreadable", text, got, news.Unreadable)
			}
			for _, detail := range []cache.Detail{cache.ByName, cache.ByTable} {
				sum, err := b.Poll(t.Context(), cache.Page{Since: beginning, Until: news.Snapshot, Detail: detail})
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				summed := news
				summed.Writes = []cache.Pending{{Write: cache.Write{Eviction: sum.Sum.Eviction}}}
				if got := what(summed); !strings.Contains(got, "things UPDATE") || sum.Sum.Everything || detail == cache.ByName && (got != want || sum.Unreadable != 1) {
					t.Errorf("%s: got %s in a sum, %d unreadable, everything: %t", text, got, sum.Unreadable, sum.Sum.Everything)
				}
			}
			relayed := news
			_, err := b.Relay(t.Context(), cache.Piece{Rows: 100}, func(_ context.Context, ev cache.Eviction) error {
				relayed.Writes = []cache.Pending{{Write: cache.Write{Eviction: ev}}}
				return nil
			})
			if got := what(relayed); err != nil || got != want {
				t.Errorf("%s: relayed %s, error %v", text, got, err)
			}
		}
	})
}

// An unreadable manual eviction may name anything, so it evicts everything.
func TestFault31EvictionsByHandThatCannotBeRead(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		if err := outbox.NewWatch(b.db.DB, b.at, []outbox.Table{things}, slog.New(slog.DiscardHandler)).Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		texts := append([]string{`{"Keys":["user:1"]}`, `{"keys":["user:1"],"TAGS":[]}`, `{"keys":"user:1"}`, `{"keys":[1]}`, `{"keys":["user:1"],"more":[]}`, `[]`}, unreadableIn(b)...)
		for _, text := range texts {
			b.exec(t, "DELETE FROM cache_outbox")
			b.note(t, "", "EVICT", text)
			b.note(t, "", "EVICT", `{"keys":["user:2"],"tags":["{users}"]}`)
			news := b.poll(t, beginning)
			everything := false
			for _, w := range news.Writes {
				everything = everything || w.Everything
			}
			if got := what(news); got != "user:2 {users}" || !everything || news.Unreadable != 1 {
				t.Errorf("%s: got %s from a poll, %d unreadable, everything: %t", text, got, news.Unreadable, everything)
			}
			sum, err := b.Poll(t.Context(), cache.Page{Since: beginning, Until: news.Snapshot, Detail: cache.ByName})
			if err != nil || !sum.Sum.Everything || sum.Unreadable != 1 || len(sum.Sum.Keys) != 1 {
				t.Errorf("%s: got sum %+v, %d unreadable, error %v", text, sum.Sum, sum.Unreadable, err)
			}
			relayed := news
			_, err = b.Relay(t.Context(), cache.Piece{Rows: 100}, func(_ context.Context, ev cache.Eviction) error {
				relayed.Writes = []cache.Pending{{Write: cache.Write{Eviction: ev}}}
				return nil
			})
			if got := what(relayed); err != nil || got != "things TRUNCATE user:2 {users}" {
				t.Errorf("%s: relayed %s, error %v", text, got, err)
			}
		}
	})
}
