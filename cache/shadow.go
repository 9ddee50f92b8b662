package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"time"
)

// maxJudged limits how many differences of shadow mode are checked at a time. Further differences
// are not checked.
const maxJudged = 64

// differ reports whether two values differ. Values without JSON are not compared.
func differ(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && !bytes.Equal(x, y)
}

// compare counts the value that a tier would have served instead of a load, and compares it with
// the loaded one. A difference counts if no write explains it, even after a pause: the request may hold
// rows from before one.
func (c *Cache) compare(ctx context.Context, f *flight, value any, own *Loaded) {
	c.stats.ShadowHits.Add(1)
	if f.Meter != nil {
		f.Meter.Shadow.Add(1)
	}
	if !differ(f.would.Value, value) ||
		own.Since != nil && !c.Generations().quiet(own.Since.generations, f.Key, nil, f.Tags, f.would.Tags, own.Tags) {
		return
	}
	select {
	case c.judges <- struct{}{}:
	default:
		return
	}
	g := c.flights.beginAlone(ctx)
	age := time.Since(f.would.Loaded)
	go func() {
		defer func() { <-c.judges }()
		defer c.flights.end(g)
		ctx, cancel := context.WithTimeout(g.ctx, 5*c.lease)
		defer cancel()
		pause(ctx, 2*c.lease)
		if !c.Generations().Holds(f.stamp) || f.would.Stamp != nil && !c.Generations().Holds(f.would.Stamp) ||
			c.softened(&f.Item, f.would) || ctx.Err() != nil {
			return
		}
		c.stats.ShadowDifferences.Add(1)
		if f.Meter != nil {
			f.Meter.Differences.Add(1)
		}
		c.log.Error("shadow mode: a cached value differs from the source", "key", string(f.Key),
			"coordinate", f.Meter.name(), "age", age.Round(time.Millisecond))
	}()
}
