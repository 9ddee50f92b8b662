package redisstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
	"fieldcache/cache/storetest"
	"fieldcache/internal/testservers"
)

// deployment is a way to run Redis, with clients of the servers that have keys.
type deployment struct {
	redisstore.Options
	servers []*redis.Client
}

func cluster(t testing.TB) (deployment, *testservers.Cluster) {
	c := testservers.RedisCluster(t)
	d := deployment{Options: redisstore.Options{URLs: c.URLs(), Timeout: patient}}
	for _, u := range c.URLs() {
		d.servers = append(d.servers, client(t, u))
	}
	return d, c
}

func withTLS(t testing.TB) deployment {
	s := testservers.RedisTLS(t)
	o, err := redis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	o.TLSConfig.RootCAs = s.Roots
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return deployment{redisstore.Options{URLs: []string{s.URL()}, RootCAs: s.Roots, Timeout: patient}, []*redis.Client{c}}
}

// Sentinel and TLS, and Cluster in [TestCluster], behave like one plain server.
func TestDeployments(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) deployment{
		"Sentinel": func(t testing.TB) deployment {
			s := testservers.RedisSentinel(t)
			return deployment{redisstore.Options{
				URLs:           append([]string{"redis://127.0.0.1:1"}, s.URLs()...), // the first Sentinel is down
				SentinelMaster: s.Master(), Timeout: patient,
			}, []*redis.Client{client(t, s.Primary.URL())}}
		},
		"TLS, user and password": withTLS,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			does(t, start(t))
		})
	}
}

func does(t *testing.T, d deployment) {
	t.Run("the suite of every tier", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) cache.Store {
			o := d.Options
			o.Prefix = rand.Text() + ":" // a cluster has one database
			return open(t, o)
		})
	})
	t.Run("messages reach other gateways", func(t *testing.T) {
		receives(t, listen(t, open(t, d.Options)), open(t, d.Options))
	})
	t.Run("every key expires", func(t *testing.T) { everyKeyEnds(t, d) })
}

// listen subscribes a store until the test ends, again and again as the cache does, and returns what
// it receives.
func listen(t *testing.T, s *redisstore.Store) <-chan cache.Write {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	received := make(chan cache.Write)
	ended := make(chan error, 1)
	go func() {
		for {
			err := s.Subscribe(ctx, func(w cache.Write) {
				select {
				case received <- w:
				case <-ctx.Done():
				}
			}, func(err error) { t.Errorf("unreadable message: %v", err) })
			select {
			case <-ctx.Done():
				ended <- err
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Subscribe returned error %v", err)
		}
	})
	return received
}

// receives checks that an eviction by the writer arrives eventually. Messages may be lost, so it
// evicts repeatedly.
func receives(t *testing.T, received <-chan cache.Write, writer *redisstore.Store) {
	t.Helper()
	evicted := cache.Key("user:" + rand.Text())
	eventually(t, func(ctx context.Context) error {
		if _, err := writer.Evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{evicted}}}); err != nil {
			return err
		}
		for {
			select {
			case w := <-received:
				if len(w.Keys) == 1 && w.Keys[0] == evicted {
					return nil
				}
			case <-time.After(20 * time.Millisecond):
				return errors.New("nothing was heard")
			}
		}
	})
}

// everyKeyEnds checks that there are keys, and that each has a time to live.
func everyKeyEnds(t *testing.T, d deployment) {
	t.Helper()
	n := 0
	for _, c := range d.servers {
		for keys := c.Scan(t.Context(), 0, "*", 1000).Iterator(); ; n++ {
			if !keys.Next(t.Context()) {
				if err := keys.Err(); err != nil {
					t.Error(err)
				}
				break
			}
			if c.PTTL(t.Context(), keys.Val()).Val() == -1 { // -2: it has just expired
				t.Errorf("%s has no time to live", keys.Val())
			}
		}
	}
	if n == 0 {
		t.Error("got no keys")
	}
}

// eventually polls until holds returns nil.
func eventually(t *testing.T, holds func(context.Context) error) {
	t.Helper()
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := holds(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the condition was not met within %v: %v", patience, err)
		case <-tick.C:
		}
	}
}

func TestAccess(t *testing.T) {
	t.Parallel()
	s := testservers.RedisTLS(t)
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	user := u.User.Username()
	password, _ := u.User.Password()
	bare := "rediss://" + u.Host
	sentinel := testservers.RedisSentinel(t)
	for name, c := range map[string]struct {
		o    redisstore.Options
		want string // in the error; "" for none
	}{
		"by the URL":                {redisstore.Options{URLs: []string{s.URL()}, RootCAs: s.Roots}, ""},
		"by the options":            {redisstore.Options{URLs: []string{bare}, Username: user, Password: password, RootCAs: s.Roots}, ""},
		"by name":                   {redisstore.Options{URLs: []string{strings.Replace(s.URL(), "127.0.0.1", "localhost", 1)}, RootCAs: s.Roots}, ""},
		"the options win":           {redisstore.Options{URLs: []string{"rediss://x:y@" + u.Host}, Username: user, Password: password, RootCAs: s.Roots}, ""},
		"a wrong password":          {redisstore.Options{URLs: []string{bare}, Username: user, Password: "hunter2", RootCAs: s.Roots}, "WRONGPASS"},
		"a wrong password in a URL": {redisstore.Options{URLs: []string{"rediss://gateway:hunter2@" + u.Host}, RootCAs: s.Roots}, "WRONGPASS"},
		"no credentials":            {redisstore.Options{URLs: []string{bare}, RootCAs: s.Roots}, "NOAUTH"},
		"an unknown authority":      {redisstore.Options{URLs: []string{s.URL()}}, "unknown authority"},
		"another name":              {redisstore.Options{URLs: []string{strings.Replace(s.URL(), "127.0.0.1", "127.0.0.2", 1)}, RootCAs: s.Roots}, "127.0.0.2"},
		"unverified":                {redisstore.Options{URLs: []string{s.URL() + "?skip_verify=true"}}, ""},
		"no Sentinel's primary":     {redisstore.Options{URLs: sentinel.URLs(), SentinelMaster: "nobody"}, "no Sentinel knows"},
		"a password that the server does not have": {redisstore.Options{URLs: sentinel.URLs(), SentinelMaster: sentinel.Master(), Username: "u", Password: "hunter2"}, "WRONGPASS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.o.Timeout = patient
			store := open(t, c.o)
			_, got := store.Get(t.Context(), []cache.Item{stock})
			_, beginErr := store.Begin(t.Context(), []cache.Item{stock})
			for _, err := range []error{store.Probe(t.Context()), got, beginErr} {
				switch {
				case c.want == "" && err != nil:
					t.Errorf("got error %v, want none", err)
				case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
					t.Errorf("got error %v, want %q", err, c.want)
				case err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), password)):
					t.Errorf("error %v contains the password", err)
				}
			}
		})
	}
}

// urlVariable is the environment variable that TestSystemAuthorities sets for the program that it starts:
// itself, to run the same test.
const urlVariable = "REDISSTORE_TEST_URL"

// A certificate authority of the project's own needs no option: Go reads the system's variable when
// a program starts.
func TestSystemAuthorities(t *testing.T) {
	t.Parallel()
	if address := os.Getenv(urlVariable); address != "" {
		if err := open(t, redisstore.Options{URLs: []string{address}, Timeout: patient}).Probe(t.Context()); err != nil {
			t.Error(err)
		}
		return
	}
	s := testservers.RedisTLS(t)
	file := t.TempDir() + "/authority.pem"
	if err := os.WriteFile(file, s.Authority, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSystemAuthorities$")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+file, urlVariable+"="+s.URL())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
