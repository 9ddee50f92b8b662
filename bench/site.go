package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"
)

// names are the servers that bench can start, in the order of measurement.
var names = []string{"bare", "limit", "fieldcache", "memory", "redis"}

// variables are the environment variables of a gateway, besides addresses and database.
var variables = map[string][]string{
	"fieldcache": {},
	"memory":     {"ANSWER_CACHE=false"},
	// The smallest memory tier allowed: most values come from Redis.
	"redis": {"ANSWER_CACHE=false", "MEMORY_BYTES=1MiB"},
}

// site is the servers of one run and the folder with their files.
type site struct {
	servers []server
	folder  string
	end     context.CancelFunc
	running []*exec.Cmd
}

// modulePath returns the path of this module, which is the gateway's main package too.
func modulePath() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "."
	}
	return info.Main.Path
}

// newSite builds and starts the servers. Close the site even if there is an error.
func newSite(ctx context.Context, s *settings) (*site, error) {
	folder, err := os.MkdirTemp("", "fieldcache-bench-")
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(ctx)
	at := &site{folder: folder, end: end}
	if len(s.servers) > 0 {
		build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(folder, "fieldcache"), modulePath())
		if text, err := build.CombinedOutput(); err != nil {
			return at, fmt.Errorf("build fieldcache: %w\n%s", err, text)
		}
	}
	gateways := map[string]server{}
	for _, name := range names[2:] {
		// A bare server repeats the responses of a gateway.
		needed := slices.Contains(s.servers, name) || name == "fieldcache" && (slices.Contains(s.servers, "bare") || slices.Contains(s.servers, "limit"))
		if !needed || name == "redis" && s.redis == "" {
			continue
		}
		if gateways[name], err = at.gateway(ctx, name, s); err != nil {
			return at, fmt.Errorf("start %s: %w", name, err)
		}
	}
	for _, name := range s.servers {
		target, ok := gateways[name]
		if !ok && name != "redis" {
			answers, err := capture(ctx, gateways["fieldcache"], name == "limit")
			if err == nil {
				target, err = at.bare(ctx, name, answers)
			}
			if err != nil {
				return at, fmt.Errorf("start %s: %w", name, err)
			}
			ok = true
		}
		if ok {
			at.servers = append(at.servers, target)
		}
	}
	at.servers = append(at.servers, s.others...)
	if len(at.servers) == 0 {
		return at, errors.New("no server to measure: set -servers or -url; the server redis also needs -redis")
	}
	return at, nil
}

// users returns how many users the database has.
func (at *site) users(ctx context.Context) (int, error) {
	i := slices.IndexFunc(at.servers, func(s server) bool { return !s.bare })
	if i < 0 {
		return 1, nil // bare servers have one response for every user
	}
	return at.servers[i].users(ctx)
}

// gateway starts a gateway on free ports, with its own embedded database unless another is given.
func (at *site) gateway(ctx context.Context, name string, s *settings) (server, error) {
	database := s.database
	if database == "" {
		database = "sqlite://" + filepath.Join(at.folder, name+".db")
	}
	cmd := at.command(ctx, filepath.Join(at.folder, "fieldcache"))
	cmd.Env = append(os.Environ(), "LISTEN_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "MIGRATE=true", "LOG_LEVEL=info", "LOG_FORMAT=json",
		"DATABASE_URL="+database, "REDIS_URL="+s.redis, "REDIS_PREFIX=bench-"+name+":")
	cmd.Env = append(cmd.Env, variables[name]...)
	log, err := cmd.StderrPipe()
	if err != nil {
		return server{}, err
	}
	if err := at.start(cmd); err != nil {
		return server{}, err
	}
	var seen bytes.Buffer
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line struct{ Msg, Graphql, Admin string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			u, err := url.Parse(line.Graphql)
			return server{name: name, url: u, admin: line.Admin, pid: cmd.Process.Pid}, err
		}
		fmt.Fprintf(&seen, "%s\n", lines.Bytes())
	}
	return server{}, fmt.Errorf("the gateway exited before it served:\n%s", &seen)
}

// capture queries a gateway for the responses of bare servers, by path. lean omits the headers that
// only a cache writes.
func capture(ctx context.Context, gateway server, lean bool) (map[string]fixed, error) {
	answers := map[string]fixed{}
	for _, name := range []string{"Q1", "Q2", "Q3"} {
		a, err := gateway.hit(ctx, newOperation(name, 1, 1).reads[0])
		if err != nil {
			return nil, err
		}
		if lean {
			a.Header = http.Header{"Content-Type": a.Header["Content-Type"], "Content-Length": a.Header["Content-Length"]}
		}
		answers["/"+name] = a
	}
	return answers, nil
}

// bare starts this program again as a bare server.
func (at *site) bare(ctx context.Context, name string, answers map[string]fixed) (server, error) {
	self, err := os.Executable()
	if err != nil {
		return server{}, err
	}
	text, err := json.Marshal(answers)
	if err != nil {
		return server{}, err
	}
	cmd := at.command(ctx, self, bareCommand)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(text), os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return server{}, err
	}
	if err := at.start(cmd); err != nil {
		return server{}, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return server{}, fmt.Errorf("the server exited before it served: %w", err)
	}
	u, err := url.Parse(strings.TrimSpace(line))
	return server{name: name, url: u, pid: cmd.Process.Pid, bare: true}, err
}

// command returns a command that receives SIGTERM when ctx ends, and is killed if it does not exit.
func (at *site) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = at.folder
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	return cmd
}

func (at *site) start(cmd *exec.Cmd) error {
	err := cmd.Start()
	if err == nil {
		at.running = append(at.running, cmd)
	}
	return err
}

// close stops the servers that were started, and removes their files.
func (at *site) close() error {
	at.end()
	var errs []error
	for _, cmd := range at.running {
		// An exit on the signal is no error.
		if err := cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) && cmd.ProcessState.ExitCode() > 0 {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(at.folder))...)
}
