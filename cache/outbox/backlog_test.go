package outbox_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/db"
	"fieldcache/internal/testservers"
)

var manyRows = flag.Int("rows", 30_000, "number of rows that the backlog tests write")

// crowded is an outbox with many rows.
type crowded struct {
	*outbox.Outbox
	db       *bun.DB
	postgres bool
	t        testing.TB
}

func crowd(t testing.TB, url string) crowded {
	d, err := db.Open(t.Context(), db.Options{URL: url, BusyTimeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	o, err := outbox.New(d.Bun().DB, d.Outbox(), untrue)
	if err != nil {
		t.Fatal(err)
	}
	c := crowded{o, d.Bun(), d.Postgres(), t}
	for _, o := range d.Outbox().Objects() {
		c.exec(o.Create)
	}
	return c
}

func eachCrowded(t *testing.T, test func(c crowded)) {
	run := func(name, url string) {
		t.Run(name, func(t *testing.T) { test(crowd(t, url)) })
	}
	run("PostgreSQL", testservers.Postgres(t))
	run("SQLite", "sqlite://"+filepath.Join(t.TempDir(), "outbox.db"))
}

// untrue returns the ids of rows as keys, or the table as a tag.
func untrue(changes ...outbox.Change) (ev cache.Eviction) {
	for _, c := range changes {
		if c.Rows == nil {
			ev.Tags = append(ev.Tags, cache.Tag(c.Table))
		}
		for _, r := range c.Rows {
			ev.Keys = append(ev.Keys, cache.Key(c.Table+":"+r.Is["id"]))
		}
	}
	return ev
}

func (c crowded) exec(statement string, args ...any) {
	c.t.Helper()
	if _, err := c.db.NewRaw(statement, args...).Exec(c.t.Context()); err != nil {
		c.t.Fatalf("%.100s: %v", statement, err)
	}
}

// write records n rows in the outbox in one transaction, each for one changed row of a table.
func (c crowded) write(table string, n int) {
	c.t.Helper()
	series, fact := "WITH RECURSIVE g (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < ?1) SELECT ?0, 'UPDATE', %s FROM g",
		`json_array(json_object('was', json_object('id', '' || i), 'is', json_object('id', '' || i), 'changed', json_array('stock')))`
	if c.postgres {
		fact = `jsonb_build_array(jsonb_build_object('was', jsonb_build_object('id', i::text), 'is', jsonb_build_object('id', i::text), 'changed', jsonb_build_array('stock')))`
	}
	c.exec("INSERT INTO cache_outbox (tbl, op, rows) "+fmt.Sprintf(series, fact), table, n)
}

// pages reads all pages of a poll.
func (c crowded) pages(p cache.Page) (pages int, names map[string]int, last cache.News) {
	c.t.Helper()
	names = map[string]int{}
	for next := &p; next != nil; next = last.More {
		var err error
		began := time.Now()
		if last, err = c.Poll(c.t.Context(), *next); err != nil {
			c.t.Fatal(err)
		}
		if pages++; pages < 4 {
			c.t.Logf("page %d: %v", pages, time.Since(began).Round(100*time.Microsecond))
		}
		evs := []cache.Eviction{last.Sum.Eviction}
		for _, w := range last.Writes {
			evs = append(evs, w.Eviction)
		}
		for _, ev := range evs {
			for _, k := range ev.Keys {
				names[string(k)]++
			}
			for _, t := range ev.Tags {
				names[string(t)]++
			}
		}
	}
	return pages, names, last
}

// The writes of one transaction are read in pages of limited size. All of them are read, whatever
// commits meanwhile.
func TestFault10OneTransactionInPages(t *testing.T) {
	t.Parallel()
	eachCrowded(t, func(c crowded) {
		since, err := c.Poll(c.t.Context(), cache.Page{})
		if err != nil {
			c.t.Fatal(err)
		}
		c.write("products", *manyRows)
		c.write("users", 3)
		first, err := c.Poll(c.t.Context(), cache.Page{Since: since.Snapshot})
		if err != nil || first.More == nil {
			c.t.Fatalf("got a first page with %d writes, more %v, error %v", len(first.Writes), first.More, err)
		}
		keys := 0
		for _, w := range first.Writes {
			keys += len(w.Keys)
		}
		if keys != outbox.RowsByTransaction {
			c.t.Errorf("got %d keys on the first page, want RowsByTransaction", keys)
		}
		c.write("reviews", 1)
		began := time.Now()
		pages, names, last := c.pages(*first.More)
		c.t.Logf("%d pages in %v", pages, time.Since(began))
		if most := *manyRows/outbox.RowsByTable + 2; pages > most {
			c.t.Errorf("got %d pages, want at most %d", pages, most)
		}
		if names["products"] == 0 || names["users"]+names["users:3"] == 0 {
			c.t.Errorf("got %d names without those of products and users", len(names))
		}
		if _, names, _ := c.pages(cache.Page{Since: last.Snapshot}); len(names) != 1 || names["reviews:1"] != 1 {
			c.t.Errorf("next poll: got %v, want reviews:1", names)
		}
	})
}

// Retained writes are read in pages by name. A page with too many names has the name of the table
// instead.
func TestFault28RetainedWritesInPages(t *testing.T) {
	t.Parallel()
	eachCrowded(t, func(c crowded) {
		c.write("products", *manyRows/2)
		c.write("users", 7)
		if _, _, err := c.Record(c.t.Context(), cache.Eviction{Keys: []cache.Key{"by hand"}, Tags: []cache.Tag{"a tag"}}); err != nil {
			c.t.Fatal(err)
		}
		c.write("products", *manyRows/2)
		began := time.Now()
		pages, names, last := c.pages(cache.Page{})
		c.t.Logf("%d pages in %v", pages, time.Since(began))
		if names["by hand"] != 1 || names["a tag"] != 1 || names["users:7"] != 1 {
			c.t.Errorf("got %d names, want the manual eviction and users:7 among them", len(names))
		}
		for i := 1; i <= *manyRows/2; i++ {
			if names[fmt.Sprint("products:", i)] < 1 && names["products"] == 0 {
				c.t.Fatalf("got no name of product %d", i)
			}
		}
		if !last.Sum.Undone || !last.Snapshot.Covers(last.Sum.Seen) || last.Sum.Everything {
			c.t.Errorf("got sum %+v on the last page", last.Sum)
		}
	})
}

// If there are too many statements of a thousand rows each, they are polled and relayed by their
// table.
func TestFault27StatementsOfAThousandRows(t *testing.T) {
	t.Parallel()
	eachCrowded(t, func(c crowded) {
		begin, err := c.Poll(c.t.Context(), cache.Page{})
		if err != nil {
			c.t.Fatal(err)
		}
		ids := make([]outbox.Row, 1000)
		for i := range ids {
			ids[i] = outbox.Row{Is: outbox.Values{"id": fmt.Sprint(i, " of a thousand")}}
		}
		rows, err := json.Marshal(ids)
		if err != nil {
			c.t.Fatal(err)
		}
		const statements = 300
		for range statements {
			c.exec("INSERT INTO cache_outbox (tbl, op, rows) VALUES ('products', 'INSERT', ?0)", string(rows))
		}
		c.write("users", 3)
		_, names, _ := c.pages(cache.Page{Since: begin.Snapshot})
		if names["products"] == 0 || len(names) > 3100 {
			c.t.Errorf("got %d names from a poll, want products and at most 3100", len(names))
		}
		most, done := 0, map[string]bool{}
		for left := true; left; {
			r, err := c.Relay(c.t.Context(), cache.Piece{Rows: 300}, func(_ context.Context, ev cache.Eviction) error {
				most = max(most, len(ev.Keys)+len(ev.Tags))
				for _, k := range ev.Keys {
					done[string(k)] = true
				}
				for _, k := range ev.Tags {
					done[string(k)] = true
				}
				return nil
			})
			if err != nil {
				c.t.Fatal(err)
			}
			left = r.Rows == 300
		}
		if most > 2000 || !done["products"] || !done["users:3"] {
			c.t.Errorf("got %d names in one piece, want at most 2000", most)
		}
	})
}

// An open transaction does not make a poll read again the writes after it. Its own writes are read
// once it has committed. The test checks the query plan, not the time.
func TestFault28ATransactionStaysOpen(t *testing.T) {
	t.Parallel()
	c := crowd(t, testservers.Postgres(t))
	open, err := c.db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = open.NewRaw("INSERT INTO cache_outbox (tbl, op) SELECT 'orders', 'TRUNCATE' FROM generate_series(1, ?)", *manyRows/10).Exec(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c.write("products", *manyRows/10)
	}
	_, _, last := c.pages(cache.Page{Since: cache.SnapshotAfter(0)})
	c.write("users", 5)
	for name, analyze := range map[string]string{"as it was filled": "", "with statistics": "ANALYZE cache_outbox"} {
		if analyze != "" {
			c.exec(analyze)
		}
		page := cache.Page{Since: last.Snapshot}
		if read, plan := c.read(page); read > 100 {
			t.Errorf("%s: a poll of 5 rows reads %d, want at most 100: %s", name, read, plan)
		}
		began := time.Now()
		_, names, _ := c.pages(page)
		t.Logf("%s: a poll takes %v", name, time.Since(began))
		if len(names) != 5 {
			t.Errorf("%s: got %v, want 5 names", name, names)
		}
	}
	if err := open.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, names, _ := c.pages(cache.Page{Since: last.Snapshot}); names["orders"] == 0 || names["users:5"]+names["users"] == 0 || len(names) > 7 {
		t.Errorf("after the commit: got %v", names)
	}
	c.exec("ANALYZE cache_outbox")
	if read, plan := c.read(cache.Page{Since: last.Snapshot}); read > 3*outbox.RowsByTransaction {
		t.Errorf("a page of %d rows reads %d, want at most three times as many: %s", outbox.RowsByTransaction, read, plan)
	}
}

// read returns the number of outbox rows that a poll reads. If the poll reads more blocks of the
// table and its index, it returns their number.
func (c crowded) read(p cache.Page) (most int, text string) {
	c.t.Helper()
	err := c.db.NewRaw("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+c.Statement(p)).Scan(c.t.Context(), &text)
	if err != nil {
		c.t.Fatal(err)
	}
	type node struct {
		Type    string  `json:"Node Type"`
		Rows    float64 `json:"Actual Rows"`
		Loops   float64 `json:"Actual Loops"`
		Removed float64 `json:"Rows Removed by Filter"`
		Name    string  `json:"Relation Name"`
		Hit     int     `json:"Shared Hit Blocks"`
		Read    int     `json:"Shared Read Blocks"`
		Plans   []node  `json:"Plans"`
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		c.t.Fatal(err)
	}
	var walk func(node) int
	walk = func(n node) (read int) {
		if strings.Contains(n.Type, "Scan") && n.Name == "cache_outbox" {
			read += int((n.Rows + n.Removed) * n.Loops)
		}
		for _, below := range n.Plans {
			read += walk(below)
		}
		return read
	}
	top := plans[0].Plan
	return max(walk(top), top.Hit+top.Read), text
}

// However many rows are old, they are pruned in pieces, and each piece updates the horizon.
func TestFault10PruningInPieces(t *testing.T) {
	t.Parallel()
	eachCrowded(t, func(c crowded) {
		c.write("products", *manyRows)
		c.write("users", 3)
		pieces := 0
		for more := true; more; pieces++ {
			var err error
			if more, err = c.Prune(c.t.Context(), 0, true); err != nil {
				c.t.Fatal(err)
			}
		}
		if pieces < *manyRows/outbox.PrunedAtOnce {
			c.t.Errorf("got %d pieces, want at least manyRows/PrunedAtOnce", pieces)
		}
		b, err := c.Backlog(c.t.Context())
		if err != nil || b.Rows != 2 {
			c.t.Errorf("got backlog %+v, error %v; want one row for each table", b, err)
		}
	})
}
