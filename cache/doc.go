// Package cache keeps values for as long as a policy says, and never longer than they are true.
//
// # Words
//
//   - key: one cached thing, readable by a person: user:42, {product:7}:price.
//   - tag: something that can become untrue and on which keys depend: a list, a type.
//   - item: a key with its tags and the longest time it may be kept.
//   - entry: an item's value with the moments it was loaded and ends, and the snapshot it was read in.
//   - tier: a place where entries are: memory, in this process, and Redis, shared by all gateways.
//   - policy: max age and scope of a schema coordinate. Scope: public or private.
//   - ticket: what a load that is about to begin gets from a tier, and what lets it fill the tier.
//   - fence: the random token in Redis that is such a ticket.
//   - generation: how often a name was evicted here; in Redis a random token for each tag.
//   - stamp: the generations of some names at one moment: memory's ticket.
//   - flight: the load of one item, for everyone who waits for it.
//   - group: the flights that are carried together, of one reader or of several; each reader's are its party.
//   - write: what a transaction made untrue, with the transaction's number.
//   - snapshot: which transactions a read saw.
//   - outbox: the database's own record of writes.
//   - floor: the writes known for a name; a value counts only if its snapshot saw them.
//   - horizon: what had been pruned from the outbox before this gateway began to read it.
//   - lease: how long what is cached may be served after the last successful poll of the outbox began.
//   - relay: to evict from Redis for somebody else.
//   - evict: make untrue things vanish from every tier.
//
// # How a batch is answered
//
// A [Batch] collects what the fields of an operation ask for. [Cache.Load] is the way of every read:
//
//  1. The memory tier is asked, if the lease holds.
//  2. What somebody is loading already is waited for, unless it was evicted since they began. For the
//     rest flights begin, with memory's tickets.
//     They set out at once, or together with those of other readers: see [Cache.Load].
//  3. Redis is asked in one round trip. [Judge] decides whether what it has may be served.
//  4. For what Redis lacks, Redis gives tickets: one pipeline, or with step 3 where it likely lacks it.
//  5. The sources load what is missing, one call for each source.
//  6. Both tiers are filled with those whose ticket still holds, and the flights land.
//
// Tickets are always taken before the tier below is read. A load that began before an eviction
// therefore holds a ticket that the eviction voids: it cannot put old data over new, however long it
// was paused in between.
//
// # How a write evicts
//
// [Cache.Evict] runs after the transaction has committed and before the mutation is answered: it raises
// floors, ends the stamps in memory, and takes the [EvictionSteps] in Redis. What Redis does not take is in
// the outbox, and relayed by whoever gets through; the write is acknowledged then, or when every gateway
// has polled it or trusts its caches no more.
//
// Every gateway polls the outbox, so that writes of others, of psql, and of gateways that died are known
// everywhere. A fault of Redis is a miss.
//
// The decisions are the pure functions of protocol.go; docs/consistency.md says why they suffice.
package cache
