// Package db is the shop's database: its tables as Go types, and every statement that is ever sent to
// it. [Open] connects to PostgreSQL or to the embedded SQLite; the same statements run on both.
//
// Reads take many keys at once and answer with a map, one statement a call, because dataloaders ask so.
// Writes answer with what they changed, because the cache has to know. One file for each noun.
package db
