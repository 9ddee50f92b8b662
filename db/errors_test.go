package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"

	"fieldcache/internal/testservers"
)

func TestTranslate(t *testing.T) {
	t.Parallel()
	const (
		user   = "INSERT INTO users (name, email, country_code) VALUES "
		review = "INSERT INTO reviews (product_id, author_id, rating, body) VALUES "
	)
	cases := []struct {
		name, statement string
		foreignKey      string
		kind            error
		field, message  string
	}{
		{"email taken", user + "('Ola', 'liv@shop.example', NULL)", "countryCode", ErrConflict, "email", "e-mail address"},
		{"key taken", "INSERT INTO countries (code, name) VALUES ('NO', 'Norge')", "", ErrConflict, "", "taken"},
		{"no such country", user + "('Ola', 'ola@shop.example', 'XX')", "countryCode", ErrInput, "countryCode", "no country with this code"},
		{"no such country, update", "UPDATE users SET country_code = 'XX'", "countryCode", ErrInput, "countryCode", "no country with this code"},
		{"no such product", review + "(99, 1, 5, 'Good.')", "productId", ErrInput, "productId", "no such product"},
		{"no such author", review + "(1, 99, 5, 'Good.')", "authorId", ErrInput, "authorId", "no such user"},
		{"still ordered", "DELETE FROM products", "", ErrConflict, "", "refer"},
		{"still lived in", "DELETE FROM countries", "", ErrConflict, "", "refer"},
		{"rating", review + "(1, 1, 6, 'Good.')", "productId", ErrInput, "rating", "from 1 to 5"},
		{"stock below zero", "UPDATE products SET stock = stock - 10", "", ErrInput, "stock", "negative"},
		{"stock too large", "UPDATE products SET stock = 2147483648", "", ErrInput, "", ""},
		{"price below zero", "UPDATE products SET price_cents = -1", "", ErrInput, "price", "negative"},
		{"quantity", "UPDATE order_lines SET quantity = 0", "", ErrInput, "quantity", "at least 1"},
		{"missing value", "UPDATE products SET category = NULL", "", ErrInput, "category", "required"},
		{"missing column", "INSERT INTO orders (created_at) VALUES (NULL)", "", ErrInput, "", "required"},
	}
	each(t, func(t *testing.T, d testDB) {
		must(d.MigrateUp(t.Context()))(t)
		execute(t, d, `INSERT INTO countries VALUES ('NO', 'Norway');
			INSERT INTO users (name, email, country_code) VALUES ('Liv', 'liv@shop.example', 'NO');
			INSERT INTO products (name, description, category, price_cents, currency, stock) VALUES ('Lamp', 'A lamp.', 'Lighting', 1999, 'EUR', 3);
			INSERT INTO orders (customer_id) VALUES (1);
			INSERT INTO order_lines VALUES (1, 1, 1, 2, 1999, 'EUR')`)
		for _, c := range cases {
			_, raw := d.Bun().NewRaw("?", bun.Safe(c.statement)).Exec(t.Context())
			err := translate(raw, c.foreignKey)
			var refusal *Error
			if !errors.As(err, &refusal) {
				t.Errorf("%s: %v is no *Error", c.name, err)
				continue
			}
			if !errors.Is(err, c.kind) || c.field != "" && refusal.Field != c.field || !strings.Contains(refusal.Message, c.message) {
				t.Errorf("%s: got %v, field %q, message %q; want %v, %q, %q", c.name, refusal.Kind, refusal.Field, refusal.Message, c.kind, c.field, c.message)
			}
			if !errors.Is(err, raw) || !strings.Contains(err.Error(), raw.Error()) {
				t.Errorf("%s: the cause is lost: %v", c.name, err)
			}
			if strings.Contains(strings.ToLower(refusal.Message), "constraint") {
				t.Errorf("%s: the message reveals the database: %q", c.name, refusal.Message)
			}
			if !Rejected(err) || !Rejected(raw) {
				t.Errorf("%s: Rejected returned false", c.name)
			}
			if again := translate(fmt.Errorf("create: %w", err), "other"); errors.Unwrap(again) != err {
				t.Errorf("%s: translated twice: %v", c.name, again)
			}
		}
	})
}

func TestTranslateText(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	must(d.MigrateUp(t.Context()))(t)
	var incompressible strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&incompressible, "%x", i*2654435761)
	}
	for _, statement := range []string{
		"SELECT convert_from('\\xff'::bytea, 'UTF8')",
		"INSERT INTO users (name, email) VALUES ('Liv', '" + incompressible.String() + "')",
		"SELECT 9223372036854775808::bigint",
	} {
		_, err := d.Bun().NewRaw("?", bun.Safe(statement)).Exec(t.Context())
		if err = translate(err, ""); !errors.Is(err, ErrInput) {
			t.Errorf("%.40s…: got %v, want ErrInput", statement, err)
		}
	}
}

func TestTranslateLeavesFaults(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, d testDB) {
		_, err := d.Bun().NewRaw("SELECT * FROM nowhere").Exec(t.Context())
		if got := translate(err, ""); got != err || err == nil {
			t.Errorf("translate changed a fault to %v", got)
		}
		if translate(nil, "") != nil {
			t.Error("translate changed nil to an error")
		}
		if err := translate(fmt.Errorf("read: %w", sql.ErrNoRows), ""); !errors.Is(err, ErrNotFound) || !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("no rows: got %v, want ErrNotFound", err)
		}
	})
}

func TestCheckText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text, want string
	}{
		{"", ""}, {"Zoë 🛒\n\t", ""}, {"a\x00b", "NUL"}, {"a\xffb", "UTF-8"}, {"\xed\xa0\x80", "UTF-8"},
	} {
		err := CheckText("name", c.text)
		if (err == nil) != (c.want == "") {
			t.Errorf("%q: got %v", c.text, err)
		}
		var refusal *Error
		if c.want != "" && (!errors.As(err, &refusal) || refusal.Kind != ErrInput || refusal.Field != "name" || !strings.Contains(refusal.Message, c.want)) {
			t.Errorf("%q: got %v, want ErrInput of name", c.text, err)
		}
	}
}

func TestRejected(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"none", nil, false},
		{"own refusal", fmt.Errorf("place order: %w", Conflict("", "Only %d left.", 2)), true},
		{"not found", NotFound("id", "No such user."), true},
		{"constraint", &pgconn.PgError{Severity: "ERROR", Code: "23505"}, true},
		{"severity in another language", &pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: "ERROR", Code: "40001"}, true},
		{"server shut down", &pgconn.PgError{Severity: "FATAL", Code: "57P01"}, false},
		{"completion unknown", &pgconn.PgError{Severity: "ERROR", Code: "40003"}, false},
		{"connection exception", &pgconn.PgError{Severity: "ERROR", Code: "08006"}, false},
		{"commit became rollback", pgx.ErrTxCommitRollback, true},
		{"connection lost", io.ErrUnexpectedEOF, false},
		{"context expired", context.DeadlineExceeded, false},
	} {
		if got := Rejected(c.err); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestInTx(t *testing.T) {
	t.Parallel()
	own := errors.New("of the caller")
	each(t, func(t *testing.T, d testDB) {
		execute(t, d, "CREATE TABLE t (n int PRIMARY KEY)")
		insert := func(after func(ctx context.Context, tx bun.Tx) error) error {
			return d.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				if _, err := tx.NewRaw("INSERT INTO t VALUES (1)").Exec(ctx); err != nil {
					return err
				}
				return after(ctx, tx)
			})
		}
		err := insert(func(context.Context, bun.Tx) error { return own })
		if !errors.Is(err, own) || !Rejected(err) || err.Error() != own.Error() || count(t, d, "t") != 0 {
			t.Errorf("an error before COMMIT: got %v, rejected %v, %d rows", err, Rejected(err), count(t, d, "t"))
		}
		if err := insert(func(context.Context, bun.Tx) error { return nil }); err != nil || count(t, d, "t") != 1 {
			t.Errorf("committed: got %v and %d rows", err, count(t, d, "t"))
		}
		if err := insert(func(context.Context, bun.Tx) error { return nil }); !errors.Is(err, ErrConflict) || !Rejected(err) {
			t.Errorf("a duplicate: got %v, want ErrConflict, rejected", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = d.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				if _, err := tx.NewRaw("INSERT INTO t VALUES (2)").Exec(ctx); err != nil {
					t.Error(err)
				}
				panic("of the caller")
			})
			t.Error("InTx swallowed the panic")
		}()
		if n := count(t, d, "t"); n != 1 {
			t.Errorf("got %d rows after a panic, want 1", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.InTx(ctx, func(context.Context, bun.Tx) error { return nil }); !errors.Is(err, context.Canceled) || !Rejected(err) {
			t.Errorf("a canceled context: got %v, rejected %v", err, Rejected(err))
		}
	})
}

// If the server dies before COMMIT, the transaction is known to be rejected; if it dies during
// COMMIT, it is not.
func TestInTxServerLost(t *testing.T) {
	t.Parallel()
	server := testservers.PostgresServer(t)
	d := openTest(t, server.URL())
	execute(t, d, `CREATE TABLE t (n int); CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)

	lost := d.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
		server.Stop()
		_, err := tx.NewRaw("INSERT INTO t VALUES (1)").Exec(ctx)
		return err
	})
	if lost == nil || !Rejected(lost) {
		t.Errorf("lost before COMMIT: got %v, rejected %v", lost, Rejected(lost))
	}

	server.Start()
	committing := make(chan error, 1)
	go func() {
		committing <- d.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewRaw("INSERT INTO t VALUES (2)").Exec(ctx)
			return err
		})
	}()
	for { // until the server runs COMMIT
		var n int
		err := d.Bun().NewRaw("SELECT count(*) FROM pg_stat_activity WHERE query = 'commit' AND state = 'active'").Scan(t.Context(), &n)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			break
		}
	}
	server.Stop()
	if err := <-committing; err == nil || Rejected(err) {
		t.Errorf("lost during COMMIT: got %v, rejected %v", err, Rejected(err))
	}
	server.Start()
}
