package outbox

import "fieldcache/cache"

// Bounds that tests count with.
const (
	RowsByTransaction = rowsByTransaction
	RowsByTable       = rowsByTable
	PrunedAtOnce      = prunedAtOnce
)

// Statement is the statement that reads a page by transaction.
func (o *Outbox) Statement(p cache.Page) string { return o.byTransaction(p) }
