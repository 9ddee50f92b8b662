package gqlcache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/prometheus/client_golang/prometheus"

	"fieldcache/cache"
	"fieldcache/cache/answers"
	"fieldcache/cache/memstore"
	"fieldcache/cache/outbox"
	"fieldcache/cache/redisstore"
	"fieldcache/cache/transport"
)

// Migration is what [Open] may do to the database.
type Migration int

const (
	// Install creates and repairs the outbox's tables and triggers.
	Install Migration = iota
	// Verify changes nothing. It returns an error that lists everything that is missing.
	Verify
)

// Options are the options of [Open]. The zero value caches in memory, by ages and tags alone.
type Options struct {
	// Database is the database with the tables of the resolvers: PostgreSQL or SQLite, with any
	// driver of database/sql. Its outbox is installed and followed, so that every write evicts,
	// whichever program makes it. It should be a pool that requests do not exhaust. Close does not
	// close it. If nil, only ages, tags and the directives of mutations evict.
	Database *sql.DB
	// Schema is the PostgreSQL schema of the outbox. Applications that share a database need different schemas.
	// Default: the schema in which the search path finds an outbox, else the current schema.
	Schema string
	// Migrate is what may be done to Database. Default: Install.
	Migrate Migration
	// Redis are redis://, rediss:// or unix:// URLs; several are the seeds of a Cluster. If empty,
	// values are cached in memory only.
	Redis []string
	// RedisPrefix is prepended to every key.
	RedisPrefix string
	// MemoryBytes limits the memory of cached values; it must be at least 1 MiB. Default: 256 MiB.
	MemoryBytes int64
	// Viewer returns the viewer, or "" for an anonymous one. It is called with the context of
	// requests, before the project's own middleware if that is behind [Gateway.Handler], and of
	// operations. If nil, nothing private is cached.
	Viewer func(context.Context) string
	// IdentityHeaders are the headers that identify a viewer. A request with one of them whose
	// viewer is unknown gets nothing that was cached for anonymous viewers, and private responses
	// vary by them. Default: Authorization and Cookie.
	IdentityHeaders []string
	// Variant returns what else of a request values depend on, such as its language or its tenant;
	// the same text for requests that get the same values. Everything is cached for each variant
	// separately. It is called by [Gateway.Handler], once for each request, and a websocket is one
	// request: without the handler nothing is cached. Audits do not look for values that depend on
	// the viewer then. If nil, requests have no variants.
	Variant func(*http.Request) string
	// Vary are the headers that Variant reads: responses vary by them in HTTP caches. Required with
	// Variant; empty, but not nil, if it reads nothing but the URL and the host.
	Vary []string
	// Watch receives the statements of resolvers from a driver or tracer, such as package sqlwatch
	// or pgxwatch. With Database, a field that declares no rows is then evicted by every write to
	// the tables that were read for it. If it is not known what a statement reads, values that
	// depend on it are not stored. Default: a Watch that nothing reports to.
	Watch *cache.Watch
	// RequestLoaders says that every request has its own dataloaders, as gqlgen's documentation
	// recommends. Then a field is not evicted by writes to tables that only other requests read
	// while it was resolved. It has an effect only with Watch.
	RequestLoaders bool
	// Log receives faults and ages that have no effect. Default: slog.Default().
	Log *slog.Logger
	// Metrics is where counters are registered, until the Gateway is closed. If nil, they are not
	// registered.
	Metrics prometheus.Registerer

	lease time.Duration // for tests; 0: the engine's default
}

const defaultMemoryBytes = 256 << 20

// Open returns a Gateway for a schema that gqlgen generated, the value that handler.New takes. It
// returns one error for all faults of the directives, with coordinates, and of the options. In that
// case it has changed nothing. ctx limits the time of its queries to the database.
func Open(ctx context.Context, schema graphql.ExecutableSchema, o Options) (_ *Gateway, err error) {
	if !hasTypes(schema) {
		return nil, errors.New("gqlcache: Open needs a schema: give it what handler.New gets, NewExecutableSchema(…)")
	}
	o.Log = orDefault(o.Log)
	if o.MemoryBytes == 0 {
		o.MemoryBytes = defaultMemoryBytes
	}
	plan, planFault := PlanFields(schema)
	if err := errors.Join(planFault, o.check()); err != nil {
		return nil, fmt.Errorf("gqlcache: open:\n%w", err)
	}
	g := &Gateway{o: o, plan: plan, hints: &Hints{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("gqlcache: open: %w", err), g.Close())
		}
	}()
	options := cache.Options{Lease: o.lease, Watch: o.Watch, Log: o.Log}
	var db *database
	if o.Database != nil {
		if db, err = openDatabase(ctx, o, plan); err != nil {
			return nil, err
		}
		if options.Outbox, err = outbox.New(o.Database, db.place, db.rows.Evictions); err != nil {
			return nil, err
		}
	}
	half := uint64(o.MemoryBytes) / 2 //nolint:gosec // checked to be positive
	memory, err := memstore.New(memstore.Options{MaxBytes: half})
	if err != nil {
		return nil, err
	}
	options.Memory = memory
	if len(o.Redis) > 0 {
		shared, err := redisstore.New(redisstore.Options{URLs: o.Redis, Prefix: o.RedisPrefix, Log: o.Log})
		if err != nil {
			return nil, errors.Join(err, memory.Close())
		}
		options.Shared = shared
	}
	if g.cache, err = cache.New(options); err != nil {
		err = errors.Join(err, memory.Close())
		if options.Shared != nil {
			err = errors.Join(err, options.Shared.Close())
		}
		return nil, err
	}
	g.closing(g.cache.Close) // this also closes its tiers
	if g.answers, err = answers.New(answers.Options{Cache: g.cache, MaxBytes: half}); err != nil {
		return nil, err
	}
	g.closing(func() error { g.answers.Close(); return nil })
	fields := FieldsOptions{Cache: g.cache, Plan: plan, Viewer: o.Viewer, Log: o.Log}
	if o.Variant != nil {
		fields.Variant = variantOf
	}
	if db != nil {
		fields.Rows, fields.Observer, fields.RequestLoaders = db.rows, db.observer, o.RequestLoaders
	}
	if g.fields, err = NewFields(fields); err != nil {
		return nil, err
	}
	g.fields.strict = db != nil
	if db != nil {
		g.closing(db.watch())
	}
	if o.Metrics != nil {
		end, err := register(o.Metrics, g.cache, g.statementsSaved)
		if err != nil {
			return nil, err
		}
		g.closing(end)
	}
	for _, w := range plan.Warnings() {
		o.Log.Warn("an age in the schema has no effect", "reason", w)
	}
	return g, nil
}

// hasTypes reports whether an executable schema contains a schema.
func hasTypes(es graphql.ExecutableSchema) bool {
	v := reflect.ValueOf(es)
	return v.IsValid() && (v.Kind() != reflect.Pointer || !v.IsNil()) && es.Schema() != nil
}

// check returns all faults of the options themselves.
func (o *Options) check() error {
	var faults []error
	if o.MemoryBytes < 1<<20 {
		faults = append(faults, fmt.Errorf("MemoryBytes: %d is less than 1 MiB", o.MemoryBytes))
	}
	if o.Migrate != Install && o.Migrate != Verify {
		faults = append(faults, fmt.Errorf("option Migrate: %d is neither Install nor Verify", o.Migrate))
	}
	if o.Database == nil && (o.Schema != "" || o.Migrate != Install) {
		faults = append(faults, errors.New("options Schema and Migrate are for a Database, and there is none"))
	}
	if len(o.Redis) > 0 {
		if err := (redisstore.Options{URLs: o.Redis, Prefix: o.RedisPrefix}).Check(); err != nil {
			faults = append(faults, fmt.Errorf("options Redis: %w", err))
		}
	} else if o.RedisPrefix != "" {
		faults = append(faults, errors.New("RedisPrefix is for Redis, and there is none"))
	}
	if err := transport.CheckIdentityHeaders(o.IdentityHeaders); err != nil {
		faults = append(faults, err)
	}
	if err := transport.CheckVary(o.Vary); err != nil {
		faults = append(faults, err)
	}
	switch {
	case o.Variant != nil && o.Vary == nil:
		faults = append(faults, errors.New("option Vary: name the headers that Variant reads, or give an empty list if it reads none: HTTP caches serve one variant for another otherwise"))
	case o.Variant == nil && o.Vary != nil:
		faults = append(faults, errors.New("option Vary is for Variant, and there is none"))
	}
	return errors.Join(faults...)
}

// database is the database whose writes are followed.
type database struct {
	db       *sql.DB
	place    outbox.Place
	rows     *outbox.RowTags
	looks    *outbox.Watch
	observer *outbox.Observer // nil: no statements are reported
}

// openDatabase determines which writes must be recorded, and installs or verifies the triggers.
func openDatabase(ctx context.Context, o Options, plan *FieldPlan) (*database, error) {
	place, err := outbox.Find(ctx, o.Database, o.Schema)
	if err != nil {
		return nil, fmt.Errorf("the database: %w", err)
	}
	if err := writable(ctx, o.Database, place); err != nil {
		return nil, err
	}
	declared := plan.noted()
	rows, err := tagsOf(ctx, o.Database, place, plan, declared)
	if err != nil {
		return nil, err
	}
	faults, err := place.Check(ctx, o.Database, rows.Tables())
	if err = errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("the database: %w", err)
	}
	if !place.Postgres() {
		var recursive bool
		if err := o.Database.QueryRowContext(ctx, "SELECT recursive_triggers FROM pragma_recursive_triggers").Scan(&recursive); err != nil {
			return nil, fmt.Errorf("the database: %w", err)
		}
		if !recursive {
			o.Log.Warn("the rows that REPLACE removes fire no trigger in SQLite, so values that held them stay: open the file with PRAGMA recursive_triggers = on, in everything that writes to it")
		}
	}
	doubts, err := place.Doubts(ctx, o.Database, rows.Tables())
	if err != nil {
		return nil, fmt.Errorf("the database: %w", err)
	}
	for _, doubt := range doubts {
		o.Log.Warn("resolvers may read other rows than those that are declared", "reason", doubt)
	}
	if o.Watch != nil {
		observed, err := place.Observed(ctx, o.Database, rows.Tables())
		if err != nil {
			return nil, fmt.Errorf("the database: %w", err)
		}
		for _, t := range rows.Tables() {
			observed = append(observed, outbox.Any(t.Name))
		}
		if rows, err = tagsOf(ctx, o.Database, place, plan, slices.Concat(declared, observed)); err != nil {
			return nil, err
		}
		rows = rows.Observed()
	}
	d := &database{db: o.Database, place: place, rows: rows}
	if o.Migrate == Verify {
		err = d.verify(ctx)
	} else {
		err = d.install(ctx)
	}
	if err != nil {
		return nil, err
	}
	d.looks = outbox.NewWatch(d.db, d.place, d.rows.Tables(), o.Log)
	if o.Watch != nil {
		d.observer = outbox.NewObserver(outbox.ObserverOptions{
			Database: d.db, Place: d.place, Tables: d.rows.Tables(), Install: o.Migrate == Install, Followed: d.looks.Add, Log: o.Log,
		})
		if place.Postgres() {
			o.Watch.LookForStandbys()
		}
	}
	return d, nil
}

// tagsOf describes the tables of rows and names the rows' tags.
func tagsOf(ctx context.Context, db *sql.DB, place outbox.Place, plan *FieldPlan, rows []outbox.Rows) (*outbox.RowTags, error) {
	var names []string
	for _, r := range rows {
		names = append(names, r.Table)
	}
	slices.Sort(names)
	found, err := place.Describe(ctx, db, slices.Compact(names)...)
	if err != nil {
		return nil, fmt.Errorf("the database: %w", err)
	}
	if err := errors.Join(plan.numbersForNames(found)...); err != nil {
		return nil, err
	}
	return outbox.NewRowTags(func(table string) (outbox.TableInfo, bool) { i, ok := found[table]; return i, ok }, rows...)
}

// writable returns an error if the database is read-only for this process.
func writable(ctx context.Context, db *sql.DB, place outbox.Place) error {
	readOnly := errors.New("the database: it is read-only: give the one that is written to, by a role that may")
	if !place.Postgres() {
		conn, err := db.Conn(ctx)
		if err != nil {
			return fmt.Errorf("the database: %w", err)
		}
		defer func() { _ = conn.Close() }() // this only returns it to the pool
		var only bool
		if err := conn.QueryRowContext(ctx, "SELECT query_only FROM pragma_query_only").Scan(&only); err != nil {
			return fmt.Errorf("the database: %w", err)
		}
		if only {
			return readOnly
		}
		// No statement shows how a file was opened, and BEGIN IMMEDIATE succeeds in any.
		if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
			return nil //nolint:nilerr // another process writes; installing waits for it
		}
		_, err = conn.ExecContext(ctx, "CREATE TABLE cache_attempt (one)")
		if _, undo := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); undo != nil {
			return fmt.Errorf("the database: %w", undo)
		}
		if err != nil && strings.Contains(err.Error(), "readonly") {
			return fmt.Errorf("%w (%w)", readOnly, err)
		}
		return nil
	}
	var state int
	err := db.QueryRowContext(ctx, "SELECT CASE WHEN pg_is_in_recovery() THEN 2 WHEN current_setting('transaction_read_only') = 'on' THEN 1 ELSE 0 END").Scan(&state)
	switch {
	case err != nil:
		return fmt.Errorf("the database: %w", err)
	case state == 1:
		return readOnly
	case state == 2:
		return errors.New("the database: it is a replica: give the primary, which is written to")
	}
	return nil
}

// install runs in one transaction, so that nothing is partly installed.
func (d *database) install(ctx context.Context) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	if err := d.place.Install(ctx, tx, d.rows.Tables()); err != nil {
		return errors.Join(fmt.Errorf("the database: install the outbox: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("the database: install the outbox: %w", err)
	}
	return nil
}

// verify returns an error with everything that install would do.
func (d *database) verify(ctx context.Context) error {
	differences, err := d.place.Diff(ctx, d.db, d.rows.Tables())
	if err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	lacking, err := d.place.MissingRights(ctx, d.db, differences, false)
	if err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	var faults []error
	for _, fault := range lacking {
		faults = append(faults, fmt.Errorf("the database: %w", fault))
	}
	for _, difference := range differences {
		if !difference.Minor {
			faults = append(faults, fmt.Errorf("the database: %s", difference))
		}
	}
	return errors.Join(faults...)
}

// watch checks the tables and their triggers until the returned function is called.
func (d *database) watch() (end func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.looks.Run(ctx)
	}()
	return func() error {
		cancel()
		<-done
		return nil
	}
}
