//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"fieldcache/internal/cli"
	"fieldcache/internal/top"
)

// terminal is a pseudo-terminal of the kernel: the program's side and the user's side.
type terminal struct {
	tty      *os.File // the program's
	keyboard io.Writer
	screen   *output // everything written so far
}

func newTerminal(t *testing.T, columns, lines uint16) *terminal {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(user.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: lines})
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{tty: tty, keyboard: user, screen: &output{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(term.screen, user) // until the last user of the tty has closed it, which is an error
	}()
	t.Cleanup(func() {
		_ = tty.Close()
		<-read
		_ = user.Close()
	})
	return term
}

// On a terminal, warm shows a progress bar. A script gets the result without a bar.
func TestWarmOnATerminal(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "products.graphql")
	if err := os.WriteFile(file, []byte("query Product($id: ID!) { product(id: $id) { name } }"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startAs(t, newGateway)
	listen := "LISTEN_ADDR=" + strings.TrimSuffix(strings.TrimPrefix(p.graphql, "http://"), "/graphql")
	args := []string{"warm", "--variables", `[{"id": 1}, {"id": 2}, {"id": 3}, {"id": 4}]`, file}
	term := newTerminal(t, 80, 24)
	var stdout bytes.Buffer
	if code := cli.Run(t.Context(), args, cli.System{Stdout: &stdout, Stderr: term.tty, Environ: []string{listen}}); code != 0 {
		t.Fatalf("got exit code %d and screen %q, want 0", code, term.screen)
	}
	if got := stdout.String(); got != "warmed: 4 operations, 0 of which were already cached\n" {
		t.Errorf("stdout is %q", got)
	}
	for _, want := range []string{"warming", "25%", "(1/4)", "(3/4)"} {
		eventually(t, "the progress bar shows "+want, func() bool { return strings.Contains(term.screen.String(), want) })
	}
	// The bar is erased before the result is printed.
	eventually(t, "the progress bar is gone", func() bool { return strings.HasSuffix(term.screen.String(), strings.Repeat(" ", 20)+"\r") })
	if stdout, stderr := finish(t, []string{listen}, 0, args...); !strings.HasPrefix(stdout, "warmed: 4 operations") || stderr != "" {
		t.Errorf("without a terminal: got stdout %q and stderr %q", stdout, stderr)
	}
}

// The screen of top survives a restart of its server, obeys keys, and restores the terminal.
func TestTopOnATerminal(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway)
	p.query(t, `{ products(first: 3) { nodes { name stock } } }`)
	address := strings.Trim(strings.TrimPrefix(p.admin, "http://"), "/")
	term := newTerminal(t, 80, 24)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var screen sync.WaitGroup
	screen.Go(func() { ended <- top.Run(ctx, top.Options{Address: address, In: term.tty, Out: term.tty}) })
	defer func() {
		if t.Failed() {
			text := term.screen.String()
			t.Logf("the screen ends with %q", text[max(0, len(text)-2000):])
		}
		cancel()
		screen.Wait() // before its terminal is closed
	}()
	// seen is how much of the screen earlier calls of shows have checked.
	seen := 0
	shows := func(want ...string) {
		t.Helper()
		for _, one := range want {
			eventually(t, "the screen shows "+one, func() bool { return strings.Contains(term.screen.String()[seen:], one) })
		}
		seen = len(term.screen.String())
	}
	shows("\x1b[?1049h", "live", "(by loads)", "Product.stock", "q quit")
	for key, want := range map[string]string{"o": "asked/s)", " ": "paused"} {
		if _, err := io.WriteString(term.keyboard, key); err != nil {
			t.Fatal(err)
		}
		shows(want)
	}
	p.signals <- os.Interrupt
	p.wantExit(t, 0)
	shows("disconnected")
	startAs(t, newGateway, "ADMIN_ADDR="+address)
	shows("paused")
	if _, err := io.WriteString(term.keyboard, "q"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	shows("\x1b[?1049l")
}
