package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"fieldcache/cache"
)

// publishAfter is for how long evictions are collected before they are published: each message costs its writer,
// the server and every subscriber more than what it names.
const publishAfter = 5 * time.Millisecond

// note is published writes.
type note struct {
	From   string        `json:"from"`
	Writes []cache.Write `json:"writes"`
}

// unpublished is the writes that are to be published.
type unpublished struct {
	mu     sync.Mutex
	writes []cache.Write
	timer  *time.Timer // nil: there are none
	closed bool
}

// publish tells the other processes of a write, soon. A lost message makes them later, not wrong.
func (s *Store) publish(w cache.Write) {
	u := &s.unpublished
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return
	}
	u.writes = append(u.writes, w)
	if u.timer == nil {
		u.timer = time.AfterFunc(publishAfter, s.publishAll)
	}
}

func (s *Store) publishAll() {
	u := &s.unpublished
	u.mu.Lock()
	writes := u.writes
	u.writes, u.timer = nil, nil
	u.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	message, err := json.Marshal(note{s.self, writes})
	if err == nil {
		err = s.client.Publish(ctx, s.channel, message).Err()
	}
	if err != nil {
		s.log.DebugContext(ctx, "evictions were not published", "error", err)
	}
}

// close publishes nothing more: who is not told polls.
func (u *unpublished) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	if u.timer != nil {
		u.timer.Stop()
	}
}

// Subscribe calls heard for each write whose eviction another process published, until ctx ends. The
// connection is made again when it breaks.
func (s *Store) Subscribe(ctx context.Context, heard func(cache.Write)) error {
	sub := s.client.Subscribe(ctx, s.channel)
	defer func() { _ = sub.Close() }() // nothing is lost with a subscription
	// Without a timeout this would wait for a server that hangs, and not for the end of ctx either.
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
			var n note
			if err := json.Unmarshal([]byte(m.Payload), &n); err != nil {
				s.log.DebugContext(ctx, "a message that is no eviction", "channel", m.Channel)
				continue
			}
			if n.From == s.self {
				continue
			}
			for _, w := range n.Writes {
				heard(w)
			}
		}
	}
}
