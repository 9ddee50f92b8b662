// Package cache caches values for as long as a policy allows, and never longer than they are valid.
//
// # Words
//
//   - key: the name of one cached value, readable by a person: user:42, {product:7}:price.
//   - tag: a name that keys depend on and that can be evicted: a list, a type.
//   - item: a key with its tags and the longest time it may be cached.
//   - entry: the value of an item with the times it was loaded and expires, and the snapshot it was
//     read in.
//   - tier: a place that holds entries: memory, in this process, and Redis, shared by all gateways.
//   - policy: max age and scope of a schema coordinate. Scope: public or private.
//   - ticket: what a load gets from a tier before it begins, and what lets it fill the tier.
//   - fence: the random token in Redis that is such a ticket.
//   - generation: how often a name was evicted here; in Redis a random token for each tag.
//   - stamp: the generations of some names at one moment: the ticket of the memory tier.
//   - flight: the load of one item, for all readers that wait for it.
//   - group: flights that are loaded together, of one reader or of several; the flights of one
//     reader are its party.
//   - write: what a transaction changed, with the number of the transaction.
//   - snapshot: which transactions a read saw.
//   - outbox: the record of writes in the database.
//   - floor: the writes known for a name; a value may be served only if its snapshot saw them.
//   - horizon: what had been pruned from the outbox before this gateway began to read it.
//   - lease: for how long cached values may be served after the last successful poll of the outbox
//     began.
//   - relay: to evict from Redis on behalf of another gateway.
//   - evict: to remove stale entries from every tier.
//
// # How a batch is loaded
//
// A [Batch] collects the requests of the fields of an operation. Every read uses [Cache.Load]:
//
//  1. If the lease holds, memory is read.
//  2. If another reader is loading an item, Load waits for that flight, unless the item was evicted
//     since the flight began. For the other items new flights begin, with tickets of the memory
//     tier. They start at once, or together with those of other readers: see [Cache.Load].
//  3. Redis is read in one round trip. Judge decides whether its entries may be served.
//  4. Redis issues tickets for what it lacks: in one pipeline, or together with step 3 if it likely
//     lacks it.
//  5. The sources load what is missing, with one call for each source.
//  6. Both tiers are filled with the entries whose tickets still hold, and the flights land.
//
// Tickets are always taken before the tier below is read. A load that began before an eviction
// therefore holds a ticket that the eviction voids: it cannot replace new data by old, however long
// it was paused in between.
//
// # How a write evicts
//
// [Cache.Evict] runs after the transaction has committed and before the mutation returns. It raises
// floors, ends the stamps in memory, and executes the EvictionSteps in Redis. Evictions that Redis
// does not execute are in the outbox, and any gateway that reaches Redis relays them. The write is
// acknowledged then, or when every gateway has polled it or no longer trusts its caches.
//
// Every gateway polls the outbox, so that writes by others, by psql, and by gateways that died are
// known everywhere. A fault of Redis is a miss.
//
// The decisions, Judge and EvictionSteps among them, are pure functions in cache/internal/protocol.
// docs/consistency.md explains why they suffice.
package cache
