package outbox_test

import (
	"database/sql"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"fieldcache/cache/outbox"
)

// ChangeOf returns the change of a row from its JSON before and after.
func TestChangeOf(t *testing.T) {
	t.Parallel()
	type v = outbox.Values
	for name, c := range map[string]struct {
		was, is string
		want    outbox.Row
	}{
		"a new row":                  {"", `{"id": 7, "name": "a"}`, outbox.Row{Is: v{"id": "7", "name": "a"}}},
		"a deleted row":              {`{"id": 7, "name": "a"}`, "", outbox.Row{Was: v{"id": "7", "name": "a"}}},
		"a changed column":           {`{"id": 7, "name": "a"}`, `{"id": 7, "name": "b"}`, outbox.Row{Was: v{"id": "7", "name": "a"}, Is: v{"id": "7", "name": "b"}, Changed: []string{"name"}}},
		"an update without a change": {`{"id": 7}`, `{"id": 7}`, outbox.Row{Was: v{"id": "7"}, Is: v{"id": "7"}}},
		"a column becomes NULL":      {`{"id": 7, "name": "a"}`, `{"id": 7, "name": null}`, outbox.Row{Was: v{"id": "7", "name": "a"}, Is: v{"id": "7"}, Changed: []string{"name"}}},
		"NULL becomes a text":        {`{"id": 7, "name": null}`, `{"id": 7, "name": ""}`, outbox.Row{Was: v{"id": "7"}, Is: v{"id": "7", "name": ""}, Changed: []string{"name"}}},
		"the text null":              {`{"id": 7, "name": null}`, `{"id": 7, "name": "null"}`, outbox.Row{Was: v{"id": "7"}, Is: v{"id": "7", "name": "null"}, Changed: []string{"name"}}},
		"a number beyond float64":    {"", `{"id": 9007199254740993}`, outbox.Row{Is: v{"id": "9007199254740993"}}},
		"an escaped text":            {"", `{"name": "a\u0022\n"}`, outbox.Row{Is: v{"name": "a\"\n"}}},
		"an escaped name":            {"", `{"na\u006de": "a", "b": true}`, outbox.Row{Is: v{"name": "a", "b": "true"}}},
		"without blanks":             {`{"id":7,"name":"a","on":false,"n":-1.50}`, `{"id":7,"name":"a, \"b\"}","on":true,"n":-1.50}`, outbox.Row{Was: v{"id": "7", "name": "a", "on": "false", "n": "-1.50"}, Is: v{"id": "7", "name": `a, "b"}`, "on": "true", "n": "-1.50"}, Changed: []string{"name", "on"}}},
		"braces in a text":           {"", `{"name": "a},{b", "other": ":\u00fc"}`, outbox.Row{Is: v{"name": "a},{b", "other": ":ü"}}},
		"an object and a list":       {"", `{"o": {"a": 1, "a": 2}, "l": [1,2]}`, outbox.Row{Is: v{"o": `{"a": 1, "a": 2}`, "l": "[1,2]"}}},
		"no columns":                 {"", `{}`, outbox.Row{Is: v{}}},
		"several, in order":          {`{"c": 1, "a": 1, "b": 1}`, `{"c": 2, "a": 2, "b": 1}`, outbox.Row{Was: v{"c": "1", "a": "1", "b": "1"}, Is: v{"c": "2", "a": "2", "b": "1"}, Changed: []string{"a", "c"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := outbox.ChangeOf("users", outbox.Update, c.was, c.is)
			if want := (outbox.Change{Table: "users", Op: outbox.Update, Rows: []outbox.Row{c.want}}); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, error %v, want %+v", got, err, want)
			}
		})
	}
	for _, c := range [][2]string{{"{", ""}, {"", "[1]"}, {`{"a": 1}`, "x"}, {"", `{"a": 1} ` + "x"}, {"", `{"a": "b}`}, {"", `{"a": nul}`}, {"", `{"a": 1,}`}, {"", `{"a" 1}`}, {"", `{"a": }`}, {"", "{\"a\": \"\xff\"}"}} {
		if got, err := outbox.ChangeOf("users", outbox.Update, c[0], c[1]); err == nil || len(got.Rows) > 0 {
			t.Errorf("%q: got %+v, error %v, want an error", c, got, err)
		}
	}
}

// Mine returns what the transaction itself has written since its mark, before it commits. It
// returns no writes of others.
func TestMine(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b box) {
		write := func(tx *sql.Tx, id int) {
			t.Helper()
			if _, err := tx.ExecContext(t.Context(), fmt.Sprintf("INSERT INTO things (id, name) VALUES (%d, 'z')", id)); err != nil {
				t.Fatal(err)
			}
		}
		first, err := b.db.DB.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		write(first, 1)
		if err := first.Commit(); err != nil {
			t.Fatal(err)
		}
		tx, err := b.db.DB.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		mark, err := b.at.Mark(t.Context(), tx)
		if err != nil {
			t.Fatal(err)
		}
		if _, changes, err := b.at.Mine(t.Context(), tx, mark); err != nil || len(changes) > 0 {
			t.Errorf("before the first write: got %v, error %v", changes, err)
		}
		write(tx, 2)
		write(tx, 3)
		number, changes, err := b.at.Mine(t.Context(), tx, mark)
		var ids []string
		for _, c := range changes {
			for _, r := range c.Rows {
				ids = append(ids, c.Table+":"+r.Is["id"])
			}
		}
		if err != nil || !slices.Equal(ids, []string{"things:2", "things:3"}) {
			t.Errorf("got %v, error %v; want things 2 and 3", ids, err)
		}
		if b.postgres { // there a transaction has one number; in SQLite the number is that of the last row
			if again, _, err := b.at.Mine(t.Context(), tx, mark); err != nil || again != number {
				t.Errorf("got number %v, then %v, error %v", number, again, err)
			}
		}
	})
}

func BenchmarkChangeOf(b *testing.B) {
	was := `{"id": 7, "bio": "Likes long walks.", "name": "Ann", "email": "ann@example.com", "created_at": "2026-01-02T03:04:05.678+00:00", "updated_at": "2026-01-02T03:04:05.678+00:00", "country_code": "DE"}`
	is := `{"id": 7, "bio": "Likes short walks.", "name": "Ann", "email": "ann@example.com", "created_at": "2026-01-02T03:04:05.678+00:00", "updated_at": "2026-02-02T03:04:05.678+00:00", "country_code": null}`
	b.ReportAllocs()
	for b.Loop() {
		if _, err := outbox.ChangeOf("users", outbox.Update, was, is); err != nil {
			b.Fatal(err)
		}
	}
}
