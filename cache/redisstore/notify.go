package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	strict "github.com/go-json-experiment/json"

	"fieldcache/cache"
)

// publishAfter is how long evictions are collected before they are published: a message costs its
// sender, the server and every subscriber more than the names in it.
const publishAfter = 5 * time.Millisecond

// Limits of what is published: the names of one message, and those that wait. Other gateways learn
// of the rest from their polls.
const (
	publishedAtOnce = 1000
	publishedAtMost = 20_000
)

// note is published writes.
type note struct {
	From   string        `json:"from"`
	Writes []cache.Write `json:"writes"`
}

// unpublished is the writes to be published.
type unpublished struct {
	mu     sync.Mutex
	writes []cache.Write
	names  int
	timer  *time.Timer // nil: there are none
	closed bool
}

// publish informs the other processes of a write, soon. A lost message makes them slower, not
// wrong.
func (s *Store) publish(w cache.Write) {
	u := &s.unpublished
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || u.names > publishedAtMost {
		return
	}
	u.writes = append(u.writes, w)
	u.names += names(w)
	if u.timer == nil {
		u.timer = time.AfterFunc(publishAfter, s.publishAll)
	}
}

func (s *Store) publishAll() {
	u := &s.unpublished
	u.mu.Lock()
	writes := u.writes
	u.writes, u.names, u.timer = nil, 0, nil
	u.mu.Unlock()
	for from := 0; from < len(writes); {
		n, to := names(writes[from]), from+1
		for to < len(writes) && n+names(writes[to]) <= publishedAtOnce {
			n, to = n+names(writes[to]), to+1
		}
		if !s.publishSome(writes[from:to]) {
			return
		}
		from = to
	}
}

func (s *Store) publishSome(writes []cache.Write) bool {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	message, err := json.Marshal(note{s.self, writes})
	if err == nil {
		err = s.client.Publish(ctx, s.channel, message).Err()
	}
	if err != nil {
		s.log.DebugContext(ctx, "cannot publish evictions", "error", err)
	}
	return err == nil
}

// names returns how many names a write has.
func names(w cache.Write) int { return len(w.Keys) + len(w.Tags) }

// close publishes nothing more: other processes learn of the rest from their polls.
func (u *unpublished) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	if u.timer != nil {
		u.timer.Stop()
	}
}

// readNote reads a message. Names are case-sensitive; an unknown or repeated name is an error.
func readNote(message string) (n note, err error) {
	if err = strict.Unmarshal([]byte(message), &n, strict.RejectUnknownMembers(true)); err == nil && n.From == "" {
		err = errors.New("it has no sender")
	}
	return n, err
}

// Subscribe calls heard for each write whose eviction another process published, and unreadable for each
// message that is no such thing, until ctx ends. The connection is made again when it breaks.
func (s *Store) Subscribe(ctx context.Context, heard func(cache.Write), unreadable func(error)) error {
	sub := s.client.Subscribe(ctx, s.channel)
	defer func() { _ = sub.Close() }() // nothing is lost with a subscription
	// Without a timeout this would wait for a server that hangs, even after the end of ctx.
	if _, err := sub.ReceiveTimeout(ctx, s.timeout); err != nil {
		return fmt.Errorf("redisstore: subscribe: %w", err)
	}
	messages := sub.Channel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-messages:
			if !ok {
				return nil
			}
			n, err := readNote(m.Payload)
			switch {
			case err != nil:
				unreadable(fmt.Errorf("redisstore: a message on %s: %w", m.Channel, err))
				continue
			case n.From == s.self:
				continue
			}
			for _, w := range n.Writes {
				heard(w)
			}
		}
	}
}
