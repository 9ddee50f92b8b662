package testservers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience limits every wait for a server. It is long enough for a busy machine.
const patience = time.Minute

// watch stops the servers when the test process ends, in whatever way: its standard input is a pipe
// that only the test process holds open. First it sends INT, which shuts both kinds of servers down
// in order. Then it sends QUIT, which makes PostgreSQL end its children at once, and finally KILL.
const watch = `
trap '' HUP INT TERM
cat
n=0
while [ $n -le 90 ]; do
	left=
	for file in "$1"/*/pid; do
		[ -f "$file" ] && read -r pid <"$file" && kill -0 "$pid" || continue
		left=1
		case $n in
		0) kill -INT "$pid"; kill -CONT "$pid" ;;
		20) kill -QUIT "$pid" ;;
		90) kill -KILL "$pid" ;;
		esac
	done
	[ "$left" ] || break
	sleep 0.1
	n=$((n + 1))
done
rm -rf "$1"
`

// launch writes the server's process id before the server exists, so that the watch knows of every
// running server. If the watch has removed the folder already, the server does not start.
const launch = `echo $$ >pid && exec "$@"`

// home is the folder of the servers, with the watch over them.
type home struct {
	dir   string
	owner *syscall.Credential // nil: the current user
	pipe  *os.File            // the watch acts when this closes
	watch *exec.Cmd

	mu    sync.Mutex // guards procs
	procs map[*process]bool
}

func newHome() (*home, error) {
	owner, err := serverOwner()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parentFolder(owner), "fieldcache-test-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the test servers: %w", err)
	}
	h := &home{dir: dir, owner: owner, procs: map[*process]bool{}}
	if err := h.own(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := h.startWatch(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the watch over test servers: %w", err), os.RemoveAll(dir))
	}
	return h, nil
}

// parentFolder returns where servers keep their files: in memory if there is enough of it, since
// copying a database is ten times faster there than on a disk.
func parentFolder(owner *syscall.Credential) string {
	const memory, roomy = "/dev/shm", 4 << 30
	var stat syscall.Statfs_t
	if syscall.Statfs(memory, &stat) == nil && uint64(stat.Bavail)*uint64(stat.Bsize) >= roomy {
		return memory
	}
	if owner != nil {
		return "/tmp" // TMPDIR may be a folder that only root can enter
	}
	return os.TempDir()
}

func (h *home) startWatch() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	h.watch = exec.Command("sh", "-c", watch, "watch", h.dir)
	h.watch.Stdin = r
	h.watch.Dir = "/"
	// It has its own session, so that an interrupt from the terminal reaches only the tests.
	h.watch.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := h.watch.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	h.pipe = w
	return nil
}

// close makes the watch stop every server and waits until it is done.
func (h *home) close() error {
	err := h.pipe.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.procs {
		p.cmd.Wait() // its exit status only says how it was stopped
	}
	return errors.Join(err, h.watch.Wait())
}

// own gives a file or folder to the user that runs the servers.
func (h *home) own(dir string) error {
	if h.owner == nil {
		return nil
	}
	return os.Chown(dir, int(h.owner.Uid), int(h.owner.Gid))
}

// newDir creates a folder for one server.
func (h *home) newDir(kind string) (string, error) {
	dir, err := os.MkdirTemp(h.dir, kind+"-")
	if err != nil {
		return "", fmt.Errorf("make a folder for %s: %w", kind, err)
	}
	return dir, h.own(dir)
}

// command prepares a program that runs as the servers' user in one of their folders.
func (h *home) command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "LC_ALL=C.UTF-8", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: h.owner}
	return cmd
}

// serverOwner returns the user to run servers as: PostgreSQL refuses to run as root.
func serverOwner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("group of user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("root may not run PostgreSQL, and there is neither a user postgres nor nobody to run it as")
}

// process is one server. Its methods are not safe for concurrent use.
type process struct {
	home *home
	kind string
	dir  string
	url  string
	argv []string
	// answers connects and returns an error unless this server, and no other, responds.
	answers func(context.Context, *process) error
	cmd     *exec.Cmd // nil while stopped
}

var errExited = errors.New("ended at once")

// startOnFreePort starts a server for the first time. Another program may take the port between the
// choice and the start: then another port is tried.
func (p *process) startOnFreePort(at func(port int) (url string, argv []string)) error {
	var err error
	for range 5 {
		port, ferr := freePort()
		if ferr != nil {
			return ferr
		}
		p.url, p.argv = at(port)
		if err = p.start(); !errors.Is(err, errExited) || !strings.Contains(err.Error(), "in use") {
			return err
		}
	}
	return err
}

// start runs the server and waits until it responds.
func (p *process) start() error {
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		return fmt.Errorf("start %s: %w", p.kind, err)
	}
	defer log.Close()
	cmd := p.home.command(p.dir, "sh", append([]string{"-c", launch, p.kind}, p.argv...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.kind, err)
	}
	p.cmd = cmd
	p.home.mu.Lock()
	p.home.procs[p] = true
	p.home.mu.Unlock()
	if err := p.await(); err != nil {
		text, _ := os.ReadFile(log.Name())
		return errors.Join(fmt.Errorf("start %s: %w\n%s", p.kind, err, text), p.stop(syscall.SIGKILL))
	}
	return nil
}

// await polls until the server responds or has exited, or patience is over.
func (p *process) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.listens(ctx) // cheaper on its own, and Redis's client logs failed connections
		if err == nil {
			err = p.answers(ctx, p)
		}
		if err == nil {
			return nil
		}
		// A goroutine in Wait would notice the exit too, but it would live as long as the server
		// and disturb the tests' own search for leaks.
		if pid, _ := syscall.Wait4(p.cmd.Process.Pid, nil, syscall.WNOHANG, nil); pid == p.cmd.Process.Pid {
			return errExited
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer within %v: %w", patience, err)
		case <-tick.C:
		}
	}
}

// listens returns an error unless connections are accepted at p's URL.
func (p *process) listens(ctx context.Context) error {
	u, err := url.Parse(p.url)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return err
	}
	return conn.Close()
}

// stop sends a signal to the server and waits until it has exited.
func (p *process) stop(sig syscall.Signal) error {
	if p.cmd == nil {
		return nil
	}
	p.cmd.Process.Signal(sig) // fails if it has exited already, which is fine
	p.cmd.Wait()
	p.cmd = nil
	p.home.mu.Lock()
	delete(p.home.procs, p)
	p.home.mu.Unlock()
	// Another process may soon get this id, so the watch must forget it.
	if err := os.Remove(filepath.Join(p.dir, "pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("stop %s: %w", p.kind, err)
	}
	return nil
}

// freePort chooses a port below the range for outgoing connections. Otherwise a client could get a
// stopped server's port. The same holds for the port 10000 above it, which a node of a Redis
// Cluster uses too.
func freePort() (int, error) {
	const low, high = 10240, 22768
	var err error
	for range 100 {
		port := low + rand.IntN(high-low)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}
