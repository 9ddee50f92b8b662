package redisstore_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
)

// Operations that a server refuses at the same time, since it lacks a command, all use the other way: only one of
// them is the first to record what is lacking.
func TestLackingCommandsAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, redisstore.Options{URLs: []string{lacking(t, "GETEX", "UNLINK", "EVAL", "EVALSHA")}, Timeout: patient})
	for name, operation := range map[string]func(cache.Item) error{
		"begin": func(i cache.Item) error {
			_, err := s.Begin(t.Context(), []cache.Item{i})
			return err
		},
		"fill": func(i cache.Item) error {
			tickets, err := s.Begin(t.Context(), []cache.Item{i})
			if err != nil {
				return err
			}
			now := time.Now()
			_, err = s.Fill(t.Context(), []cache.Fill{{
				Item: i, Ticket: tickets[0], Entry: &cache.Entry{Data: []byte("null"), Loaded: now, Ends: now.Add(time.Hour)},
			}})
			return err
		},
		"evict": func(i cache.Item) error {
			_, err := s.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{i.Key}}, Quiet: true})
			return err
		},
	} {
		errs := make([]error, 16)
		start := make(chan struct{})
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() {
				<-start
				errs[i] = operation(cache.Item{Key: cache.Key(fmt.Sprintf("%s:%d", name, i)), Tags: []cache.Tag{"{User}"}})
			})
		}
		close(start)
		all.Wait()
		for _, err := range errs {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
