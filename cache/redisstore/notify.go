package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	strict "github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
)

// publishAfter is how long evictions are collected before they are published. The cost of a message for
// its sender, the server and every subscriber is more than that of the names in it.
const publishAfter = 5 * time.Millisecond

// Limits of what is published. Other gateways learn of the rest from their polls.
const (
	publishedAtOnce = 1000   // names in one message
	publishedAtMost = 20_000 // names that wait to be published
)

// note is a message.
type note struct {
	From   string        `json:"from"`
	Writes []cache.Write `json:"writes"`
}

// unpublished holds the writes that wait to be published.
type unpublished struct {
	mu     sync.Mutex
	writes []cache.Write
	names  int
	timer  *time.Timer // nil if no writes wait
	closed bool
}

// publish schedules a write for publication to the other processes. If a message is lost, they evict
// later, after their next poll.
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

// names returns the number of keys and tags of a write.
func names(w cache.Write) int { return len(w.Keys) + len(w.Tags) }

// close stops publishing. Other processes learn of the rest from their polls.
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
		err = errors.New("no sender")
	}
	return n, err
}

// silence is for how long a subscription may hear nothing before it asks whether the server is still
// there, and then for how long it waits for the reply.
const silence = time.Second

// Subscribe calls receive for each write that another process publishes, and unreadable with an error for
// each message that it cannot decode, until ctx ends. It returns an error if it cannot subscribe, and
// when the server closes the connection or no longer responds.
func (s *Store) Subscribe(ctx context.Context, receive func(cache.Write), unreadable func(error)) error {
	sub := s.client.Subscribe(ctx, s.channel)
	defer func() { _ = sub.Close() }()
	defer context.AfterFunc(ctx, func() { _ = sub.Close() })()
	// Without a timeout this would wait for a server that hangs.
	if _, err := sub.ReceiveTimeout(ctx, s.timeout); err != nil {
		return s.fault(ctx, "subscribe", err)
	}
	for asked := false; ; {
		m, err := sub.ReceiveTimeout(ctx, silence)
		var reply redis.Error
		var timeout net.Error
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			asked = false
		case errors.As(err, &reply): // the user may not run PING
			asked = false
			continue
		case !asked && errors.As(err, &timeout) && timeout.Timeout():
			// A server that was cut off does not close the connection, and another one may have taken over.
			asked = true
			if err := sub.Ping(ctx); err != nil {
				return s.fault(ctx, "subscribe", err)
			}
			continue
		default:
			return s.fault(ctx, "subscribe", err)
		}
		if m, ok := m.(*redis.Message); ok {
			s.hear(m, receive, unreadable)
		}
	}
}

// hear reads a message.
func (s *Store) hear(m *redis.Message, receive func(cache.Write), unreadable func(error)) {
	n, err := readNote(m.Payload)
	switch {
	case err != nil:
		unreadable(fmt.Errorf("redisstore: a message on %s: %w", m.Channel, err))
	case n.From != s.self:
		for _, w := range n.Writes {
			receive(w)
		}
	}
}
