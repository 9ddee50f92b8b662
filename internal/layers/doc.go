// Package layers tries the cache with database layers that neither the shop nor the cache needs: mattn's SQLite, which is C, bun's
// pgdriver, and GORM; and with pgxpool beside the database that Open is given. It is a module of its own, so that nobody else builds
// them. Its tests need a C compiler, which the race detector of all other tests needs as well; without one they fail.
package layers
