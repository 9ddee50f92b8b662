package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fieldcache/internal/testservers"
)

// step writes a version of a user's bio through a gateway and records it.
func (s *site) step(g *gateway, user int, version int64) {
	s.t.Helper()
	sent := s.now()
	if _, err := s.mutate(s.t.Context(), g, fmt.Sprintf(`mutation { updateUser(id: %d, input: {bio: %q}) { id } }`, user, bio(version)), nil); err != nil {
		s.t.Fatal(err)
	}
	s.wrote(Write{Register: bioOf(user), Version: version, Via: g.name, Sent: sent, Acked: s.now()})
}

// look reads a user through a gateway. The read is judged at the end.
func (s *site) look(g *gateway, user int) {
	s.t.Helper()
	if err := s.readUser(s.t.Context(), g, user); err != nil {
		s.t.Fatalf("gateway %s: %v", g.name, err)
	}
}

// want checks that a gateway returns a version, whatever the bounds are.
func (s *site) want(g *gateway, user int, version int64) {
	s.t.Helper()
	var response struct{ User struct{ Bio string } }
	s.mustQuery(g, fmt.Sprintf(`{ user(id: %d) { bio } }`, user), &response)
	if got := versionIn(response.User.Bio); got != version {
		s.t.Errorf("gateway %s returned version %d of user %d, want %d", g.name, got, user, version)
	}
}

// Promise 3: a load that is paused, however long and wherever, does not overwrite newer values with
// what it read.
func TestPausedFill(t *testing.T) {
	const user = 7
	// What happens between the time gateway A has read the old row and the time it continues.
	tests := map[string]func(s *site, a, b, c *gateway){
		"while another gateway writes": func(s *site, _, b, _ *gateway) { s.step(b, user, 1) },
		"while another writes and one reads": func(s *site, _, b, c *gateway) {
			s.step(b, user, 1)
			s.want(c, user, 1)
		},
		"for longer than its fence lives": func(s *site, _, b, _ *gateway) {
			s.eventually("the fence has ended", func(ctx context.Context) error {
				if n, err := s.stored.Exists(ctx, fmt.Sprintf("{user:%d}:g", user)).Result(); err != nil || n > 0 {
					return fmt.Errorf("it is there: %d, %w", n, err)
				}
				return nil
			})
			s.want(b, user, 0) // with a fence of its own
			s.step(b, user, 1)
		},
		"in a gateway that is frozen for longer than its lease": func(s *site, a, b, c *gateway) {
			a.Pause()
			s.step(b, user, 1)
			s.want(c, user, 1)
			s.pass(s.t.Context(), lease)
			a.Resume()
			s.look(a, user) // begun after the lease: it must not return the earlier value
		},
	}
	for name, meanwhile := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, layout{patient: true})
			a, b, c := s.gateways[0], s.gateways[1], s.gateways[2]
			hold := a.postgres.HoldAnswer(`"users"`)
			defer hold.Release()
			slow := s.excuse(Excuse{Via: a.name, Slow: true}, 0)
			read := make(chan error, 1)
			go func() { read <- s.readUser(s.t.Context(), a, user) }()
			select {
			case <-hold.Caught():
			case <-time.After(patience):
				t.Fatal("the gateway did not query the database")
			}
			meanwhile(s, a, b, c)
			hold.Release()
			if err := <-read; err != nil {
				t.Fatal(err)
			}
			slow()
			// What A fills now must be refused. C has no older value in memory, so it must not
			// return one.
			s.readStored(t.Context(), user)
			s.want(b, user, 1)
			s.want(c, user, 1)
			until := time.Now().Add(2 * lease)
			for time.Now().Before(until) {
				for _, g := range s.gateways {
					s.look(g, user)
				}
				s.readStored(t.Context(), user)
				s.pass(t.Context(), 20*time.Millisecond)
			}
			s.judge(false)
			s.atRest()
		})
	}
}

// Promise 4: what a gateway committed and did not evict before it was killed, the others evict.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	s := open(t, layout{})
	for user, a := range s.gateways {
		user++
		for _, g := range s.gateways {
			s.look(g, user)
			s.look(g, user)
		}
		gone := s.excuse(Excuse{Via: a.name, Errors: true, Slow: true}, 0)
		a.redis.Hang()
		sent := s.now()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			// The gateway is killed before it responds, so the error does not matter.
			_, _ = s.mutate(ctx, a, fmt.Sprintf(`mutation { updateUser(id: %d, input: {bio: "v1"}) { id } }`, user), nil)
		}()
		s.eventually("it is committed", func(ctx context.Context) error {
			var got string
			if err := s.db.QueryRow(ctx, `SELECT bio FROM users WHERE id = $1`, user).Scan(&got); err != nil || got != "v1" {
				return fmt.Errorf("the row says %s: %w", got, err)
			}
			return nil
		})
		committed := s.now()
		a.Stop()
		s.wrote(Write{Register: bioOf(user), Version: 1, Via: Nobody, Sent: sent, Acked: committed})
		cancel()
		<-ended
		for s.now() < committed+2*lease {
			for _, g := range s.gateways {
				if g != a {
					s.look(g, user)
				}
			}
			s.pass(t.Context(), 10*time.Millisecond)
		}
		relayed := s.eventually("Redis has forgotten the old row, or holds the new one", func(ctx context.Context) error {
			text, err := s.stored.Get(ctx, fmt.Sprint("user:", user)).Result()
			if err == nil && !strings.Contains(text, `"v1"`) {
				return fmt.Errorf("it holds %s", text)
			} else if err != redis.Nil {
				return err
			}
			return nil
		})
		t.Logf("Redis was correct %v after the bound", relayed)
		a.redis.Mend()
		a.Start()
		gone()
		s.want(a, user, 1)
	}
	s.judge(false)
	s.atRest()
}

// Promise 6: a Redis that restarts on an old dump does not make any gateway serve values older than
// later writes, not even a gateway that has just started.
func TestOldDump(t *testing.T) {
	t.Parallel()
	const some = 20
	s := open(t, layout{patient: true})
	for user := 1; user <= some; user++ {
		for _, g := range s.gateways {
			s.look(g, user)
		}
	}
	s.redisDo("SAVE")
	for user := 1; user <= some; user++ {
		if user%4 == 0 {
			sent := s.now()
			s.exec(`UPDATE users SET bio = 'v1' WHERE id = $1`, user)
			s.wrote(Write{Register: bioOf(user), Version: 1, Via: Direct, Sent: sent, Acked: s.now()})
		} else {
			s.step(s.gateways[user%3], user, 1)
		}
	}
	s.pass(t.Context(), lease) // every gateway knows of the writes, and they are relayed
	s.storedMayBeOld()
	s.layout.redis.Stop()
	s.layout.redis.Start()
	held := 0
	for user := 1; user <= some; user++ {
		text, err := s.stored.Get(t.Context(), fmt.Sprint("user:", user)).Result()
		if err == nil && strings.Contains(text, `"v0"`) {
			held++
		}
	}
	if held != some {
		t.Fatalf("the old dump holds %d of %d old rows, want all of them", held, some)
	}
	newcomer := s.add()
	for user := 1; user <= some; user++ {
		for _, g := range append([]*gateway{newcomer}, s.gateways[:3]...) {
			s.look(g, user)
		}
	}
	s.judge(false)
	s.atRest()
}

// Without its database a gateway serves stale responses and marks them. With the database back, its
// responses are current again.
func TestStaleIfError(t *testing.T) {
	t.Parallel()
	s := open(t, layout{postgres: testservers.PostgresServer(t)})
	for _, g := range s.gateways {
		s.look(g, 1)
	}
	away := s.databaseAway("")
	s.layout.postgres.Stop()
	for _, g := range s.gateways {
		s.eventually("gateway "+g.name+" marks its answers", func(ctx context.Context) error {
			a, err := s.query(ctx, g, `{ user(id: 1) { bio } }`, nil)
			if ctx.Err() == nil && err != nil { // as long as it has the row, there is no reason for an error
				t.Fatalf("gateway %s: %v", g.name, err)
			}
			if err != nil {
				return errors.New("none of its answers is marked")
			}
			if string(a.data) != `{"user":{"bio":"v0"}}` {
				t.Fatalf("gateway %s returned %s", g.name, a.data)
			}
			if !a.stale {
				return errors.New("the last answer is not marked")
			}
			return nil
		})
	}
	s.layout.postgres.Start()
	s.eventually("the database can be written", func(ctx context.Context) error {
		_, err := s.db.Exec(ctx, `UPDATE users SET bio = 'v1' WHERE id = 1`)
		return err
	})
	away()
	for _, g := range s.gateways {
		s.eventually("gateway "+g.name+" has found its database", func(ctx context.Context) error {
			a, err := s.query(ctx, g, `{ user(id: 1) { bio } }`, nil)
			if err == nil && (a.stale || string(a.data) != `{"user":{"bio":"v1"}}`) {
				err = fmt.Errorf("it answers %s, marked: %v", a.data, a.stale)
			}
			return err
		})
	}
	s.atRest()
}
