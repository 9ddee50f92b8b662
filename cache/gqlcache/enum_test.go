package gqlcache_test

import (
	"database/sql"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	_ "modernc.org/sqlite"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/shapes/starwars"
)

// An enum that is a number in Go does not determine the text in the database. Rows would not be
// found by it, so Open refuses it.
func TestOpenRefusesNumbersForNames(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../internal/shapes/starwars/schema.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ column, want string }{
		{"name", "Starship.length: {$args.unit} is a number in Go, a *starwars.LengthUnit, and the column starships.name holds text"},
		{"unit", ""}, // a column of numbers
	} {
		input := strings.Replace(string(text), "table: \"starships\", match: \"id = {$parent.id}\"", "table: \"starships\", match: \""+c.column+" = {$args.unit}\"", 1)
		if input == string(text) {
			t.Fatal("Starship.length does not declare the rows that the test replaces")
		}
		schema, err := gqlparser.LoadSchema(&ast.Source{Input: input + gqlcache.Directives})
		if err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", "file:"+t.TempDir()+"/a.db?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if _, err := db.ExecContext(t.Context(), starwars.Tables+"; ALTER TABLE starships ADD COLUMN unit INTEGER"); err != nil {
			t.Fatal(err)
		}
		es := starwars.NewExecutableSchema(starwars.Config{Schema: schema, Resolvers: &starwars.Resolver{DB: db}})
		g, err := gqlcache.Open(t.Context(), es, gqlcache.Options{Database: db, Log: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = g.Close()
		}
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: got error %v", c.column, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got error %v, want %s", c.column, err, c.want)
		}
	}
}
