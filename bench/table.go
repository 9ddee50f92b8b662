package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// measurement is the result of a server in one round.
type measurement struct {
	requests int64
	elapsed  time.Duration
	cpu      time.Duration // of the server for one request; 0 if unknown
	rss      int64         // bytes; 0 if unknown
	redis    float64       // share of Redis in the cache's hits; negative without hits
}

func (m measurement) rate() float64 { return float64(m.requests) / m.elapsed.Seconds() }

// table holds the results for one operation, with servers in the order of their first measurement.
type table struct {
	names  []string
	rounds map[string][]measurement
}

func (t *table) add(name string, m measurement) {
	if t.rounds == nil {
		t.rounds = map[string][]measurement{}
	}
	if !slices.Contains(t.names, name) {
		t.names = append(t.names, name)
	}
	t.rounds[name] = append(t.rounds[name], m)
}

// markdown returns the table. Ratios compare medians with those of the first server: above 1 is
// better for requests per second, and worse for time.
func (t *table) markdown() string {
	var b strings.Builder
	if len(t.names) == 0 {
		return ""
	}
	first := t.names[0]
	fmt.Fprintf(&b, "| server | requests/s | of %s | lowest to highest | CPU/request | of %s | RSS | cache hits from Redis |\n", first, first)
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	rate := func(m measurement) float64 { return m.rate() }
	cpu := func(m measurement) float64 { return float64(m.cpu) / float64(time.Microsecond) }
	for _, name := range t.names {
		list := t.rounds[name]
		last := list[len(list)-1]
		rates := each(list, rate)
		fmt.Fprintf(&b, "| %s | %.0f | %s | %.0f to %.0f | %s | %s | %s | %s |\n", name,
			median(rates), ratio(median(rates), median(each(t.rounds[first], rate))), slices.Min(rates), slices.Max(rates),
			known("%.1f µs", median(each(list, cpu))), ratio(median(each(list, cpu)), median(each(t.rounds[first], cpu))),
			known("%.0f MiB", float64(last.rss)/(1<<20)), share(last.redis))
	}
	return b.String()
}

func each(list []measurement, of func(measurement) float64) []float64 {
	values := make([]float64, len(list))
	for i, m := range list {
		values[i] = of(m)
	}
	return values
}

// median returns the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratio returns "" if one of the two is unknown.
func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", a/b)
}

func known(format string, v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf(format, v)
}

func share(v float64) string {
	if v < 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*v)
}
