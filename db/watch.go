package db

import "fieldcache/cache"

// Watch returns the watch that notices the statements of this database that no source of the cache
// sends. A pool of [DB.Aside] has a watch of its own. The watch of a nil DB notices nothing.
func (d *DB) Watch() *cache.Watch {
	if d == nil {
		return nil
	}
	return d.watch
}
