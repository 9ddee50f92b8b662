package redisstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
)

// Look implements [cache.Looker].
func (s *Store) Look(ctx context.Context, key cache.Key) (*cache.Entry, error) {
	text, err := s.client.Get(ctx, s.key(key)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("redisstore: read %s: %w", key, err)
	}
	e, tags, err := decode(key, text)
	if err != nil {
		return nil, nil //nolint:nilerr // not an entry of ours
	}
	e.Tags = slices.Sorted(maps.Keys(tags))
	return e, nil
}

var _ cache.Looker = (*Store)(nil)
