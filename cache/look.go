package cache

import (
	"context"
	"slices"
	"time"
)

// Looker is a [Store] whose entries can be inspected.
type Looker interface {
	// Look returns the entry of a key as it is stored, whether or not it may be served, nil if there is none. Its tags are
	// all that it was stored under, those of its item included.
	Look(ctx context.Context, key Key) (*Entry, error)
}

// Held is an entry and the tier that holds it.
type Held struct {
	Tier Tier
	*Entry
}

// Look returns what the tiers hold under a key, memory first. It is for inspection: a returned
// entry may be one that readers no longer get. It returns an error if the shared tier could not be
// asked.
func (c *Cache) Look(ctx context.Context, key Key) (held []Held, err error) {
	if e := c.memory.Peek(key, time.Now()); e != nil {
		held = append(held, Held{MemoryTier, e})
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
