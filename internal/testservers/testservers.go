// Package testservers gives tests real PostgreSQL and Redis servers, started
// from the installed programs in a temporary folder and ended with the tests.
//
// [Postgres], [PostgresFrom] and [Redis] hand out a database of the test's own
// on a server that all tests of the process share; [PostgresServer] and
// [RedisServer] start a server for one test, which may stop and freeze it, and
// so do [RedisCluster], [RedisSentinel] and [RedisTLS] with what they name. All
// of them may be used from parallel tests, and all of them fail the test when
// they cannot deliver: nothing is skipped.
//
// A package whose tests use them calls [Main] from its TestMain.
//
// TEST_DATABASE_URL and TEST_REDIS_URL name servers to share instead of private
// ones. What is made on them is removed after the test, and nothing that was
// there before is touched.
package testservers

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// shared holds what the tests of this process have in common: one home, one
// server of each kind and the template databases.
var shared = newCommons()

// commons starts each part on first use, and only once.
type commons struct {
	home     func() (*home, error)
	postgres func() (string, error)
	redis    func() (string, error)

	mu        sync.Mutex                        // guards the fields below
	hasMain   bool                              // whether Main will call end
	opened    *home                             // nil until the home is needed
	templates map[string]func() (string, error) // by name; each creates its database once
	programs  map[string]func() (string, error) // by package; each builds its file once
	ending    []func() error                    // what end does first
}

func newCommons() *commons {
	c := &commons{templates: map[string]func() (string, error){}, programs: map[string]func() (string, error){}}
	c.home = sync.OnceValues(func() (*home, error) {
		h, err := newHome()
		if err == nil {
			c.mu.Lock()
			c.opened = h
			c.mu.Unlock()
		}
		return h, err
	})
	c.postgres = sync.OnceValues(func() (string, error) {
		if url := os.Getenv("TEST_DATABASE_URL"); url != "" {
			return url, nil
		}
		return c.start(startPostgres)
	})
	c.redis = sync.OnceValues(func() (string, error) {
		if url := os.Getenv("TEST_REDIS_URL"); url != "" {
			return url, nil
		}
		return c.start(startRedis)
	})
	return c
}

// start runs a server that lives until end and returns its URL.
func (c *commons) start(launch func(*home) (*process, error)) (string, error) {
	h, err := c.home()
	if err != nil {
		return "", err
	}
	p, err := launch(h)
	if err != nil {
		return "", err
	}
	return p.url, nil
}

// atEnd registers what end does before the servers stop.
func (c *commons) atEnd(f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = append(c.ending, f)
}

// end stops all servers and removes their folders.
func (c *commons) end() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first error
	for _, f := range c.ending {
		if err := f(); err != nil && first == nil {
			first = err
		}
	}
	if c.opened != nil {
		if err := c.opened.close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Main runs the tests, ends the servers they used and exits with the tests'
// result. It is all a TestMain needs:
//
//	func TestMain(m *testing.M) { testservers.Main(m) }
//
// Private servers end without it as well, also when the process is killed;
// Main waits for that, and drops the template databases of [PostgresFrom].
func Main(m *testing.M) {
	shared.mu.Lock()
	shared.hasMain = true
	shared.mu.Unlock()
	code := m.Run()
	if err := shared.end(); err != nil {
		fmt.Fprintln(os.Stderr, "testservers:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}
