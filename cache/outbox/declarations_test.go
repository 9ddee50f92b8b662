package outbox_test

import (
	"fmt"
	"testing"

	"fieldcache/cache/outbox"
	"fieldcache/internal/testservers"
)

// BenchmarkWrite measures an UPDATE of one row, by the number of declarations that name its table.
func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{0, 1, 10, 50} {
		b.Run(fmt.Sprintf("declarations=%d", n), func(b *testing.B) {
			db := opened(b, "pgx", testservers.Postgres(b))
			columns := ""
			for i := range 10 {
				columns += fmt.Sprintf(", c%d int NOT NULL DEFAULT 0, m%d int NOT NULL DEFAULT %d", i, i, i)
			}
			if _, err := db.Exec("CREATE TABLE things (id int PRIMARY KEY" + columns + ")"); err != nil {
				b.Fatal(err)
			}
			if _, err := db.Exec("INSERT INTO things (id) SELECT generate_series(1, 1000)"); err != nil {
				b.Fatal(err)
			}
			var rows []outbox.Rows
			for i := range n { // each of ten matching columns is combined with each of ten other columns
				rows = append(rows, outbox.Rows{Of: fmt.Sprint(i), Table: "things", Match: []string{fmt.Sprintf("m%d", i%10)}, Columns: []string{fmt.Sprintf("c%d", (i+i/10)%10)}})
			}
			if n > 0 {
				place := outbox.PostgreSQL("")
				found, err := place.Describe(b.Context(), db, "things")
				if err != nil {
					b.Fatal(err)
				}
				tags, err := outbox.NewRowTags(func(table string) (outbox.TableInfo, bool) { i, ok := found[table]; return i, ok }, rows...)
				if err != nil {
					b.Fatal(err)
				}
				if err := place.Install(b.Context(), db, tags.Tables()); err != nil {
					b.Fatal(err)
				}
			}
			i := 0
			for b.Loop() {
				if _, err := db.Exec("UPDATE things SET c0 = c0 + 1 WHERE id = $1", 1+i%1000); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
