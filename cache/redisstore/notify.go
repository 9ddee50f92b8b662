package redisstore

import (
	"context"
	"encoding/json"
	"fmt"

	"fieldcache/cache"
)

// note is a published write.
type note struct {
	From string `json:"from"`
	cache.Write
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
			if n.From != s.self {
				heard(n.Write)
			}
		}
	}
}
