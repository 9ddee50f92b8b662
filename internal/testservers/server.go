package testservers

import (
	"context"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL or Redis server for one test, which may make it fail. Its methods fail the
// test if they cannot do their work, so only the test's own goroutine may call them. It ends with
// the test.
type Server struct {
	t testing.TB
	// crash is the signal that Stop sends.
	crash syscall.Signal

	mu     sync.Mutex // guards the fields below
	p      *process
	frozen []int // the processes to resume
}

// PostgresServer starts a PostgreSQL server for this test alone. Its URL names
// an empty database.
func PostgresServer(t testing.TB) *Server {
	t.Helper()
	return newServer(t, startPostgres, syscall.SIGINT)
}

// RedisServer starts a Redis server for this test alone, with 1024 databases. When it stops it
// loses everything except what the command SAVE wrote: it then starts on an old dump.
func RedisServer(t testing.TB) *Server {
	t.Helper()
	return newServer(t, startRedis, syscall.SIGKILL)
}

func newServer(t testing.TB, start func(*home) (*process, error), crash syscall.Signal) *Server {
	t.Helper()
	h, err := shared.home()
	if err != nil {
		t.Fatal("testservers:", err)
	}
	p, err := start(h)
	if err != nil {
		t.Fatal("testservers:", err)
	}
	s := &Server{t: t, crash: crash, p: p}
	t.Cleanup(func() {
		s.Stop()
		if err := os.RemoveAll(p.dir); err != nil {
			t.Error("testservers:", err)
		}
	})
	return s
}

// URL returns the server's address, which stays the same across restarts.
func (s *Server) URL() string { return s.p.url }

// Stop stops the server at once, even a frozen one, and returns when it has exited. PostgreSQL
// closes its connections with an error first and keeps its data; Redis is killed. Stopping a
// stopped server does nothing.
func (s *Server) Stop() {
	s.t.Helper()
	s.Resume()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.p.stop(s.crash); err != nil {
		s.t.Fatal("testservers:", err)
	}
}

// Start starts a stopped server again and returns when it responds.
func (s *Server) Start() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.p.cmd != nil {
		s.t.Fatal("testservers: Start: the server runs: call Stop before")
	}
	if err := s.p.start(); err != nil {
		s.t.Fatal("testservers:", err)
	}
}

// Pause freezes the server: connections stay open and are accepted, but there are no responses
// until Resume.
func (s *Server) Pause() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.p.cmd == nil {
		s.t.Fatal("testservers: Pause: the server is stopped: call Start before")
	}
	if s.frozen != nil {
		return
	}
	var err error
	if s.p.kind == "postgres" {
		s.frozen, err = freezePostgres(s.p)
	} else {
		s.frozen, err = freeze(s.p.cmd.Process.Pid)
	}
	if err != nil {
		s.t.Fatal("testservers: Pause:", err)
	}
}

// Resume resumes a frozen server. On other servers it does nothing.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pid := range s.frozen {
		syscall.Kill(pid, syscall.SIGCONT) // fails for a process that has exited meanwhile
	}
	s.frozen = nil
}

// freezePostgres stops a server's main process and those that serve connections. The main process
// comes first: while it is stopped, no new processes appear.
func freezePostgres(p *process) ([]int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	frozen, err := freeze(p.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
	if err != nil {
		return frozen, err
	}
	children, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		return frozen, err
	}
	more, err := freeze(children...)
	return append(frozen, more...), err
}

// freeze stops processes and returns those that it stopped.
func freeze(pids ...int) ([]int, error) {
	var frozen []int
	for _, pid := range pids {
		switch err := syscall.Kill(pid, syscall.SIGSTOP); err {
		case nil:
			frozen = append(frozen, pid)
		case syscall.ESRCH: // it has exited since it was listed
		default:
			return frozen, err
		}
	}
	return frozen, nil
}
