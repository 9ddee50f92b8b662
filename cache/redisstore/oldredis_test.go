package redisstore_test

import (
	"net/url"
	"testing"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
	"fieldcache/internal/testservers"
)

// lacking starts a Redis that does not know some commands, like an older version or a proxy.
func lacking(t *testing.T, commands ...string) string {
	t.Helper()
	s := testservers.Program(t, "Ready to accept", func(address string) []string {
		u := url.URL{Host: address}
		argv := []string{"redis-server", "--port", u.Port(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"}
		for _, c := range commands {
			argv = append(argv, "--rename-command", c, "")
		}
		return argv
	})
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	return "redis://" + u.Host
}

// A Redis that lacks commands is used if there is another way: GETEX is new in 6.2, HELLO in 6,
// UNLINK in 4.
func TestOlderRedis(t *testing.T) {
	t.Parallel()
	for name, commands := range map[string][]string{
		"before 6.2": {"GETEX"},
		"before 6":   {"GETEX", "HELLO", "ACL"},
		"before 4":   {"GETEX", "HELLO", "ACL", "UNLINK"},
		"no scripts": {"EVAL", "EVALSHA"},
		"a proxy":    {"GETEX", "HELLO", "UNLINK", "EVAL", "EVALSHA", "CLIENT", "INFO"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := redisstore.Options{URLs: []string{lacking(t, commands...)}, Timeout: patient}
			s := open(t, o)
			if err := s.Probe(t.Context()); err != nil {
				t.Errorf("Probe: %v", err)
			}
			filled, before, after, err := cycle(t, s, cache.Key("user:1"))
			if err != nil || filled != 1 || before == nil || after != nil {
				t.Errorf("filled %d, read %v, then %v, error %v", filled, before, after, err)
			}
			receives(t, listen(t, open(t, o)), s)
		})
	}
}
