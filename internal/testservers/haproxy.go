package testservers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// HAProxy starts an HAProxy in front of an HTTP server, for this test alone. It reuses the
// connections to the server for different clients. Its URL is http://.
func HAProxy(t testing.TB, backend string) *Server {
	t.Helper()
	return newServer(t, func(h *home) (*process, error) { return startHAProxy(h, backend) }, syscall.SIGKILL)
}

const haproxyConfig = `
global
	nbthread 1
defaults
	mode http
	timeout connect 20s
	timeout client 60s
	timeout server 60s
frontend front
	bind 127.0.0.1:%d
	monitor-uri %s
	default_backend back
backend back
	http-reuse always
	server one %s
`

func startHAProxy(h *home, backend string) (*process, error) {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		program = "/usr/sbin/haproxy" // not in every user's PATH
	}
	if _, err := os.Stat(program); err != nil {
		return nil, errors.New("there is no haproxy: install the package haproxy, or run `make test`, which does")
	}
	dir, err := h.newDir("haproxy")
	if err != nil {
		return nil, err
	}
	monitor := "/monitor-" + filepath.Base(dir)
	p := &process{home: h, kind: "haproxy", dir: dir, answers: func(ctx context.Context, p *process) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+monitor, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("HAProxy answers %s", response.Status)
		}
		return nil
	}}
	file := filepath.Join(dir, "haproxy.cfg")
	var failure error
	err = p.startOnFreePort(func(port int) (string, []string) {
		failure = errors.Join(os.WriteFile(file, fmt.Appendf(nil, haproxyConfig, port, monitor, backend), 0o600), h.own(file))
		return fmt.Sprintf("http://127.0.0.1:%d", port), []string{program, "-db", "-f", file}
	})
	return p, errors.Join(failure, err)
}
