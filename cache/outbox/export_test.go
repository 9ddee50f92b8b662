package outbox

import "fieldcache/cache"

// Bounds that tests count with.
const (
	RowsByTransaction = rowsByTransaction
	RowsByTable       = rowsByTable
	PrunedAtOnce      = prunedAtOnce
)

// RowsOf is the statement that reads the rows of a page.
func (o *Outbox) RowsOf(p cache.Page) string {
	return o.at.sql(o.rowsOf(p, rowsByTransaction))
}
