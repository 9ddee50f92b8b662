package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
)

var _ cache.Claimer = (*Store)(nil)

// Claim implements [cache.Claimer]. It stores the claim under a key that lives as long as any entry.
func (s *Store) Claim(ctx context.Context, database string) (before string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	key := s.prefix + "fieldcache:database"
	before, err = s.client.Get(ctx, key).Result()
	if err == nil || err == redis.Nil {
		err = s.client.Set(ctx, key, database, generationAge).Err()
	}
	if err != nil {
		return "", s.fault(ctx, "claim", err)
	}
	return before, nil
}
