package cache

import (
	"context"
	"slices"
	"time"
)

// Looker is a [Store] whose entries can be inspected.
type Looker interface {
	// Look returns the entry of a key as it is stored, whether or not it may be served, or nil if there is none. Its
	// tags are all those that it was stored with, including the tags of its item.
	Look(ctx context.Context, key Key) (*Entry, error)
}

// Held is an entry and the tier that holds it.
type Held struct {
	Tier Tier
	*Entry
}

// Look returns the entries that the tiers hold for a key, memory first. It is for inspection: it
// may return an entry that is not served to readers any more. It returns an error if the shared
// tier failed.
func (c *Cache) Look(ctx context.Context, key Key) (held []Held, err error) {
	if e := c.memory.Peek(key, time.Now()); e != nil {
		shown := *e
		shown.Loaded, shown.Ends = e.Loaded.UTC(), e.Ends.UTC()
		held = append(held, Held{MemoryTier, &shown})
	}
	if c.shared == nil {
		return held, nil
	}
	looker, ok := c.shared.store.(Looker)
	if !ok {
		return held, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.shared.timeout)
	defer cancel()
	e, err := looker.Look(ctx, key)
	if e != nil {
		held = append(held, Held{SharedTier, e})
	}
	return slices.Clip(held), err
}
