package testservers

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// asChild makes this test program start servers, print their addresses, and wait for its end.
const asChild = "TESTSERVERS_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(asChild) {
	case "":
		Main(m)
	case "panic":
		child()
		panic("as the test asked")
	case "end":
		child()
		if err := shared.end(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		child()
		select {}
	}
}

func child() {
	for _, start := range []func() (string, error){shared.postgres, shared.redis} {
		address, err := start()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(address)
	}
	fmt.Println(shared.opened.dir)
}

func TestNothingIsLeft(t *testing.T) {
	for _, ending := range []string{"kill", "panic", "end"} {
		t.Run(ending, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			for _, v := range os.Environ() {
				if !strings.HasPrefix(v, "TEST_") {
					cmd.Env = append(cmd.Env, v)
				}
			}
			cmd.Env = append(cmd.Env, asChild+"="+ending)
			cmd.Stderr = t.Output()
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var printed []string
			for lines := bufio.NewScanner(out); len(printed) < 3 && lines.Scan(); {
				printed = append(printed, lines.Text())
			}
			if len(printed) < 3 {
				t.Fatalf("the child exited after printing %q: %v", printed, cmd.Wait())
			}
			if ending == "kill" {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if err := cmd.Wait(); (err == nil) != (ending == "end") {
				t.Errorf("the child exited with %v", err)
			}
			eventually(t, "the folder is removed", func() bool {
				_, err := os.Stat(printed[2])
				return errors.Is(err, os.ErrNotExist)
			})
			for _, address := range printed[:2] {
				gone := &process{url: address}
				eventually(t, "nothing answers at "+address, func() bool {
					return errors.Is(gone.listens(t.Context()), syscall.ECONNREFUSED)
				})
			}
		})
	}
}

func TestDatabasesAreSeparate(t *testing.T) {
	var postgres, redises sync.Map // URL to test
	var running sync.WaitGroup     // both tests hold theirs until both have one
	running.Add(2)
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ready := sync.OnceFunc(running.Done)
			defer ready() // even if there is no database, so that the other test does not wait forever
			pg, rd := Postgres(t), Redis(t)
			ready()
			if other, taken := postgres.LoadOrStore(pg, name); taken {
				t.Errorf("%s also belongs to test %v", pg, other)
			}
			if other, taken := redises.LoadOrStore(rd, name); taken {
				t.Errorf("%s also belongs to test %v", rd, other)
			}
			if err := execute(pg, "CREATE TABLE mine (id bigint)"); err != nil {
				t.Error(err)
			}
			c := client(t, rd)
			if size, err := c.DBSize(t.Context()).Result(); err != nil || size != 0 {
				t.Errorf("the Redis database holds %d keys (%v), want 0", size, err)
			}
			if err := c.Set(t.Context(), "mine", name, 0).Err(); err != nil {
				t.Error(err)
			}
			running.Wait()
			if got, err := c.Get(t.Context(), "mine").Result(); err != nil || got != name {
				t.Errorf("got %q (%v) from Redis, want %q", got, err, name)
			}
		})
	}
}

func TestDatabasesAreRemoved(t *testing.T) {
	var pg, rd string
	t.Run("use", func(t *testing.T) {
		pg, rd = Postgres(t), Redis(t)
		if err := client(t, rd).Set(t.Context(), "key", "value", 0).Err(); err != nil {
			t.Fatal(err)
		}
	})
	if err := execute(pg, "SELECT 1"); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("the database is still there: %v", err)
	}
	if size, err := client(t, rd).DBSize(t.Context()).Result(); err != nil || size != 0 {
		t.Errorf("the Redis database holds %d keys (%v), want 0", size, err)
	}
}

func TestPostgresFromCopiesWhatWasPreparedOnce(t *testing.T) {
	var prepared atomic.Int32
	contents := "numbers " + rand.Text() // the test may run more than once in a process
	for _, name := range []string{"one", "two", "three"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := PostgresFrom(t, contents, func(address string) error {
				prepared.Add(1)
				return execute(address, "CREATE TABLE numbers AS SELECT generate_series(1, 1000) AS n")
			})
			if n := prepared.Load(); n != 1 {
				t.Errorf("prepared %d times, want 1", n)
			}
			conn := connectPostgres(t, address)
			var sum int
			if err := conn.QueryRow(t.Context(), "WITH gone AS (DELETE FROM numbers RETURNING n) SELECT sum(n) FROM gone").Scan(&sum); err != nil || sum != 500500 {
				t.Errorf("got the sum %d (%v), want 500500 as prepared", sum, err)
			}
		})
	}
}

func TestClaimLeavesWhatIsNotOurs(t *testing.T) {
	s := RedisServer(t)
	c := client(t, s.URL())
	fill := c.Conn()
	defer fill.Close()
	if _, err := fill.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for number := range 1024 {
			if number != 7 { // the only empty one
				p.Do(t.Context(), "SELECT", number)
				p.Set(t.Context(), "theirs", "here", 0)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	number, err := claim(s.URL())
	if err != nil || number != 7 {
		t.Fatalf("claimed database %d (%v), want 7, the only empty one", number, err)
	}
	if err := release(s.URL(), number); err != nil {
		t.Fatal(err)
	}
	info, err := c.Info(t.Context(), "keyspace").Result()
	if n := strings.Count(info, "keys=1,"); err != nil || n != 1023 {
		t.Errorf("%d of 1023 databases still hold their key (%v), want all", n, err)
	}
}

func TestServerStopsAndStarts(t *testing.T) {
	tests := map[string]func(testing.TB) *Server{"postgres": PostgresServer, "redis": RedisServer}
	for name, start := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			before := s.URL()
			if err := s.p.answers(t.Context(), s.p); err != nil {
				t.Fatal(err)
			}
			s.Stop()
			s.Stop()
			if err := s.p.listens(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("a connection to a stopped server got %v", err)
			}
			s.Start()
			if s.URL() != before {
				t.Errorf("the URL changed from %s to %s", before, s.URL())
			}
			if err := s.p.answers(t.Context(), s.p); err != nil {
				t.Error(err)
			}
			s.Pause()
			s.Pause()
			s.Stop()
			s.Start()
		})
	}
}

func TestServerFreezes(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		s := PostgresServer(t)
		conn := connectPostgres(t, s.URL())
		freezes(t, s, func(ctx context.Context) error {
			_, err := conn.Exec(context.WithoutCancel(ctx), "SELECT 1")
			return err
		})
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		s := RedisServer(t)
		c := client(t, s.URL())
		freezes(t, s, func(ctx context.Context) error { return c.Ping(ctx).Err() })
	})
}

// freezes sends a request to the paused server and checks that the response arrives only after
// Resume.
func freezes(t *testing.T, s *Server, call func(context.Context) error) {
	t.Helper()
	if err := call(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Pause()
	answer := make(chan error, 1)
	go func() { answer <- call(t.Context()) }()
	select {
	case err := <-answer:
		t.Errorf("a frozen server responded: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	s.Resume()
	if err := <-answer; err != nil {
		t.Errorf("after Resume: %v", err)
	}
}

func TestRedisServerRestartsOnAnOldDump(t *testing.T) {
	t.Parallel()
	s := RedisServer(t)
	c := client(t, s.URL())
	set := func(value string) {
		t.Helper()
		if err := c.Set(t.Context(), "key", value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("old")
	if err := c.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	set("new")
	s.Stop()
	s.Start()
	if got, err := c.Get(t.Context(), "key").Result(); err != nil || got != "old" {
		t.Errorf("got %q (%v), want the value that SAVE wrote", got, err)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	h, err := shared.home()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := startRedis(h); err == nil || !strings.Contains(err.Error(), "install the package redis-server") {
		t.Errorf("without redis-server: got %v", err)
	}
	bin, err := postgresPrograms()
	if installed, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(installed) == 0 {
		if err == nil || !strings.Contains(err.Error(), "install the package postgresql") {
			t.Errorf("without PostgreSQL: got %v", err)
		}
	} else if err != nil || !strings.HasPrefix(bin, "/usr/lib/postgresql/") {
		t.Errorf("with %q: got %q, %v", installed, bin, err)
	}
}

func client(t *testing.T, address string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(address)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(options)
	t.Cleanup(func() { c.Close() })
	return c
}

func connectPostgres(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out after %v waiting until %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
