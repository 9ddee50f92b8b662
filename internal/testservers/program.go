package testservers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Build builds a program of this module, once per test process, and returns the file. It has the
// race detector if the test has it, for the same packages.
func Build(t testing.TB, pkg string) string {
	t.Helper()
	shared.mu.Lock()
	build, ok := shared.programs[pkg]
	if !ok {
		build = sync.OnceValues(func() (string, error) { return buildProgram(pkg) })
		shared.programs[pkg] = build
	}
	shared.mu.Unlock()
	file, err := build()
	if err != nil {
		t.Fatal("testservers:", err)
	}
	return file
}

func buildProgram(pkg string) (string, error) {
	h, err := shared.home()
	if err != nil {
		return "", err
	}
	dir, err := h.newDir("program")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, filepath.Base(pkg))
	args := []string{"build", "-ldflags=-s -w", "-o", file}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings { // with the test's flags, so that the packages are compiled already
			if slices.Contains([]string{"-race", "-gcflags"}, s.Key) {
				args = append(args, s.Key+"="+s.Value)
			}
		}
	}
	if out, err := exec.Command("go", append(args, pkg)...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return file, h.own(file)
}

// Program runs a program that serves HTTP, and returns when it has written ready to its log. argv
// returns its command for the address to listen on. It may begin with env(1) to set variables: the
// program gets no others of ours. Stop sends SIGKILL.
func Program(t testing.TB, ready string, argv func(address string) []string) *Server {
	t.Helper()
	return newServer(t, func(h *home) (*process, error) {
		dir, err := h.newDir("program")
		if err != nil {
			return nil, err
		}
		p := &process{home: h, kind: "program", dir: dir, answers: func(_ context.Context, p *process) error {
			text, err := os.ReadFile(filepath.Join(p.dir, "log"))
			if err == nil && !strings.Contains(string(text), ready) {
				err = errors.New("it is not ready")
			}
			return err
		}}
		return p, p.startOnFreePort(func(port int) (string, []string) {
			u := url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}
			return u.String(), argv(u.Host)
		})
	}, syscall.SIGKILL)
}

// Log returns what the server has written since its last start.
func (s *Server) Log() string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.p.dir, "log"))
	if err != nil {
		s.t.Fatal("testservers:", err)
	}
	return string(text)
}
