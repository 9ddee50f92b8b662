package testservers

import (
	"context"
	"debug/buildinfo"
	"errors"
	"net/url"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// short is the timeout of a client that should get no response; long limits a response.
const short, long = 100 * time.Millisecond, 10 * time.Second

// proxiedRedis starts a Redis server of the test behind a proxy. It returns the proxy and a
// function that makes clients with a timeout.
func proxiedRedis(t *testing.T) (*Proxy, func(timeout time.Duration) *redis.Client) {
	t.Helper()
	p := NewProxy(t, RedisServer(t).URL())
	return p, func(timeout time.Duration) *redis.Client {
		o, err := redisOptions(p.URL(), 0)
		if err != nil {
			t.Fatal(err)
		}
		o.DialTimeout, o.ReadTimeout, o.PoolSize = timeout, timeout, 1
		o.DisableIdentity, o.Protocol = true, 2
		c := redis.NewClient(o)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func TestProxyFaults(t *testing.T) {
	tests := map[string]struct {
		disturb func(*Proxy)
		breaks  bool // an existing connection breaks
		refuses bool // a new connection is refused
		hangs   bool // a new connection gets no response
	}{
		"none":             {disturb: func(*Proxy) {}},
		"cut":              {disturb: (*Proxy).Cut, breaks: true, refuses: true},
		"drop":             {disturb: (*Proxy).Drop, breaks: true},
		"hang":             {disturb: (*Proxy).Hang, hangs: true},
		"deaf to it":       {disturb: func(p *Proxy) { p.Deafen("ping") }, breaks: true, hangs: true},
		"deaf to others":   {disturb: func(p *Proxy) { p.Deafen("subscribe") }, breaks: true},
		"slower than that": {disturb: func(p *Proxy) { p.Delay(2 * short) }, hangs: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, client := proxiedRedis(t)
			ping := func(c *redis.Client) error { return c.Ping(t.Context()).Err() }
			old := client(long).Conn()
			defer old.Close()
			if err := old.Ping(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			test.disturb(p)
			if test.breaks {
				if err := old.Ping(t.Context()).Err(); err == nil {
					t.Error("an existing connection got a response, want an error")
				}
			}
			timeout := long
			if test.hangs {
				timeout = short
			}
			err := ping(client(timeout))
			if got := err != nil; got != (test.refuses || test.hangs) {
				t.Errorf("a new connection: got %v", err)
			}
			var slow interface{ Timeout() bool }
			if got := errors.As(err, &slow) && slow.Timeout(); got != test.hangs {
				t.Errorf("a new connection: got %v; want a timeout: %v", err, test.hangs)
			}
			p.Mend()
			if err := ping(client(long)); err != nil {
				t.Errorf("after Mend: %v", err)
			}
		})
	}
}

// A request that hangs gets its response after Mend.
func TestProxyHangsWithoutLoss(t *testing.T) {
	t.Parallel()
	p, client := proxiedRedis(t)
	p.Hang()
	answered := make(chan error, 1)
	go func() { answered <- client(long).Ping(t.Context()).Err() }()
	select {
	case err := <-answered:
		t.Fatalf("a hanging proxy passed the response: %v", err)
	case <-time.After(short):
	}
	p.Mend()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestProxyHoldsOneAnswer(t *testing.T) {
	t.Parallel()
	p, client := proxiedRedis(t)
	c := client(long)
	if err := c.Set(t.Context(), "key", "old", 0).Err(); err != nil {
		t.Fatal(err)
	}
	h := p.HoldAnswer("key")
	defer h.Release()
	if err := client(long).Ping(t.Context()).Err(); err != nil {
		t.Errorf("a request without the word: %v", err)
	}
	answer := make(chan string, 1)
	go func() { answer <- c.Get(t.Context(), "key").Val() }()
	<-h.Caught()
	if err := client(long).Set(t.Context(), "key", "new", 0).Err(); err != nil {
		t.Errorf("another connection: %v", err)
	}
	select {
	case got := <-answer:
		t.Errorf("the response was not held: %s", got)
	default:
	}
	h.Release()
	if got := <-answer; got != "old" {
		t.Errorf("got %q, want the value at the time of the request", got)
	}
	if got := c.Get(t.Context(), "key").Val(); got != "new" {
		t.Errorf("the next request: got %q, want new", got)
	}
}

func TestProgram(t *testing.T) {
	t.Parallel()
	s := Program(t, "Ready to accept", func(address string) []string {
		_, text, _ := strings.Cut(address, ":")
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Error(err)
		}
		return append([]string{"env", "SET=by us", "redis-server"}, redisArgs(port)...)
	})
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	c, err := connect("redis://"+u.Host, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if log := s.Log(); !strings.Contains(log, "Ready to accept") {
		t.Errorf("got the log %q", log)
	}
	for _, restarted := range []bool{false, true} {
		if restarted {
			s.Stop()
			if err := c.Ping(t.Context()).Err(); err == nil {
				t.Error("a stopped program responds")
			}
			s.Start()
		}
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Errorf("restarted %v: got %v", restarted, err)
		}
	}
	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	if err := c.Ping(ctx).Err(); err == nil {
		t.Error("a frozen program responds")
	}
	s.Resume()
	eventually(t, "it answers again", func() bool { return c.Ping(t.Context()).Err() == nil })
}

func TestBuild(t *testing.T) {
	t.Parallel()
	file := Build(t, "fieldcache/scripts/gotest")
	if again := Build(t, "fieldcache/scripts/gotest"); again != file {
		t.Errorf("the program was built twice: %s and %s", file, again)
	}
	built, err := buildinfo.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if own, ok := debug.ReadBuildInfo(); !ok || settings(built) != settings(own) {
		t.Errorf("built with %q, want %q as for the test", settings(built), settings(own))
	}
	out, err := exec.Command(file, "fieldcache/graph/scalar").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "fieldcache/graph/scalar") {
		t.Errorf("got %s, %v", out, err)
	}
}

// settings returns the build settings that change the compiled code.
func settings(info *debug.BuildInfo) (all string) {
	for _, s := range info.Settings {
		if s.Key == "-race" || s.Key == "-gcflags" {
			all += s.Key + "=" + s.Value + " "
		}
	}
	return all
}
