package gqlcache

import "time"

// Patient has a gateway of which hits are wanted: however busy the machine is, its outbox is not silent for as long as
// its lease.
func Patient(o Options) Options {
	o.lease = 20 * time.Second
	return o
}
