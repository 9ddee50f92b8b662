package redisstore

import (
	"context"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
)

var _ cache.Tagger = (*Store)(nil)

// Generations implements [cache.Tagger], in one pipeline.
func (s *Store) Generations(ctx context.Context, tags []cache.Tag) (map[cache.Tag]string, error) {
	if len(tags) == 0 {
		return nil, nil
	}
	each, at := tagsOf([]cache.Item{{Tags: tags}})
	var a announcement
	cmds, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		a = s.announce(ctx, p, nil, each)
		return nil
	})
	if failed(cmds, err) {
		if err = worst(cmds, err); s.lacks.learn(err) {
			return s.Generations(ctx, tags)
		}
		return nil, s.fault(ctx, "read generations", err)
	}
	generations := make(map[cache.Tag]string, len(each))
	for tag, i := range at {
		generations[tag] = a.generations[i].Val() // empty, and never current, if it was evicted in between
	}
	return generations, nil
}

// owned holds the generations under which an entry with tags of its own was stored.
type owned struct {
	at     int // the index of the entry
	loaded map[cache.Tag]string
}

// takeOwn sets the entry's own tags: those in loaded that are not the item's.
func takeOwn(e *cache.Entry, item cache.Item, loaded map[cache.Tag]string) {
	for tag := range loaded {
		if !slices.Contains(item.Tags, tag) {
			e.Tags = append(e.Tags, tag)
		}
	}
	slices.Sort(e.Tags)
}

// confirm removes the entries with an evicted tag of their own. These tags are known only after the
// entries are read, so it takes another round trip.
func (s *Store) confirm(ctx context.Context, entries []*cache.Entry, own []owned) error {
	if len(own) == 0 {
		return nil
	}
	items := make([]cache.Item, len(own))
	for i, o := range own {
		items[i].Tags = entries[o.at].Tags
	}
	tags, at := tagsOf(items)
	values, err := s.mget(ctx, s.names(nil, tags))
	if err != nil {
		return err
	}
	for i, o := range own {
		if !current(items[i], o.loaded, func(t cache.Tag) *string { return values[at[t]] }) {
			entries[o.at] = nil
		}
	}
	return nil
}

// generationsOf returns the generations of the item's tags and of the entry's own.
func generationsOf(t *ticket, f cache.Fill) map[cache.Tag]string {
	if len(f.Entry.Tags) == 0 {
		return t.generations
	}
	all := make(map[cache.Tag]string, len(t.generations)+len(f.Entry.Tags))
	maps.Copy(all, t.generations)
	for _, tag := range f.Entry.Tags {
		if _, ok := all[tag]; !ok {
			all[tag] = f.Generations[tag]
		}
	}
	return all
}
