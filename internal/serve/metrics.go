package serve

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/outbox"
	"fieldcache/cache/transport"
)

// Sources are the parts of a gateway that have metrics.
type Sources struct {
	Cache     *cache.Cache
	Memory    *memstore.Store
	Watch     *outbox.Watch // nil if tables are not watched
	Admission *transport.Admission
	Handler   *transport.Handler
	Answers   *answers.Store // nil if whole responses are not cached
}

// RegisterMetrics registers the metrics of a gateway.
func RegisterMetrics(metrics prometheus.Registerer, of Sources) {
	registerCacheMetrics(metrics, of.Cache, of.Memory)
	if of.Watch != nil {
		registerWatchMetrics(metrics, of.Watch)
	}
	metrics.MustRegister(gqlcache.NewFieldRequests(of.Cache.Meters))
	registerAdmissionMetrics(metrics, of.Admission)
	registerAnswerMetrics(metrics, of.Handler, of.Answers)
}

// registerCacheMetrics registers the cache's metrics.
func registerCacheMetrics(metrics prometheus.Registerer, c *cache.Cache, memory *memstore.Store) {
	s := c.Stats()
	counter := func(name, help string, labels prometheus.Labels, value func() uint64) {
		metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "fieldcache", Name: name, Help: help, ConstLabels: labels,
		}, func() float64 { return float64(value()) }))
	}
	gauge := func(name, help string, value func() float64) {
		metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "fieldcache", Name: name, Help: help}, value))
	}
	const hits = "Values read from a cache tier."
	counter("hits_total", hits, prometheus.Labels{"tier": "memory"}, s.MemoryHits.Load)
	counter("hits_total", hits, prometheus.Labels{"tier": "redis"}, s.SharedHits.Load)
	counter("joined_total", "Values read by a load that another request began.", nil, s.Joined.Load)
	counter("misses_total", "Values that no tier had.", nil, s.Misses.Load)
	counter("loads_total", "Calls of sources; about one statement each.", nil, s.Loads.Load)
	counter("refreshes_total", "Values reloaded before they expired.", nil, s.Refreshes.Load)
	counter("stale_total", "Values served stale, because the database failed.", nil, s.Stale.Load)
	counter("fills_total", "Entries written to Redis.", nil, s.Fills.Load)
	counter("fills_refused_total", "Entries not written to Redis, because they were evicted during the load.", nil, s.Refused.Load)
	counter("below_floor_total", "Entries of Redis not served, because a known write is newer.", nil, s.BelowFloor.Load)
	counter("foreign_total", "Entries of Redis not served, because they are of another database or of an earlier epoch.", nil, s.Foreign.Load)
	counter("floors_raised_total", "Floors raised by writes.", nil, s.Floors.Load)
	for cause, value := range map[string]func() uint64{
		"mutation": s.EvictedByWrite.Load, "outbox": s.EvictedByOutbox.Load,
		"notice": s.EvictedByNotice.Load, "hand": s.EvictedByHand.Load,
	} {
		counter("evictions_total", "Keys and tags evicted, by how this gateway learned of the write.", prometheus.Labels{"cause": cause}, value)
	}
	counter("forgotten_total", "Evictions of the whole cache, because writes were missed.", nil, s.Forgotten.Load)
	counter("relayed_total", "Writes whose evictions this gateway sent to Redis from the outbox.", nil, s.Relayed.Load)
	const late = "Mutations whose evictions Redis did not execute in time, by what allowed their responses: another gateway's relay, or a lease after the commit."
	counter("late_acknowledgements_total", late, prometheus.Labels{"by": "relay"}, s.ByRelay.Load)
	counter("late_acknowledgements_total", late, prometheus.Labels{"by": "lease"}, s.ByLease.Load)
	counter("lease_losses_total", "Leases lost, because polls of the outbox failed or took too long.", nil, s.LeaseLosses.Load)
	counter("poll_faults_total", "Polls of the outbox that failed.", nil, s.PollFaults.Load)
	const unreadable = "Rows of the outbox and messages of Redis that cannot be decoded. The tables of such rows are evicted; such messages are ignored."
	counter("unreadable_total", unreadable, prometheus.Labels{"of": "outbox"}, s.Unreadable.Load)
	counter("unreadable_total", unreadable, prometheus.Labels{"of": "message"}, s.UnreadableNotices.Load)
	counter("redis_faults_total", "Calls of Redis that failed.", nil, s.Faults.Load)
	counter("redis_skipped_total", "Calls of Redis skipped while it was down.", nil, s.Skipped.Load)
	counter("revalidating_total", "Expired values served while they are loaded again.", nil, s.Revalidating.Load)
	counter("shadow_hits_total", "Values of shadow mode that a cache would have served.", nil, s.ShadowHits.Load)
	counter("shadow_differences_total", "Of those, values that differed from the source without a write that explains it. Must be 0.", nil, s.ShadowDifferences.Load)
	counter("audits_total", "Values that were read again from the database.", nil, s.Audits.Load)
	counter("audits_stale_total", "Of those, values that differed from the database. Must be 0.", nil, s.AuditsStale.Load)
	counter("audits_leaks_total", "Of those, public values that depend on the viewer. Must be 0.", nil, s.AuditsLeaks.Load)
	gauge("outbox_lag_seconds", "Age of the oldest write in the outbox whose eviction Redis has not executed.", func() float64 { return s.Lag().Seconds() })
	gauge("outbox_backlog", "Rows of the outbox whose evictions Redis has not executed; counted up to a million.", func() float64 { return float64(s.Backlog()) })
	gauge("redis_sick", "1 while Redis is not used because it failed.", func() float64 {
		if c.Sick() {
			return 1
		}
		return 0
	})
	for _, reason := range []string{"refused", "no answer"} {
		metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "fieldcache", Name: "redis_sick_reason", ConstLabels: prometheus.Labels{"reason": reason},
			Help: "1 for the reason why Redis is not used: it refuses commands, or does not respond. The log and /readyz have its error.",
		}, func() float64 {
			if err := c.Sickness(); err != nil && errors.Is(err, cache.ErrRefused) == (reason == "refused") {
				return 1
			}
			return 0
		}))
	}
	gauge("memory_bytes", "Size of the entries in memory.", func() float64 { return float64(memory.Bytes()) })
	metrics.MustRegister(maxBytes("values", memory.MaxBytes))
	gauge("memory_entries", "Entries in memory.", func() float64 { return float64(memory.Len()) })
	counter("memory_overflows_total", "Entries in memory dropped or not admitted because MEMORY_BYTES is used up.", nil, memory.Overflowed)
	gauge("lease_held", "1 while this gateway follows the writes of others, so that it may serve cached values.", func() float64 {
		if c.Trusted(time.Now()) {
			return 1
		}
		return 0
	})
}

// maxBytes returns the metric of the share of MEMORY_BYTES that values or responses have.
func maxBytes(of string, value func() uint64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "fieldcache", Name: "memory_max_bytes", ConstLabels: prometheus.Labels{"of": of},
		Help: "Largest size of what is cached in memory: the share of MEMORY_BYTES that values or responses have.",
	}, func() float64 { return float64(value()) })
}

// registerWatchMetrics registers metrics of whether the database records writes.
func registerWatchMetrics(metrics prometheus.Registerer, w *outbox.Watch) {
	metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "fieldcache", Name: "table_changes_total",
		Help: "Changes of tables or triggers for which a table was evicted, such as a detached partition or a disabled trigger.",
	}, func() float64 { return float64(w.Changes()) }))
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "fieldcache", Name: "tables_unnoted",
		Help: "Tables whose writes the database does not record, and which are evicted every few seconds instead. Must be 0.",
	}, func() float64 { return float64(w.Unnoted()) }))
}

// registerAdmissionMetrics registers metrics of the operations that are refused or wait.
func registerAdmissionMetrics(metrics prometheus.Registerer, a *transport.Admission) {
	metrics.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "fieldcache", Name: "overloaded_total", Help: "Requests refused because the server is overloaded.",
		}, func() float64 { return float64(a.Refused()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "fieldcache", Name: "waiting", Help: "Requests waiting to be executed.",
		}, func() float64 { return float64(a.Waiting()) }))
}

// registerAnswerMetrics registers the metrics of whole responses. store may be nil.
func registerAnswerMetrics(metrics prometheus.Registerer, h *transport.Handler, store *answers.Store) {
	metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "fieldcache", Name: "answer_hits_total", Help: "Requests served by a cached response.",
	}, func() float64 { return float64(h.Hits()) }))
	metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "fieldcache", Name: "statements_saved_total",
		Help: "Lower bound of the statements that the cache has saved: the number of coordinates in each response of which no value came from the database.",
	}, func() float64 { return float64(h.StatementsSaved()) }))
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "fieldcache", Name: "document_bytes", Help: "Size of registered and parsed documents.",
	}, func() float64 { return float64(h.DocumentBytes()) }))
	if store != nil {
		metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "fieldcache", Name: "answer_bytes", Help: "Size of cached responses.",
		}, func() float64 { return float64(store.Bytes()) }))
		metrics.MustRegister(maxBytes("responses", store.MaxBytes))
		for form, kind := range map[string]answers.Kind{"url": answers.URL, "body": answers.Body, "meaning": answers.Meaning, "root": answers.Root} {
			metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
				Namespace: "fieldcache", Name: "answer_lookups_total", ConstLabels: prometheus.Labels{"form": form},
				Help: "Look-ups of cached responses, by the form of the request: as it was sent, or by its meaning.",
			}, func() float64 { return float64(store.Lookups(kind)) }))
		}
		metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "fieldcache", Name: "answer_entries", Help: "Cached responses, each counted once for every form of request that it serves.",
		}, func() float64 { return float64(store.Len()) }))
		metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "fieldcache", Name: "answer_overflows_total", Help: "Cached responses dropped or not admitted because MEMORY_BYTES is used up.",
		}, func() float64 { return float64(store.Overflowed()) }))
	}
}
