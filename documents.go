package main

import (
	"context"
	"fmt"
	"os"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/redisstore"
)

// sharedDocuments is where gateways share what clients register, as long as Redis is well.
type sharedDocuments struct {
	redis *redisstore.Store
	cache *cache.Cache
}

var _ gqlcache.Documents = sharedDocuments{}

func (d sharedDocuments) Get(ctx context.Context, hash string) (string, bool) {
	if d.cache.Sick() {
		return "", false
	}
	return d.redis.Document(ctx, hash)
}

func (d sharedDocuments) Put(ctx context.Context, hash, text string) {
	if !d.cache.Sick() {
		d.redis.PutDocument(ctx, hash, text)
	}
}

// trustedDocuments reads the folder that cfg names; there need be none.
func trustedDocuments(cfg Config) (gqlcache.Trusted, error) {
	if cfg.TrustedDocuments == "" {
		return nil, nil
	}
	trusted, err := gqlcache.ReadTrusted(os.DirFS(cfg.TrustedDocuments))
	if err != nil {
		return nil, fmt.Errorf("TRUSTED_DOCUMENTS=%q: %w", cfg.TrustedDocuments, err)
	}
	return trusted, nil
}
