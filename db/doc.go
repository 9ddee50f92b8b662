// Package db is the database of the shop: its tables as Go types, and every statement that is ever
// sent to it. [Open] connects to PostgreSQL or to the embedded SQLite. The same statements run on
// both.
//
// Reads take many keys at once and return a map, with one statement for each call, because
// dataloaders ask in batches. Writes return what they changed, because the cache has to know. There
// is one file for each noun.
package db
