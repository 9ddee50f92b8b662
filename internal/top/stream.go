// Package top shows in a terminal what the operator's page shows in a browser: it reads the same events of a running server.
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

// Coordinate is how the values of a coordinate were answered since the server's start.
type Coordinate struct {
	Coordinate string   `json:"coordinate"`
	MaxAge     *float64 `json:"maxAge"` // seconds
	Scope      string   `json:"scope"`
	Truth      string   `json:"truth"` // rows, observed, tags; ttl: no write makes its values untrue
	Memory     uint64   `json:"memory"`
	Redis      uint64   `json:"redis"`
	Misses     uint64   `json:"misses"`
	Collapsed  uint64   `json:"collapsed"`
	Stale      uint64   `json:"stale"`
	Bypassed   uint64   `json:"bypassed"`
	Failed     uint64   `json:"failed"`
}

// asked is how many values were asked for.
func (c Coordinate) asked() uint64 {
	return c.Memory + c.Redis + c.Misses + c.Collapsed + c.Stale + c.Bypassed + c.Failed
}

// loads is how many of them were read from the database.
func (c Coordinate) loads() uint64 { return c.Misses + c.Bypassed }

// share is the share of values that needed no load; 0 where none was asked for.
func (c Coordinate) share() float64 {
	if c.asked() == 0 {
		return 0
	}
	return float64(c.Memory+c.Redis+c.Collapsed) / float64(c.asked())
}

// Counters is an event that comes once a second.
type Counters struct {
	When        time.Time           `json:"when"`
	Coordinates []Coordinate        `json:"coordinates"`
	Metrics     map[string]*float64 `json:"metrics"`
	Outcomes    []Outcome           `json:"outcomes"`
	Redis       *Redis              `json:"redis"` // nil without Redis
	Skipped     uint64              `json:"skipped"`
}

// Outcome is how long requests of one outcome took since the server's start.
type Outcome struct {
	Outcome string   `json:"outcome"`
	Count   uint64   `json:"count"`
	Buckets []Bucket `json:"buckets"`
}

// Bucket is how many requests took so many seconds at most.
type Bucket struct {
	AtMost float64 `json:"le"`
	Count  uint64  `json:"count"`
}

// since returns what came after before.
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

// quantile estimates how long a share of the requests took at most, as Prometheus does: within a bucket they are spread evenly. It is
// infinite beyond the last bucket, and not a number where there are no requests.
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

// Redis is how Redis does.
type Redis struct {
	Sick   string `json:"sick"`  // why it is left alone
	Error  string `json:"error"` // why it could not be sampled
	Sample *struct {
		Bytes    float64 `json:"bytes"`
		MaxBytes float64 `json:"maxBytes"` // 0: no bound
		Keys     float64 `json:"keys"`
		Drawn    int     `json:"drawn"`
		Kinds    []struct {
			Kind string  `json:"kind"`
			Keys float64 `json:"keys"`
		} `json:"kinds"`
	} `json:"sample"`
}

// sum adds up a metric over those of its labels that contain a text.
func (c Counters) sum(name, label string) (total float64) {
	for key, v := range c.Metrics {
		if v != nil && (key == name || strings.HasPrefix(key, name+"{") && strings.Contains(key, label)) {
			total += *v
		}
	}
	return total
}

// Eviction is an event that tells of one.
type Eviction struct {
	When  time.Time `json:"when"`
	Cause string    `json:"cause"`
	Keys  []string  `json:"keys"`
	Tags  []string  `json:"tags"`
	More  int       `json:"more"`
}

// Stream reads the events at a URL and hands them to tell, each a [Counters] or an [Eviction], until ctx ends or the server does. An
// error says why no more come.
func Stream(ctx context.Context, client *http.Client, url string, tell func(event any)) error {
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
		return fmt.Errorf("the server there sends no events: %s", response.Status)
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
			err = hand[Counters](value, tell)
		case name == "data" && event == "eviction":
			err = hand[Eviction](value, tell)
		}
		if err != nil {
			return fmt.Errorf("an event of type %s cannot be read: %w", event, err)
		}
	}
	return lines.Err()
}

func hand[T any](data string, tell func(any)) error {
	var v T
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		return err
	}
	tell(v)
	return nil
}
