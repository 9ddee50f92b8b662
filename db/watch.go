package db

import "fieldcache/cache"

// Watch notices the statements of this database that no source of the cache sends. The one of a pool beside
// another, see [DB.Aside], is its own. That of no database notices nothing.
func (d *DB) Watch() *cache.Watch {
	if d == nil {
		return nil
	}
	return d.watch
}
