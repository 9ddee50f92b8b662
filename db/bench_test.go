package db

import (
	"strings"
	"testing"

	"fieldcache/internal/testservers"
)

// BenchmarkUpdateUser measures the cost of the triggers: updates of one row, on a server that does
// not wait for its disk, where the difference is largest.
func BenchmarkUpdateUser(b *testing.B) {
	d, err := Open(b.Context(), Options{URL: testservers.Postgres(b)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	if _, err := d.MigrateUp(b.Context()); err != nil {
		b.Fatal(err)
	}
	if _, err := d.CreateUser(b.Context(), &User{Name: "Liv", Email: "liv@shop.example"}); err != nil {
		b.Fatal(err)
	}
	for name, statement := range map[string]string{
		"triggers=on":  "ALTER TABLE users ENABLE TRIGGER USER",
		"triggers=off": "ALTER TABLE users DISABLE TRIGGER USER",
	} {
		b.Run(name, func(b *testing.B) {
			if _, err := d.Bun().DB.ExecContext(b.Context(), statement); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				bio := strings.Repeat("b", b.N%100)
				text := &bio
				if _, _, err := d.UpdateUser(b.Context(), 1, UserPatch{Bio: &text}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
