// Package tracker is an issue tracker, the second schema for the tests of the engine. It has what
// the shop lacks: uuids as ids, composite keys, columns of enum, numeric and jsonb types,
// interfaces, unions, values without identity, and fields for one viewer only. It uses database/sql
// and does not know the cache.
package tracker

import _ "embed"

// Tables creates the tables, on PostgreSQL.
//
//go:embed tables.sql
var Tables string
