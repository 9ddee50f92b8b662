package serve

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/memstore"
	"fieldcache/cache/outbox"
	"fieldcache/cache/transport"
	"fieldcache/internal/operator"
)

// Sources are what the metrics of a gateway are read from.
type Sources struct {
	Cache     *cache.Cache
	Memory    *memstore.Store
	Watch     *outbox.Watch // nil: the database's tables are not watched
	Admission *transport.Admission
	Handler   *transport.Handler
	Answers   *answers.Store // nil: whole answers are not kept
}

// RegisterMetrics shows the counters of a gateway.
func RegisterMetrics(metrics prometheus.Registerer, of Sources) {
	registerCacheMetrics(metrics, of.Cache, of.Memory)
	if of.Watch != nil {
		registerWatchMetrics(metrics, of.Watch)
	}
	metrics.MustRegister(operator.NewCollector(of.Cache.Meters))
	registerAdmissionMetrics(metrics, of.Admission)
	registerAnswerMetrics(metrics, of.Handler, of.Answers)
}

// registerCacheMetrics shows the cache's counters.
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
	const hits = "Values answered from a cache tier."
	counter("hits_total", hits, prometheus.Labels{"tier": "memory"}, s.MemoryHits.Load)
	counter("hits_total", hits, prometheus.Labels{"tier": "redis"}, s.SharedHits.Load)
	counter("joined_total", "Values answered by a load that another reader began.", nil, s.Joined.Load)
	counter("misses_total", "Values asked of a source.", nil, s.Misses.Load)
	counter("loads_total", "Calls of a source: about one statement each.", nil, s.Loads.Load)
	counter("refreshes_total", "Values loaded anew before they ended.", nil, s.Refreshes.Load)
	counter("stale_total", "Values answered although they may no longer be true, because the database failed.", nil, s.Stale.Load)
	counter("fills_total", "Entries that Redis took.", nil, s.Fills.Load)
	counter("fills_refused_total", "Entries that Redis refused: their fence was gone.", nil, s.Refused.Load)
	counter("below_floor_total", "Entries of Redis not served, since a known write is newer.", nil, s.BelowFloor.Load)
	counter("foreign_total", "Entries of Redis not served, since they are of another database, or from before it went back.", nil, s.Foreign.Load)
	counter("floors_raised_total", "Floors raised by writes.", nil, s.Floors.Load)
	for cause, value := range map[string]func() uint64{
		"mutation": s.EvictedByWrite.Load, "outbox": s.EvictedByOutbox.Load,
		"notice": s.EvictedByNotice.Load, "hand": s.EvictedByHand.Load,
	} {
		counter("evictions_total", "Keys and tags evicted, by how this gateway learned that they are untrue.", prometheus.Labels{"cause": cause}, value)
	}
	counter("forgotten_total", "Times that everything was evicted, because writes were missed.", nil, s.Forgotten.Load)
	counter("relayed_total", "Writes whose evictions this gateway relayed to Redis.", nil, s.Relayed.Load)
	counter("lease_losses_total", "Times that others' writes were not heard of for a lease.", nil, s.LeaseLosses.Load)
	counter("poll_faults_total", "Polls of the outbox that failed.", nil, s.PollFaults.Load)
	const unreadable = "Rows of the outbox and messages of Redis that cannot be read. The tables of such rows are evicted, such messages ignored."
	counter("unreadable_total", unreadable, prometheus.Labels{"of": "outbox"}, s.Unreadable.Load)
	counter("unreadable_total", unreadable, prometheus.Labels{"of": "message"}, s.UnreadableNotices.Load)
	counter("redis_faults_total", "Calls of Redis that failed.", nil, s.Faults.Load)
	counter("redis_skipped_total", "Calls of Redis that were not made while it was down.", nil, s.Skipped.Load)
	counter("revalidating_total", "Values answered after their end, while they are loaded anew.", nil, s.Revalidating.Load)
	counter("shadow_hits_total", "Values of shadow mode that a tier would have answered.", nil, s.ShadowHits.Load)
	counter("shadow_differences_total", "Of those, values that were not what the source said, and that no write explains. It must stay 0.", nil, s.ShadowDifferences.Load)
	counter("audits_total", "Values that were read again from the database.", nil, s.Audits.Load)
	counter("audits_stale_total", "Of those, values that were not what the database said. It must stay 0.", nil, s.AuditsStale.Load)
	counter("audits_leaks_total", "Of those, public values that depend on who asks. It must stay 0.", nil, s.AuditsLeaks.Load)
	gauge("outbox_lag_seconds", "For how long the oldest write in the outbox has waited for Redis to take its eviction.", func() float64 { return s.Lag().Seconds() })
	gauge("outbox_backlog", "Rows of the outbox that wait for Redis to take their evictions, whoever wrote them; at most a million.", func() float64 { return float64(s.Backlog()) })
	gauge("redis_sick", "1 while Redis is left alone because it failed.", func() float64 {
		if c.Sick() {
			return 1
		}
		return 0
	})
	for _, reason := range []string{"refused", "no answer"} {
		metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "fieldcache", Name: "redis_sick_reason", ConstLabels: prometheus.Labels{"reason": reason},
			Help: "1 for the reason why Redis is left alone: it refuses commands, or does not answer. The log and /readyz have the words.",
		}, func() float64 {
			if err := c.Sickness(); err != nil && errors.Is(err, cache.ErrRefused) == (reason == "refused") {
				return 1
			}
			return 0
		}))
	}
	gauge("memory_bytes", "What the entries in memory weigh.", func() float64 { return float64(memory.Bytes()) })
}

// registerWatchMetrics shows whether the database notes writes.
func registerWatchMetrics(metrics prometheus.Registerer, w *outbox.Watch) {
	metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "fieldcache", Name: "table_changes_total",
		Help: "Changes of tables that no write explains, such as a partition detached or a trigger disabled, for which a table was evicted.",
	}, func() float64 { return float64(w.Changes()) }))
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "fieldcache", Name: "tables_unnoted",
		Help: "Tables whose writes the database does not note, and which are evicted every few seconds instead. It must be 0.",
	}, func() float64 { return float64(w.Unnoted()) }))
}

// registerAdmissionMetrics shows how many operations are refused and wait.
func registerAdmissionMetrics(metrics prometheus.Registerer, a *transport.Admission) {
	metrics.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "fieldcache", Name: "overloaded_total", Help: "Requests refused because they would have waited too long to be executed.",
		}, func() float64 { return float64(a.Refused()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "fieldcache", Name: "waiting", Help: "Requests that wait to be executed.",
		}, func() float64 { return float64(a.Waiting()) }))
}

// registerAnswerMetrics shows what is kept of whole answers; kept may be nil.
func registerAnswerMetrics(metrics prometheus.Registerer, h *transport.Handler, kept *answers.Store) {
	metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: "fieldcache", Name: "answer_hits_total", Help: "Requests answered by a kept answer.",
	}, func() float64 { return float64(h.Kept()) }))
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "fieldcache", Name: "document_bytes", Help: "What documents weigh, registered and parsed.",
	}, func() float64 { return float64(h.DocumentBytes()) }))
	if kept != nil {
		metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "fieldcache", Name: "answer_bytes", Help: "What the kept answers weigh.",
		}, func() float64 { return float64(kept.Bytes()) }))
	}
}
