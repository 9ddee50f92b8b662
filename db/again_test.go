package db

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/uptrace/bun"

	"fieldcache/internal/testservers"
)

// load reads and writes with several clients until disturb returns, and fails the test for each
// error. The function passed to disturb waits until the clients have made progress.
func load(t *testing.T, d testDB, disturb func(getOn func())) {
	t.Helper()
	var added, unknown atomic.Int64
	var users sync.WaitGroup
	stop := make(chan struct{})
	for i := range 6 {
		users.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				ctx := t.Context()
				_, _, err := d.UsersByID(ctx, []int64{1, 2})
				fail(t, "read users", err)
				_, _, err = d.ProductPage(ctx, nil, Window{First: 5})
				fail(t, "read a page", err)
				author := int64(1)
				_, err = d.AddReview(ctx, &Review{ProductID: 2, AuthorID: &author, Rating: 5, Body: "x"})
				if errors.Is(err, ErrUnavailable) && !Rejected(err) {
					unknown.Add(1) // the connection was lost during the commit
				} else if fail(t, "add a review", err); err == nil {
					added.Add(1)
				}
				_, err = d.SetStock(ctx, 1, n)
				if !errors.Is(err, ErrUnavailable) || Rejected(err) {
					fail(t, "set the stock", err)
				}
				_, _, err = d.UpdateUser(ctx, 1+int64(i%2), UserPatch{Bio: new(new(fmt.Sprint(n)))})
				if !errors.Is(err, ErrUnavailable) || Rejected(err) {
					fail(t, "update a user", err)
				}
			}
		})
	}
	disturb(func() {
		for began := added.Load() + unknown.Load(); added.Load()+unknown.Load() < began+12 && !t.Failed(); {
			time.Sleep(time.Millisecond)
		}
	})
	close(stop)
	users.Wait()
	there := count(t, d, "reviews")
	if least, most := added.Load()+2, added.Load()+unknown.Load()+2; there < least || there > most {
		t.Errorf("got %d reviews, want %d to %d: a write was lost or repeated", there, least, most)
	}
}

func fail(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// TestFault15AlteredTable alters tables and indexes under load: reads and writes do not fail.
func TestFault15AlteredTable(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	fillShop(t, d)
	operator := openTest(t, d.url)
	run := func(statement string, i int) {
		t.Helper()
		// The statement may itself be the victim of a deadlock.
		_, err := operator.change(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewRaw(fmt.Sprintf(statement, i)).Exec(ctx)
			return err
		})
		fail(t, statement, err)
	}
	load(t, d, func(getOn func()) {
		for i := range 8 {
			run("ALTER TABLE users ADD COLUMN extra%d text", i)
			run("ALTER TABLE products ADD COLUMN extra%d text DEFAULT 'x'", i)
			run("CREATE INDEX extra%d ON reviews (rating)", i)
			getOn()
			run("DROP INDEX extra%d", i)
			run("ALTER TABLE reviews ADD COLUMN extra%d int", i)
			getOn()
		}
	})
}

// TestFault15Terminated terminates every connection repeatedly under load.
func TestFault15Terminated(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	fillShop(t, d)
	operator := openTest(t, d.url)
	load(t, d, func(getOn func()) {
		for range 12 {
			execute(t, operator, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "+
				"WHERE datname = current_database() AND pid <> pg_backend_pid()")
			getOn()
		}
	})
}

// TestFault15Forgotten drops the prepared statements of every connection, as a pooler's DISCARD ALL
// does.
func TestFault15Forgotten(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	d.Bun().SetMaxOpenConns(1)
	fillShop(t, d)
	for range 3 {
		all(t, d)
		execute(t, d, "DEALLOCATE ALL")
	}
	if _, _, err := d.UsersByID(t.Context(), []int64{1}); err != nil {
		t.Error(err)
	}
}

// TestFault15Deadlock makes two transactions deadlock: the victim runs again.
func TestFault15Deadlock(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	fillShop(t, d)
	var first sync.WaitGroup
	first.Add(2)
	var attempts atomic.Int64
	lockBoth := func(ids ...int) error {
		meet := sync.OnceFunc(func() { first.Done(); first.Wait() })
		_, err := d.change(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			attempts.Add(1)
			for _, id := range ids {
				if _, err := tx.NewRaw("UPDATE products SET stock = stock + 1 WHERE id = ?", id).Exec(ctx); err != nil {
					return err
				}
				meet()
			}
			return nil
		})
		return err
	}
	pieces := func() (n int) {
		t.Helper()
		if err := d.bun.NewRaw("SELECT sum(stock) FROM products WHERE id IN (1, 2)").Scan(t.Context(), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := pieces()
	var both sync.WaitGroup
	both.Go(func() { fail(t, "one", lockBoth(1, 2)) })
	both.Go(func() { fail(t, "the other", lockBoth(2, 1)) })
	both.Wait()
	// The victim may meet the other transaction a second time.
	if n := attempts.Load(); n < 3 {
		t.Errorf("got %d attempts, want at least 3: there was no deadlock", n)
	}
	if more := pieces() - before; more != 4 {
		t.Errorf("the two transactions added %d, want 4", more)
	}
}

// TestFault15Away shows the errors while the database is stopped, and that it is used again
// afterwards.
func TestFault15Away(t *testing.T) {
	t.Parallel()
	server := testservers.PostgresServer(t)
	d := openTest(t, server.URL())
	fillShop(t, d)
	all(t, d)
	server.Stop()
	_, _, err := d.UsersByID(t.Context(), []int64{1})
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("a read: got %v, want ErrUnavailable", err)
	}
	if _, err = d.SetStock(t.Context(), 1, 1); !errors.Is(err, ErrUnavailable) || !Rejected(err) {
		t.Errorf("a write: got %v, want ErrUnavailable, rejected", err)
	}
	if _, err = d.DeleteUser(t.Context(), 1); !errors.Is(err, ErrUnavailable) || !Rejected(err) {
		t.Errorf("a transaction: got %v, want ErrUnavailable, rejected", err)
	}
	server.Start()
	all(t, d)
}

// TestFault15ConnectionsRefused shows the errors while the server refuses connections: it answers a write that it has never
// seen, which was certainly not made.
func TestFault15ConnectionsRefused(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	fillShop(t, d)
	config := must(pgx.ParseConfig(d.url))(t)
	name := config.Database
	config.Database = "postgres"
	admin := must(pgx.ConnectConfig(t.Context(), config))(t)
	defer func() { _ = admin.Close(t.Context()) }()
	allow := func(yes bool) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS %t", pgx.Identifier{name}.Sanitize(), yes)); err != nil {
			t.Fatal(err)
		}
	}
	d.bun.SetMaxIdleConns(0)
	allow(false)
	if _, _, err := d.UsersByID(t.Context(), []int64{1}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a read: got %v, want ErrUnavailable", err)
	}
	for write, err := range map[string]error{
		"a statement":   second(d.SetStock(t.Context(), 1, 1)),
		"a transaction": second(d.DeleteUser(t.Context(), 1)),
	} {
		var own *Error
		if !errors.As(err, &own) || own.Kind != ErrUnavailable || own.Uncertain || !Rejected(err) {
			t.Errorf("%s: got %v, want ErrUnavailable, rejected, and certainly so", write, err)
		}
	}
	allow(true)
	all(t, d)
}

// TestFault15Codes maps the server's error codes to kinds of errors.
func TestFault15Codes(t *testing.T) {
	t.Parallel()
	d := openPostgresTest(t)
	for code, want := range map[string]error{
		"57P03": ErrUnavailable, "53300": ErrUnavailable, "53100": ErrUnavailable, "25006": ErrUnavailable, "08006": ErrUnavailable,
		"57014": ErrTimeout, "55P03": ErrConflict, "40001": ErrConflict, "XX001": nil,
	} {
		raise := "DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '" + code + "'; END $$"
		err := d.InTx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			_, err := tx.NewRaw("?", bun.Safe(raise)).Exec(ctx)
			return err
		})
		var own *Error
		if want == nil && errors.As(err, &own) || want != nil && !errors.Is(err, want) || !Rejected(err) {
			t.Errorf("%s: got %v, want the kind %v, rejected", code, err, want)
		}
	}
}
