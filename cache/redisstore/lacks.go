package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
)

// lacks records which replaceable commands the server does not have or the user may not run. It learns
// them from the first refusal.
type lacks struct {
	getEx   atomic.Bool // replaced by GET and PEXPIRE; new in Redis 6.2
	unlink  atomic.Bool // replaced by DEL; new in Redis 4
	scripts atomic.Bool // EVAL and EVALSHA, replaced by WATCH, MULTI and EXEC
}

// learn records the command that the server refused, and reports whether there is another way, which the
// caller then takes. It is true for a command that is recorded already, too: another operation was refused
// at the same time. The caller does not come here again, since a recorded command is not sent.
func (l *lacks) learn(err error) bool {
	if !redis.HasErrorPrefix(err, "NOPERM") && !redis.HasErrorPrefix(err, "unknown command") { // it ignores ERR
		return false
	}
	text, _, _ := strings.Cut(strings.ToLower(err.Error()), ", with args")
	for name, lacking := range map[string]*atomic.Bool{"getex": &l.getEx, "unlink": &l.unlink, "eval": &l.scripts} {
		// Versions of Redis quote the name differently.
		if strings.Contains(text, "'"+name) || strings.Contains(text, "`"+name) {
			lacking.Store(true)
			return true
		}
	}
	return false
}

// giveBack removes the fences of an announcement that will be repeated with other commands. A fence
// that it cannot remove expires after [fenceAge]. If it removes the fence of another load that came
// in between, that load does not fill.
func (s *Store) giveBack(ctx context.Context, items []cache.Item, a announcement) {
	_, _ = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, f := range a.fences {
			if f.Val() {
				p.Del(ctx, s.fence(items[i].Key))
			}
		}
		return nil
	})
}

// fillByTransactions fills without the script, with one more round trip: in a transaction that fails if
// another client changes a fence.
func (s *Store) fillByTransactions(ctx context.Context, calls []fillCall) (filled int, err error) {
	for _, c := range calls {
		fences := make([]string, 0, len(c.keys)/2)
		for i := 0; i < len(c.keys); i += 2 {
			fences = append(fences, c.keys[i])
		}
		n := 0
		err := s.client.Watch(ctx, func(tx *redis.Tx) error {
			tokens, err := tx.MGet(ctx, fences...).Result()
			if err != nil {
				return err
			}
			_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
				for i, token := range tokens {
					if token != c.args[3*i] {
						continue
					}
					n++
					p.Del(ctx, fences[i])
					left, _ := c.args[3*i+2].(int64)
					p.Set(ctx, c.keys[2*i+1], c.args[3*i+1], time.Duration(left)*time.Millisecond)
				}
				return nil
			})
			return err
		}, fences...)
		switch {
		case err == nil:
			filled += n
		case errors.Is(err, redis.TxFailedErr), full(err): // an eviction came in between
		case s.cluster && moving(err): // the next load may fill
		default:
			return filled, s.fault(ctx, "fill", err)
		}
	}
	return filled, nil
}

// moving reports whether a node could not execute a transaction because the slot of its keys is moving.
func moving(err error) bool {
	return redis.HasErrorPrefix(err, "EXECABORT") || redis.HasErrorPrefix(err, "TRYAGAIN")
}

// Probe implements [cache.Prober]. It performs each operation of the tier on a key of its own.
func (s *Store) Probe(ctx context.Context) error {
	item := cache.Item{Key: cache.Key("probe:" + rand.Text()), Tags: []cache.Tag{"{probe}"}, MaxAge: time.Second}
	tickets, err := s.Begin(ctx, []cache.Item{item})
	if err != nil {
		return err
	}
	now := time.Now()
	entry := &cache.Entry{Data: []byte("null"), Loaded: now, Ends: now.Add(time.Second)}
	if _, err := s.Fill(ctx, []cache.Fill{{Item: item, Ticket: tickets[0], Entry: entry}}); err != nil {
		return err
	}
	if _, err := s.Get(ctx, []cache.Item{item}); err != nil {
		return err
	}
	_, err = s.evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{item.Key}, Tags: item.Tags}})
	return err
}
