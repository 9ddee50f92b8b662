package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"time"
)

// maxJudged bounds the differences of shadow mode that are looked at at a time; more are not judged.
const maxJudged = 64

// differ reports whether two values are not the same. What has no JSON is not compared.
func differ(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && !bytes.Equal(x, y)
}

// compare counts what a tier would have answered in the place of a load, and looks whether it was the same. A difference
// counts if no write was heard of that explains it, not even a while later.
func (c *Cache) compare(ctx context.Context, f *flight, value any) {
	c.stats.ShadowHits.Add(1)
	if f.Meter != nil {
		f.Meter.Shadow.Add(1)
	}
	if !differ(f.would.Value, value) {
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
		if !c.Generations().Holds(f.stamp) || f.would.Stamp != nil && !c.Generations().Holds(f.would.Stamp) || ctx.Err() != nil {
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
