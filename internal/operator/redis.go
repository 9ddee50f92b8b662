package operator

import (
	"context"
	"sync"
	"time"

	"fieldcache/cache/redisstore"
)

// Sampler estimates the contents of Redis with bounded work. [*redisstore.Store] implements it.
type Sampler interface {
	Sample(ctx context.Context) (redisstore.Sample, error)
}

// sampleTimeout is the timeout of a sample.
const sampleTimeout = 2 * time.Second

// redisState is the state of Redis.
type redisState struct {
	Sick   string  `json:"sick,omitempty"`  // why Redis is not in use
	Error  string  `json:"error,omitempty"` // why the last sample failed
	Sample *sample `json:"sample"`          // the last sample; null before the first
}

// sample is an estimate of what Redis held at some time.
type sample struct {
	When time.Time `json:"when"`
	redisstore.Sample
}

// redis samples the shared tier while clients are connected: one sample at a time for all clients,
// and none while the tier is not in use.
type redis struct {
	of       Sampler // nil if there is no shared tier
	every    time.Duration
	sickness func() error
	redact   func(string) string

	lookMu  sync.Mutex // guards lookers and end
	lookers int
	end     func() // stops sampling and waits for it

	mu    sync.Mutex // guards the fields below
	next  time.Time  // when the next sample is due, also for clients that connect later
	last  *sample
	fault string
}

// look registers a client and starts sampling for the first one. The returned function removes the
// client and stops sampling after the last one.
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
		return // the last client has disconnected
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.fault = r.redact(err.Error())
		return
	}
	r.last, r.fault = &sample{time.Now().UTC(), got}, ""
}

// state returns the current state, or nil if there is no shared tier.
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
