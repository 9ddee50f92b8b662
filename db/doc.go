// Package db is the database of the shop: its tables as Go types, and all statements that the shop
// sends. [Open] connects to PostgreSQL or opens SQLite, which is embedded. The same statements run
// on both.
//
// A read takes many keys, as dataloaders need it, sends one statement, and returns a map. A write
// returns what it changed, so that the cache can evict it. There is one file for each noun.
package db
