package testservers

import (
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// PrimaryServer is [PostgresServer] for a server that can have standbys.
func PrimaryServer(t testing.TB) *Server {
	t.Helper()
	return newServer(t, func(h *home) (*process, error) {
		return startPostgresWith(h, "wal_level=replica", "max_wal_senders=4")
	}, syscall.SIGINT)
}

// Standby starts a hot standby of a [PrimaryServer], with everything that is committed so far.
func (s *Server) Standby() *Server {
	s.t.Helper()
	primary := s.p
	standby := newServer(s.t, func(h *home) (*process, error) {
		bin, err := postgresPrograms()
		if err != nil {
			return nil, err
		}
		dir, err := h.newDir("postgres")
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(primary.url)
		if err != nil {
			return nil, err
		}
		data := filepath.Join(dir, "data")
		backup := h.command(dir, filepath.Join(bin, "pg_basebackup"), "-D", data, "-h", u.Hostname(), "-p", u.Port(),
			"-U", "postgres", "-c", "fast", "-X", "stream", "-R", "--no-sync")
		if out, err := backup.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("pg_basebackup: %w\n%s", err, out)
		}
		p := &process{home: h, kind: "postgres", dir: dir, answers: postgresAnswers}
		return p, p.startPostgres(bin, data, "wal_level=replica", "max_wal_senders=4")
	}, syscall.SIGINT)
	standby.catchUp(s)
	return standby
}

// catchUp waits until the standby has what is committed on its primary.
func (s *Server) catchUp(primary *Server) {
	s.t.Helper()
	var at string
	s.query(primary.p.url, "SELECT pg_current_wal_lsn()::text", &at)
	for here := false; !here; {
		s.query(s.p.url, "SELECT coalesce(pg_last_wal_replay_lsn() >= '"+at+"', false)", &here)
	}
}

// Detach disconnects a standby from its primary.
func (s *Server) Detach() {
	s.t.Helper()
	if err := execute(s.p.url, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"); err != nil {
		s.t.Fatal("testservers:", err)
	}
	for left := true; left; {
		s.query(s.p.url, "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)", &left)
	}
}

// Promote makes a standby a primary.
func (s *Server) Promote() {
	s.t.Helper()
	if err := execute(s.p.url, "SELECT pg_promote(true, 60)"); err != nil {
		s.t.Fatal("testservers:", err)
	}
}

// query reads one value.
func (s *Server) query(address, statement string, value any) {
	s.t.Helper()
	if err := queryRow(address, statement, value); err != nil {
		s.t.Fatal("testservers:", err)
	}
}

// Dump writes the contents of the database at a URL into a file in pg_dump's custom format.
func Dump(t testing.TB, address, file string) {
	t.Helper()
	runClient(t, "pg_dump", "-Fc", "-f", file, "-d", address)
}

// Restore restores a file of [Dump] into the database at a URL. Options are those of pg_restore,
// such as --clean.
func Restore(t testing.TB, address, file string, options ...string) {
	t.Helper()
	runClient(t, "pg_restore", append(options, "--no-owner", "-d", address, file)...)
}

func runClient(t testing.TB, program string, args ...string) {
	t.Helper()
	bin, err := postgresPrograms()
	if err != nil {
		t.Fatal("testservers:", err)
	}
	if out, err := exec.Command(filepath.Join(bin, program), args...).CombinedOutput(); err != nil {
		t.Fatalf("testservers: %s: %v\n%s", program, err, out)
	}
}

// RaiseNumbers sets the next transaction number of a stopped PostgreSQL server, as after many
// writes.
func (s *Server) RaiseNumbers(next uint32) {
	s.t.Helper()
	bin, err := postgresPrograms()
	if err != nil {
		s.t.Fatal("testservers:", err)
	}
	reset := s.p.home.command(s.p.dir, filepath.Join(bin, "pg_resetwal"), "-x", strconv.FormatUint(uint64(next), 10), "-D", filepath.Join(s.p.dir, "data"))
	if out, err := reset.CombinedOutput(); err != nil {
		s.t.Fatalf("testservers: pg_resetwal: %v\n%s", err, out)
	}
	// The server keeps the status of each million transactions in a file, and expects that file to
	// exist.
	segment := filepath.Join(s.p.dir, "data", "pg_xact", fmt.Sprintf("%04X", next/(1<<20)))
	zero := s.p.home.command(s.p.dir, "dd", "if=/dev/zero", "of="+segment, "bs=8192", "count=32", "status=none")
	if out, err := zero.CombinedOutput(); err != nil {
		s.t.Fatalf("testservers: make %s: %v\n%s", segment, err, out)
	}
}
