package testservers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// claimed is how long a test may hold a database of a given server if its process dies without
// returning it: longer than any run of the tests.
const claimed = time.Hour

// Redis returns the URL of an empty Redis database for this test. The database is flushed after the
// test. Databases of one server share its channels: a test receives what another one publishes to a
// channel of the same name.
func Redis(t testing.TB) string {
	t.Helper()
	server, err := shared.redis()
	if err != nil {
		t.Fatal("testservers:", err)
	}
	number, err := claim(server)
	if err != nil {
		t.Fatal("testservers:", err)
	}
	t.Cleanup(func() {
		if err := release(server, number); err != nil {
			t.Error("testservers:", err)
		}
	})
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("testservers: TEST_REDIS_URL is not a URL:", err)
	}
	u.Path = "/" + strconv.Itoa(number)
	return u.String()
}

// claim finds an empty database that no other test holds. The claims are in database 0, which tests
// do not get.
func claim(server string) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	notes, err := connect(server, 0)
	if err != nil {
		return 0, err
	}
	defer notes.Close()
	if err := notes.Ping(ctx).Err(); err != nil {
		return 0, fmt.Errorf("connect to Redis: %w", err)
	}
	count := 16 // Redis's own default, for servers that do not report it
	if set, err := notes.ConfigGet(ctx, "databases").Result(); err == nil {
		if n, err := strconv.Atoi(set["databases"]); err == nil {
			count = n
		}
	}
	if count < 2 {
		return 0, errors.New("this Redis has one database only: tests need a server with several")
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		first := rand.IntN(count - 1)
		for i := range count - 1 {
			number := 1 + (first+i)%(count-1)
			mine, err := take(ctx, notes, server, number)
			if err != nil {
				return 0, fmt.Errorf("claim a Redis database: %w", err)
			}
			if mine {
				return number, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("all %d Redis databases but 0 hold keys or are in use by other tests: flush one that is not needed", count)
		case <-tick.C:
		}
	}
}

// take claims one database if it is free and empty.
func take(ctx context.Context, notes *redis.Client, server string, number int) (bool, error) {
	free, err := notes.SetNX(ctx, claimKey(number), "claimed", claimed).Result()
	if err != nil || !free {
		return false, err
	}
	db, err := connect(server, number)
	if err != nil {
		return false, err
	}
	defer db.Close()
	size, err := db.DBSize(ctx).Result()
	if err == nil && size == 0 {
		return true, nil
	}
	return false, errors.Join(err, notes.Del(ctx, claimKey(number)).Err())
}

// release empties a claimed database and returns it.
func release(server string, number int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	db, err := connect(server, number)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.FlushDB(ctx).Err(); err != nil {
		return fmt.Errorf("flush Redis database %d: %w", number, err)
	}
	notes, err := connect(server, 0)
	if err != nil {
		return err
	}
	defer notes.Close()
	if err := notes.Del(ctx, claimKey(number)).Err(); err != nil {
		return fmt.Errorf("give back Redis database %d: %w", number, err)
	}
	return nil
}

func claimKey(number int) string { return "fieldcache:test:claim:" + strconv.Itoa(number) }

// connect prepares a client for one database of a server.
func connect(server string, number int) (*redis.Client, error) {
	options, err := redisOptions(server, number)
	if err != nil {
		return nil, err
	}
	return redis.NewClient(options), nil
}

func redisOptions(server string, number int) (*redis.Options, error) {
	options, err := redis.ParseURL(server)
	if err != nil {
		return nil, fmt.Errorf("TEST_REDIS_URL: %w", err)
	}
	options.DB = number
	options.MaxRetries, options.DialerRetries = -1, 1 // callers that wait for a server poll by themselves
	return options, nil
}

// startRedis starts a plain server.
func startRedis(h *home) (*process, error) {
	return redisProgram{at: func(port int) (string, []string) {
		return redisURL(port), redisArgs(port, "--databases", "1024")
	}}.start(h)
}

func redisURL(port int) string { return fmt.Sprintf("redis://127.0.0.1:%d/0", port) }

// redisArgs returns the arguments of a server that writes to disk only on SAVE.
func redisArgs(port int, more ...string) []string {
	return append([]string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
	}, more...)
}

// redisProgram is one way to run redis-server.
type redisProgram struct {
	at    func(port int) (address string, args []string)
	files map[string][]byte // in the folder of the server
	roots *x509.CertPool    // the authorities to trust for TLS
}

func (r redisProgram) start(h *home) (*process, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not in PATH: install the package redis-server, or run `make test`, which does")
	}
	dir, err := h.newDir("redis")
	if err != nil {
		return nil, err
	}
	for name, text := range r.files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(name, text, 0o600), h.own(name)); err != nil {
			return nil, fmt.Errorf("prepare Redis: %w", err)
		}
	}
	p := &process{home: h, kind: "redis", dir: dir, answers: func(ctx context.Context, p *process) error {
		return redisAnswers(ctx, p, r.roots)
	}}
	return p, p.startOnFreePort(func(port int) (string, []string) {
		address, args := r.at(port)
		return address, append([]string{program}, args...)
	})
}

// redisAnswers succeeds if the server at p's URL is p itself.
func redisAnswers(ctx context.Context, p *process, roots *x509.CertPool) error {
	options, err := redisOptions(p.url, 0)
	if err != nil {
		return err
	}
	if roots != nil {
		options.TLSConfig.RootCAs = roots
	}
	client := redis.NewClient(options)
	defer client.Close()
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", p.cmd.Process.Pid)) {
		return errors.New("another server has the port")
	}
	return nil
}
