package top

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// tiers returns a line for each tier and one for the latency by outcome. The arguments are rates per
// second.
func (s *state) tiers(hits, requests, memory, redis, misses float64) []string {
	held := func(name, of string, share string) string {
		bytes := size(s.now.sum("fieldcache_"+of+"_bytes", ""))
		if most := s.now.sum("fieldcache_memory_max_bytes", "of="+strconv.Quote(name)); most > 0 {
			bytes += " of " + size(most)
		}
		return fmt.Sprintf("%-10s %5s entries %18s  %5s evicted by size  hits %s", name, count(s.now.sum("fieldcache_"+of+"_entries", "")),
			bytes, count(s.now.sum("fieldcache_"+of+"_overflows_total", "")), bold.Render(share))
	}
	lines := []string{
		held("responses", "answer", share(hits, requests)),
		held("values", "memory", share(memory, memory+redis+misses)),
		"Redis      " + s.redis(share(redis, redis+misses)),
	}
	if of := s.latencies(); len(of) > 0 {
		var parts []string
		for _, o := range of {
			parts = append(parts, fmt.Sprintf("%s %s/%s/%s", o.Outcome, latency(o.quantile(0.5)), latency(o.quantile(0.95)), latency(o.quantile(0.99))))
		}
		lines = append(lines, "latency    p50/p95/p99  "+strings.Join(parts, "  "))
	}
	return lines
}

// redis describes the state of Redis and its most frequent kinds of keys.
func (s *state) redis(hits string) string {
	r := s.now.Redis
	switch {
	case r == nil:
		return faint.Render("none")
	case r.Sick != "":
		return bad.Render("not in use: " + printable(r.Sick))
	}
	text := good.Render("ok") + "  hits " + bold.Render(hits)
	switch {
	case r.Sample != nil:
		if r.Sample.Bytes > 0 {
			text += "  " + size(r.Sample.Bytes)
			if r.Sample.MaxBytes > 0 {
				text += " of " + size(r.Sample.MaxBytes)
			}
		}
		text += fmt.Sprintf("  %s keys", count(r.Sample.Keys))
		if kinds := r.Sample.Kinds; len(kinds) > 0 {
			text += ", sampled:"
			for _, k := range kinds[:min(len(kinds), 3)] {
				text += fmt.Sprintf(" %s %s", printable(k.Kind), share(k.Keys, r.Sample.Keys))
			}
		}
	case r.Error != "":
		text += "  " + warm.Render("sampling failed: "+printable(r.Error))
	}
	return text
}

// latency formats a duration in seconds.
func latency(seconds float64) string {
	switch ms := 1000 * seconds; {
	case math.IsNaN(seconds):
		return "-"
	case math.IsInf(seconds, 1):
		return ">6.6s"
	case ms >= 1000:
		return fmt.Sprintf("%.1fs", seconds)
	case ms >= 10:
		return fmt.Sprintf("%.0fms", ms)
	default:
		return fmt.Sprintf("%.2fms", ms)
	}
}
