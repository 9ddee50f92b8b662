// Package top shows in a terminal what the operator's page shows in a browser. It reads the same
// events from a running server.
package top

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Coordinate counts where the values of a coordinate came from since the server started.
type Coordinate struct {
	Coordinate string   `json:"coordinate"`
	MaxAge     *float64 `json:"maxAge"` // seconds
	Scope      string   `json:"scope"`
	Truth      string   `json:"truth"` // what evicts values: rows, observed, tags; ttl if they only expire
	Memory     uint64   `json:"memory"`
	Redis      uint64   `json:"redis"`
	Misses     uint64   `json:"misses"`
	Collapsed  uint64   `json:"collapsed"`
	Stale      uint64   `json:"stale"`
	Bypassed   uint64   `json:"bypassed"`
	Failed     uint64   `json:"failed"`
}

// requests returns how many values were requested.
func (c Coordinate) requests() uint64 {
	return c.Memory + c.Redis + c.Misses + c.Collapsed + c.Stale + c.Bypassed + c.Failed
}

// loads returns how many values were read from the database.
func (c Coordinate) loads() uint64 { return c.Misses + c.Bypassed }

// share returns the share of values that needed no load, or 0 if none was requested.
func (c Coordinate) share() float64 {
	if c.requests() == 0 {
		return 0
	}
	return float64(c.Memory+c.Redis+c.Collapsed) / float64(c.requests())
}

// Counters is an event that the server sends once a second.
type Counters struct {
	When        time.Time           `json:"when"`
	Coordinates []Coordinate        `json:"coordinates"`
	Metrics     map[string]*float64 `json:"metrics"`
	Outcomes    []Outcome           `json:"outcomes"`
	Redis       *Redis              `json:"redis"` // nil without Redis
	Skipped     uint64              `json:"skipped"`
}

// Outcome is the latency of the requests of one outcome since the server started.
type Outcome struct {
	Outcome string   `json:"outcome"`
	Count   uint64   `json:"count"`
	Buckets []Bucket `json:"buckets"`
}

// Bucket counts the requests that took at most AtMost seconds.
type Bucket struct {
	AtMost float64 `json:"le"`
	Count  uint64  `json:"count"`
}

// since returns the requests of o that are not in before.
func (o Outcome) since(before []Outcome) Outcome {
	i := slices.IndexFunc(before, func(b Outcome) bool { return b.Outcome == o.Outcome })
	if i < 0 || before[i].Count > o.Count || len(before[i].Buckets) != len(o.Buckets) {
		return o
	}
	grew := Outcome{o.Outcome, o.Count - before[i].Count, slices.Clone(o.Buckets)}
	for at, b := range before[i].Buckets {
		grew.Buckets[at].Count -= b.Count
	}
	return grew
}

// quantile estimates a quantile in seconds as Prometheus does: it assumes that requests are spread
// evenly within a bucket. It returns +Inf beyond the last bucket and NaN if there are no requests.
func (o Outcome) quantile(share float64) float64 {
	if o.Count == 0 {
		return math.NaN()
	}
	rank := share * float64(o.Count)
	below, passed := 0.0, 0.0
	for _, b := range o.Buckets {
		if n := float64(b.Count); n >= rank && n > passed {
			return below + (b.AtMost-below)*(rank-passed)/(n-passed)
		}
		below, passed = b.AtMost, float64(b.Count)
	}
	return math.Inf(1)
}

// Redis is the state of Redis.
type Redis struct {
	Sick   string `json:"sick"`  // why Redis is not in use
	Error  string `json:"error"` // why the last sample failed
	Sample *struct {
		Bytes    float64 `json:"bytes"`
		MaxBytes float64 `json:"maxBytes"` // 0 if unbounded
		Keys     float64 `json:"keys"`
		Drawn    int     `json:"drawn"`
		Kinds    []struct {
			Kind string  `json:"kind"`
			Keys float64 `json:"keys"`
		} `json:"kinds"`
	} `json:"sample"`
}

// sum returns the sum of a metric's series whose labels contain the text label.
func (c Counters) sum(name, label string) (total float64) {
	for key, v := range c.Metrics {
		if v != nil && (key == name || strings.HasPrefix(key, name+"{") && strings.Contains(key, label)) {
			total += *v
		}
	}
	return total
}

// Eviction is an event that the server sends for each eviction.
type Eviction struct {
	When  time.Time `json:"when"`
	Cause string    `json:"cause"`
	Keys  []string  `json:"keys"`
	Tags  []string  `json:"tags"`
	More  int       `json:"more"`
}

// Stream reads the events at url and calls emit with each [Counters] and [Eviction]. It returns
// when ctx is canceled or the stream ends. The error is nil if the server ended the stream.
func Stream(ctx context.Context, client *http.Client, url string, emit func(event any)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ADMIN_ADDR: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		return fmt.Errorf("the server sends no events: %s", response.Status)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 16<<20)
	var event string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case name == "event":
			event = value
		case name == "data" && event == "counters":
			err = hand[Counters](value, emit)
		case name == "data" && event == "eviction":
			err = hand[Eviction](value, emit)
		}
		if err != nil {
			return fmt.Errorf("read an event of type %s: %w", event, err)
		}
	}
	return lines.Err()
}

func hand[T any](data string, emit func(any)) error {
	var v T
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		return err
	}
	emit(v)
	return nil
}
