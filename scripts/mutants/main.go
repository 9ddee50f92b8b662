// Command mutants breaks the engine on purpose, one way at a time, and fails unless the tests named
// with the change fail each time. No file is changed: go test reads the broken file through an
// overlay.
//
// Arguments are parts of names: only mutants with a matching name are run. -gate runs the few that
// stand for the rest in the gate.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// parallel is how many mutants run at a time.
const parallel = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	gate := flag.Bool("gate", false, "run only the mutants that the gate runs")
	flag.Parse()
	if err := run(ctx, *gate, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, gate bool, only []string) error {
	var (
		mu    sync.Mutex
		errs  []error
		tried int
		open  sync.WaitGroup
		slots = make(chan struct{}, parallel)
	)
	for _, m := range mutants {
		if gate && !m.gate || !chosen(m.name, only) {
			continue
		}
		tried++
		open.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			began := time.Now()
			err := m.try(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
				return
			}
			fmt.Printf("%5.1fs  %s: failed as expected: %s\n", time.Since(began).Seconds(), m.name, strings.Join(m.red, ", "))
		})
	}
	open.Wait()
	if tried == 0 {
		return errors.New("no mutant has a matching name")
	}
	return errors.Join(errs...)
}

func chosen(name string, only []string) bool {
	for _, o := range only {
		if strings.Contains(name, o) {
			return true
		}
	}
	return len(only) == 0
}

// errSurvived says that a test passed which should have failed.
var errSurvived = errors.New("survived")

// try breaks the file and runs the tests.
func (m mutant) try(ctx context.Context) error {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return fmt.Errorf("the text to change is in %s %d times, want once: %s", m.file, n, m.old)
	}
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	broken := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(broken, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600); err != nil {
		return err
	}
	file, err := filepath.Abs(m.file)
	if err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {file: broken}})
	if err != nil {
		return err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return err
	}
	args := []string{"test", "-overlay", list, "-vet=off", "-count=1", "-timeout=3m", "-run", pattern(m.red), m.pkg}
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput() //nolint:gosec // our own table
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return verdict(out, err, m.red)
}

// pattern returns the -run pattern for the tests.
func pattern(red []string) string {
	each := make([]string, len(red))
	for i, name := range red {
		test, part, ok := strings.Cut(strings.ReplaceAll(name, " ", "_"), "/")
		if each[i] = "^" + test + "$"; ok {
			each[i] += "/^" + part + "$"
		}
	}
	return strings.Join(each, "|")
}

// failed matches the lines that name failed tests.
var failed = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// verdict judges the output of go test.
func verdict(out []byte, err error, red []string) error {
	if bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")) {
		return fmt.Errorf("does not compile:\n%s", out)
	}
	fell := map[string]bool{}
	for _, f := range failed.FindAllSubmatch(out, -1) {
		fell[string(f[1])] = true
	}
	for _, name := range red {
		if test, _, _ := strings.Cut(name, "/"); !fell[test] {
			return fmt.Errorf("%w %s (%v):\n%s", errSurvived, name, err, tail(out))
		}
	}
	return nil
}

// tail returns the end of an output.
func tail(out []byte) []byte {
	const most = 2000
	if len(out) > most {
		return out[len(out)-most:]
	}
	return out
}
