// Package layers tests the cache with database layers that neither the shop nor the cache uses:
// mattn's SQLite, which is C, bun's pgdriver, and GORM; and with a pgxpool next to the database
// that Open gets. It is a separate module, so that no one else has to build them. Its tests need a
// C compiler, as does the race detector for all other tests. Without one they fail.
package layers
