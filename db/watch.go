package db

import "fieldcache/cache"

// Watch returns the watch of this database's statements, which detects those that no source of the
// cache sends. A database of [DB.Aside] on PostgreSQL has a watch of its own. Watch returns nil,
// which detects nothing, for a nil DB.
func (d *DB) Watch() *cache.Watch {
	if d == nil {
		return nil
	}
	return d.watch
}
