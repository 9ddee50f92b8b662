// Package cache keeps values for as long as a policy says, and never longer than they are true.
//
// # Words
//
//   - key: one cached thing, readable by a person: user:42, {product:7}:price.
//   - tag: something that can become untrue and on which keys depend: a list, a type.
//   - item: a key with its tags and the longest time it may be kept.
//   - entry: an item's value with the moments it was loaded and ends.
//   - tier: a place where entries are: memory, in this process, and Redis, shared by all gateways.
//   - policy: max age and scope of a schema coordinate. Scope: public or private.
//   - ticket: what a load that is about to begin gets from a tier, and what lets it fill the tier.
//   - fence: the random token in Redis that is such a ticket.
//   - generation: what a tag's ticket is made of; evicting the tag changes it.
//   - evict: make untrue things vanish from every tier.
//
// # How a batch is answered
//
// A [Batch] collects what the fields of an operation ask for. [Cache.Load] is the way of every read:
//
//  1. The memory tier is asked.
//  2. For what it lacks the memory tier gives tickets, and Redis is asked in one round trip.
//  3. For what Redis lacks, Redis gives tickets: one pipeline.
//  4. The sources load what is missing, one call for each source.
//  5. The values are answered; both tiers are filled with those whose ticket still holds.
//
// Tickets are always taken before the tier below is read. A load that began before an eviction
// therefore holds a ticket that the eviction voids: it cannot put old data over new, however long it
// was paused in between.
//
// # How a write evicts
//
// [Cache.Evict] runs after the transaction has committed and before the mutation is answered: it
// drops the keys from memory, unlinks the fences, the keys and the generations from Redis, in this
// order, and drops from memory again what a reader may have brought back from Redis meanwhile.
//
// A fault of Redis is a miss. An eviction that Redis did not take is kept and tried again, and until
// it succeeds the keys it names are not read from Redis.
package cache
