package outbox

import "fieldcache/cache"

// Limits, for tests.
const (
	RowsByTransaction = rowsByTransaction
	RowsByTable       = rowsByTable
	PrunedAtOnce      = prunedAtOnce
)

// Statement returns the statement that reads a page by transaction.
func (o *Outbox) Statement(p cache.Page) string { return o.byTransaction(p) }
