package cache

import "fieldcache/cache/internal/protocol"

// Epoch names a period in the life of a database in which transactions' numbers only rise and no commit is lost. A
// database that went back to an earlier state, after a failover or from a backup, begins another epoch, as does a copy.
// Numbers of different epochs cannot be compared. An Epoch consists of ASCII letters and digits.
//
// The zero Epoch is that of a database that does not report one. It is assumed never to change its epoch.
type Epoch = protocol.Epoch

// Snapshot says which transactions a read of the database saw, in the terms of PostgreSQL's pg_snapshot. The
// zero Snapshot saw none.
//
// If transactions commit in the order of their numbers, the snapshot after transaction n is
// [SnapshotAfter](n).
type Snapshot = protocol.Snapshot

// SnapshotAfter returns the snapshot that saw every transaction up to and including xid.
func SnapshotAfter(xid uint64) Snapshot { return protocol.SnapshotAfter(xid) }

// ParseSnapshot parses the text form of pg_snapshot, xmin:xmax:xip1,xip2,…, which an epoch and a slash may
// precede.
func ParseSnapshot(text string) (Snapshot, error) { return protocol.ParseSnapshot(text) }
