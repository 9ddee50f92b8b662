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

// patience bounds every wait for a server: long enough for a busy machine.
const patience = time.Minute

// watch ends the servers when the test process does, however that came about:
// its standard input is a pipe that only the test process holds open. It asks
// politely (INT shuts both servers down in order), then firmly (QUIT makes
// PostgreSQL end its children at once), then not at all.
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

// launch notes the server's process id before the server exists, so that no
// moment is left in which a server runs that the watch does not know. When the
// watch has removed the folder already, the server does not start.
const launch = `echo $$ >pid && exec "$@"`

// home is the folder in which servers live, and the watch over them.
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

// parentFolder is where servers keep their files: in memory where that is
// roomy, since a database is copied ten times faster there than on a disk.
func parentFolder(owner *syscall.Credential) string {
	const memory, roomy = "/dev/shm", 4 << 30
	var stat syscall.Statfs_t
	if syscall.Statfs(memory, &stat) == nil && uint64(stat.Bavail)*uint64(stat.Bsize) >= roomy {
		return memory
	}
	if owner != nil {
		return "/tmp" // TMPDIR may be a folder that root alone can enter
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
	// A session of its own, so that an interrupt typed at the terminal reaches the tests alone.
	h.watch.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := h.watch.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	h.pipe = w
	return nil
}

// close lets the watch end every server and waits until it is done.
func (h *home) close() error {
	err := h.pipe.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for p := range h.procs {
		p.cmd.Wait() // its exit status tells how it was ended, nothing more
	}
	return errors.Join(err, h.watch.Wait())
}

// own gives a folder to the user that runs the servers.
func (h *home) own(dir string) error {
	if h.owner == nil {
		return nil
	}
	return os.Chown(dir, int(h.owner.Uid), int(h.owner.Gid))
}

// newDir makes a folder for one server.
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

// serverOwner is the user to run servers as: PostgreSQL refuses to run as root.
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
	// answers connects and returns an error unless this very server answers.
	answers func(context.Context, *process) error
	cmd     *exec.Cmd // nil while stopped
}

var errEnded = errors.New("ended at once")

// startOnFreePort starts a server for the first time. Somebody else may take
// the port between the choice and the start: then another one is tried.
func (p *process) startOnFreePort(at func(port int) (url string, argv []string)) error {
	var err error
	for range 5 {
		port, ferr := freePort()
		if ferr != nil {
			return ferr
		}
		p.url, p.argv = at(port)
		if err = p.start(); !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "in use") {
			return err
		}
	}
	return err
}

// start runs the server and waits until it answers.
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

// await polls until the server answers, has ended, or patience is over.
func (p *process) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.listens(ctx) // alone it is cheaper, and Redis's client logs what it cannot reach
		if err == nil {
			err = p.answers(ctx, p)
		}
		if err == nil {
			return nil
		}
		// A goroutine in Wait would learn of the end as well, but it would stay
		// for the server's life and spoil the tests' own search for leaks.
		if pid, _ := syscall.Wait4(p.cmd.Process.Pid, nil, syscall.WNOHANG, nil); pid == p.cmd.Process.Pid {
			return errEnded
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer within %v: %w", patience, err)
		case <-tick.C:
		}
	}
}

// listens returns an error unless somebody accepts connections at p's URL.
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

// stop ends the server with a signal and waits until it has gone.
func (p *process) stop(sig syscall.Signal) error {
	if p.cmd == nil {
		return nil
	}
	p.cmd.Process.Signal(sig) // fails when it has ended already, which is as good
	p.cmd.Wait()
	p.cmd = nil
	p.home.mu.Lock()
	delete(p.home.procs, p)
	p.home.mu.Unlock()
	// The number may soon belong to another process: the watch must forget it.
	if err := os.Remove(filepath.Join(p.dir, "pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("stop %s: %w", p.kind, err)
	}
	return nil
}

// freePort picks a port below those the system gives to outgoing connections,
// or a client could be given a stopped server's port. So is the one 10000 above
// it, which a node of a Redis Cluster takes as well.
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
