package operator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
)

// maxNames bounds how many keys and tags of one eviction are sent.
const maxNames = 50

// eviction is an event of type "eviction".
type eviction struct {
	When  time.Time   `json:"when"`
	Cause cache.Cause `json:"cause"` // mutation, outbox, notice, hand, or loss: everything was evicted
	Keys  []cache.Key `json:"keys"`
	Tags  []cache.Tag `json:"tags"`
	More  int         `json:"more,omitempty"` // number of keys and tags left out
	Xid   string      `json:"xid,omitempty"`  // of the transaction, if known
}

// counters is an event of type "counters".
type counters struct {
	When        time.Time           `json:"when"`
	Coordinates []coordinate        `json:"coordinates"`
	Metrics     map[string]*float64 `json:"metrics"` // by name and labels, as in /metrics; null for NaN and infinity
	Top         []hitKey            `json:"top"`     // the keys with most hits, sampled since the first client connected
	Soonest     []ending            `json:"soonest"` // the entries in memory that expire next, among Looked entries
	Looked      int                 `json:"looked"`
	Outcomes    []outcome           `json:"outcomes"` // latency of requests to /graphql
	Redis       *redisState         `json:"redis"`    // null without Redis
	Skipped     uint64              `json:"skipped"`  // evictions above the limit of the last interval, which were not sent
}

// ending is an entry and the number of seconds until it expires.
type ending struct {
	Key cache.Key `json:"key"`
	TTL float64   `json:"ttl"`
}

// coordinate counts where the values of a coordinate came from since the start.
type coordinate struct {
	Coordinate string   `json:"coordinate"`
	MaxAge     *float64 `json:"maxAge,omitempty"` // seconds
	Scope      string   `json:"scope,omitempty"`
	// Truth says what evicts values: rows, observed or tags. It is ttl if they only expire.
	Truth     gqlcache.Truth `json:"truth,omitempty"`
	Memory    uint64         `json:"memory"`
	Redis     uint64         `json:"redis"`
	Misses    uint64         `json:"misses"`
	Collapsed uint64         `json:"collapsed"`
	Stale     uint64         `json:"stale"`
	Bypassed  uint64         `json:"bypassed"`
	Failed    uint64         `json:"failed"`
}

// events sends server-sent events until the client disconnects: each eviction, up to MaxEvents per
// interval, and the counters at each interval.
func (p *operator) events(w http.ResponseWriter, r *http.Request) {
	watcher := p.Cache.WatchEvictions(p.MaxEvents)
	defer watcher.Close()
	defer p.hits.look(p.Cache)()
	defer p.redis.look()()
	stream := &stream{w: w, control: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // or nginx buffers the events
	p.sendCounters(stream, 0)
	ticker := time.NewTicker(p.Interval)
	defer ticker.Stop()
	sent, skipped, missed := 0, uint64(0), uint64(0)
	for stream.err == nil {
		select {
		case <-r.Context().Done():
			return
		case e := <-watcher.C():
			if sent++; sent > p.MaxEvents {
				skipped++
				continue
			}
			stream.send("eviction", shorten(e))
		case <-ticker.C:
			total := watcher.Missed()
			p.sendCounters(stream, skipped+total-missed)
			sent, skipped, missed = 0, 0, total
		}
	}
}

func shorten(e cache.Event) eviction {
	keys, tags := e.Keys[:min(len(e.Keys), maxNames)], e.Tags[:min(len(e.Tags), maxNames)]
	s := eviction{
		When: e.At.UTC(), Cause: e.Cause, Keys: append([]cache.Key{}, keys...), Tags: append([]cache.Tag{}, tags...),
		More: len(e.Keys) + len(e.Tags) - len(keys) - len(tags),
	}
	if e.Xid != 0 {
		s.Xid = strconv.FormatUint(e.Xid, 10)
	}
	return s
}

func (p *operator) sendCounters(s *stream, skipped uint64) {
	c := counters{When: time.Now().UTC(), Coordinates: []coordinate{}, Skipped: skipped, Top: p.hits.top(), Soonest: []ending{}, Redis: p.redis.state()}
	c.Metrics, c.Outcomes = p.metrics()
	if p.Soonest != nil {
		next, looked := p.Soonest(listedKeys, soonestBound)
		c.Looked = looked
		for _, e := range next {
			c.Soonest = append(c.Soonest, ending{e.Key, e.Ends.Sub(c.When).Seconds()})
		}
	}
	for _, m := range p.Cache.Meters() {
		one := coordinate{
			Coordinate: m.Coordinate, Memory: m.Memory.Load(), Redis: m.Shared.Load(), Misses: m.Missed.Load(), Collapsed: m.Joined.Load(),
			Stale: m.Stale.Load(), Bypassed: m.Bypassed.Load(), Failed: m.Failed.Load(),
		}
		if p.Policy != nil {
			if policy, err := p.Policy(m.Coordinate); err == nil {
				one.MaxAge, one.Scope = new(policy.MaxAge.Seconds()), policy.Scope.String()
			}
		}
		if p.Truth != nil {
			one.Truth = p.Truth(m.Coordinate)
		}
		c.Coordinates = append(c.Coordinates, one)
	}
	s.send("counters", c)
}

// metrics returns the server's counters and gauges, the counts and sums of its histograms, and the
// latency by outcome.
func (p *operator) metrics() (values map[string]*float64, by []outcome) {
	values = map[string]*float64{}
	families, err := p.Metrics.Gather()
	if err != nil {
		p.Log.Warn("cannot gather some metrics", "error", err)
	}
	put := func(name string, labels []*dto.LabelPair, v float64) {
		if len(labels) > 0 {
			pairs := make([]string, len(labels))
			for i, l := range labels {
				pairs[i] = l.GetName() + "=" + strconv.Quote(l.GetValue())
			}
			name += "{" + strings.Join(pairs, ",") + "}"
		}
		if v-v != 0 { // JSON has neither NaN nor infinity
			values[name] = nil
			return
		}
		values[name] = &v
	}
	for _, f := range families {
		name := f.GetName()
		// The counters of each coordinate are sent separately.
		if !strings.HasPrefix(name, "fieldcache_") && !strings.HasPrefix(name, "process_") || name == gqlcache.FieldRequests {
			continue
		}
		if name == operations {
			by = outcomes(f)
		}
		for _, m := range f.GetMetric() {
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				put(name, m.GetLabel(), m.GetCounter().GetValue())
			case dto.MetricType_GAUGE:
				put(name, m.GetLabel(), m.GetGauge().GetValue())
			case dto.MetricType_HISTOGRAM:
				put(name+"_count", m.GetLabel(), float64(m.GetHistogram().GetSampleCount()))
				put(name+"_sum", m.GetLabel(), m.GetHistogram().GetSampleSum())
			}
		}
	}
	if by == nil {
		by = []outcome{}
	}
	return values, by
}

// sendTimeout is how long a client may take to read what was sent before. One that does not read,
// such as a page in a browser that is suspended, is disconnected.
const sendTimeout = 30 * time.Second

// stream writes server-sent events until a write fails.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

func (s *stream) send(event string, data any) {
	if s.err != nil {
		return
	}
	text, err := json.Marshal(data) // no line breaks
	if err == nil {
		_ = s.control.SetWriteDeadline(time.Now().Add(sendTimeout)) // if the writer supports it
		_, err = fmt.Fprintf(s.w, "event: %s\ndata: %s\n\n", event, text)
	}
	if err == nil {
		err = s.control.Flush()
	}
	s.err = err
}
