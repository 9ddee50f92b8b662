// Package tracker is an issue tracker, the second schema that the engine is tested with: it has what the
// shop has not. Ids are uuids, keys are composite, columns are enums, numerics and jsonb; there are
// interfaces, unions, values without identity, and fields for one viewer alone. It reads by
// database/sql and knows nothing of the cache.
package tracker

import _ "embed"

// Tables creates the tables, on PostgreSQL.
//
//go:embed tables.sql
var Tables string
