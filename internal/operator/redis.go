package operator

import (
	"context"
	"sync"
	"time"

	"fieldcache/cache/redisstore"
)

// Sampler estimates what Redis holds with bounded work; [*redisstore.Store] is one.
type Sampler interface {
	Sample(ctx context.Context) (redisstore.Sample, error)
}

// sampleTimeout bounds a sample.
const sampleTimeout = 2 * time.Second

// redisState is how Redis does.
type redisState struct {
	Sick   string  `json:"sick,omitempty"`  // why it is left alone
	Error  string  `json:"error,omitempty"` // why it could not be sampled
	Sample *sample `json:"sample"`          // the last one; null until there is one
}

// sample is what Redis holds, as estimated at some time.
type sample struct {
	When time.Time `json:"when"`
	redisstore.Sample
}

// redis samples the shared tier while somebody looks: one sample at a time, however many look, and none while the tier is left alone.
type redis struct {
	of       Sampler // nil: there is no shared tier
	every    time.Duration
	sickness func() error
	redact   func(string) string

	lookMu  sync.Mutex // guards who looks
	lookers int
	end     func() // ends the sampling and waits for it

	mu    sync.Mutex // guards what is known
	next  time.Time  // when the next sample is due, also for who looks later
	last  *sample
	fault string
}

// look begins to sample if nobody looked before. The function that it returns ends it once nobody looks any more.
func (r *redis) look() (end func()) {
	if r.of == nil {
		return func() {}
	}
	r.lookMu.Lock()
	defer r.lookMu.Unlock()
	if r.lookers++; r.lookers == 1 {
		ctx, cancel := context.WithCancel(context.Background())
		var sampling sync.WaitGroup
		sampling.Go(func() { r.run(ctx) })
		r.end = func() { cancel(); sampling.Wait() }
	}
	return func() {
		r.lookMu.Lock()
		defer r.lookMu.Unlock()
		if r.lookers--; r.lookers == 0 {
			r.end()
		}
	}
}

func (r *redis) run(ctx context.Context) {
	for {
		r.mu.Lock()
		wait := time.Until(r.next)
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		r.mu.Lock()
		r.next = time.Now().Add(r.every)
		r.mu.Unlock()
		if r.sickness() == nil {
			r.sample(ctx)
		}
	}
}

func (r *redis) sample(looking context.Context) {
	ctx, cancel := context.WithTimeout(looking, sampleTimeout)
	defer cancel()
	got, err := r.of.Sample(ctx)
	if looking.Err() != nil {
		return // nobody looks any more
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.fault = r.redact(err.Error())
		return
	}
	r.last, r.fault = &sample{time.Now().UTC(), got}, ""
}

// state returns what is known; nil where there is no shared tier.
func (r *redis) state() *redisState {
	if r.of == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &redisState{Error: r.fault, Sample: r.last}
	if err := r.sickness(); err != nil {
		s.Sick = r.redact(err.Error())
	}
	return s
}
