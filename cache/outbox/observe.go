package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"fieldcache/cache"
)

// Any returns a [Rows] that selects every row of a table, and counts every column.
func Any(table string) Rows { return Rows{Of: table, Table: table} }

// anyTags returns the tags of values that depend on any row of a table.
func anyTags(table string) []cache.Tag {
	return []cache.Tag{cache.Rows(table), cache.AnyRow(table).Of("*")}
}

// ObserverOptions are the options of [NewObserver].
type ObserverOptions struct {
	Database *sql.DB // required: where the statements run
	Place    Place   // required: of the outbox there
	// Tables are those whose writes are recorded already, whatever changes in them.
	Tables []Table
	// Install permits creating triggers on other tables that a statement was seen to read.
	Install bool
	// Followed is called with each table whose triggers were created. May be nil.
	Followed func(Table)
	Log      *slog.Logger // default: slog.Default()
}

// Observer determines which tables statements read. It queries the database once for each text. It
// is safe for concurrent use.
type Observer struct {
	o ObserverOptions

	resolving sync.Mutex // one question at a time: they are few
	questions singleflight.Group
	rate      *rate.Limiter

	mu     sync.Mutex
	known  map[string]*readTables
	tables map[string]bool // those whose writes are recorded
	failed map[string]time.Time
	poison string // why it is no longer known what statements read; "" if it is
	logged map[string]bool
}

// readTables is what a statement reads.
type readTables struct {
	tables     []string
	unknown    string // why the tables are not known; "" if they are
	resolvedAt time.Time
	views      bool // whether views or functions determine what it reads
}

const (
	// maxObserved bounds the number of texts that are remembered.
	maxObserved = 5000
	// The database is queried again after a while, since tables, views and functions may be replaced.
	refreshAfter      = time.Minute
	refreshViewsAfter = 10 * time.Second // for views and functions, and after the database could not determine it
	// Statements that contain values as literals have ever new texts. These bound the questions per
	// second.
	queryRate, queryBurst = 20, 200
	// answerWithin bounds how long a value waits for the database's reply, and queryTimeout how long the
	// question runs on behalf of later values.
	answerWithin = 150 * time.Millisecond
	queryTimeout = 5 * time.Second
)

// NewObserver returns an Observer.
func NewObserver(o ObserverOptions) *Observer {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	ob := &Observer{o: o, rate: rate.NewLimiter(queryRate, queryBurst), known: map[string]*readTables{}, tables: map[string]bool{}, failed: map[string]time.Time{}, logged: map[string]bool{}}
	for _, t := range o.Tables {
		ob.tables[t.Name] = true
	}
	return ob
}

// Observe returns the tags of what statements read, each once. unknown says why this is not known
// for one of them, or why writes to a table that one of them reads are not recorded; then nothing
// that may be made of them can be stored. Observe takes less than a microsecond for a known text,
// and otherwise a few round trips to the database.
func (o *Observer) Observe(ctx context.Context, statements []string) (tags []cache.Tag, unknown string) {
	if slices.Contains(statements, cache.OnStandby) {
		return nil, cache.StandbyReason
	}
	for _, s := range statements {
		s = uncommented(s)
		r := o.lookUp(s)
		if r == nil {
			if why := o.answer(ctx, s, func(ctx context.Context) string { o.resolve(ctx, s); return "" }); why != "" {
				return nil, why
			}
			if r = o.lookUp(s); r == nil {
				return nil, "the database was not asked which tables a statement reads"
			}
		}
		if r.unknown != "" {
			return nil, r.unknown
		}
		for _, table := range r.tables {
			if !o.follows(table) {
				if why := o.answer(ctx, "\x00"+table, func(ctx context.Context) string { return o.follow(ctx, table) }); why != "" {
					return nil, why
				}
			}
			for _, tag := range anyTags(table) {
				if !slices.Contains(tags, tag) {
					tags = append(tags, tag)
				}
			}
		}
	}
	return tags, ""
}

// answer runs question in the background, once for all concurrent calls with the same name, and
// waits for its result for at most answerWithin.
func (o *Observer) answer(ctx context.Context, name string, question func(context.Context) string) string {
	detached := cache.Unwatched(context.WithoutCancel(ctx))
	answered := o.questions.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(detached, queryTimeout)
		defer cancel()
		return question(ctx), nil
	})
	late := time.NewTimer(answerWithin)
	defer late.Stop()
	select {
	case r := <-answered:
		return r.Val.(string)
	case <-late.C:
		return "the database did not say in time which tables a statement reads"
	}
}

func (o *Observer) follows(table string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tables[table]
}

// uncommented returns a statement without a comment at its beginning or end, where tracing libraries
// put values that are different each time.
func uncommented(statement string) string {
	if !strings.Contains(statement, "/*") {
		return statement
	}
	text := strings.TrimSpace(statement)
	if rest, ok := strings.CutPrefix(text, "/*"); ok {
		if _, after, ok := strings.Cut(rest, "*/"); ok {
			text = after
		}
	}
	if rest, ok := strings.CutSuffix(text, "*/"); ok {
		if i := strings.LastIndex(rest, "/*"); i >= 0 {
			text = rest[:i]
		}
	}
	return text
}

// lookUp returns what is known of a text, or nil if the database must be queried.
func (o *Observer) lookUp(statement string) *readTables {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.poison != "" {
		return &readTables{unknown: o.poison}
	}
	r := o.known[statement]
	if r == nil {
		return nil
	}
	again := refreshAfter
	if r.views || r.unknown != "" {
		again = refreshViewsAfter
	}
	if time.Since(r.resolvedAt) > again {
		return nil
	}
	return r
}

// resolve determines what a text reads.
func (o *Observer) resolve(ctx context.Context, statement string) {
	o.resolving.Lock()
	defer o.resolving.Unlock()
	r := &readTables{}
	if unknown, nothing, poison := judge(statement); poison != "" {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.poison = poison
		o.log(poison, statement)
		return
	} else if unknown != "" {
		r.unknown = unknown
	} else if !nothing {
		if !o.rate.Allow() {
			return
		}
		read := readPostgres
		if !o.o.Place.postgres {
			read = readSQLite
		}
		var err error
		if r, err = read(ctx, o.o.Database, statement); err != nil {
			r = &readTables{unknown: "the database cannot tell which tables a statement reads: " + firstLine(err)}
		}
		for _, table := range r.tables {
			if ownColumns[table] != nil {
				r.unknown = "a statement reads " + table + ", a table of the outbox, whose writes it does not record"
			}
		}
	}
	r.resolvedAt = time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.known) >= maxObserved {
		for any := range o.known { // in random order
			delete(o.known, any)
			break
		}
	}
	o.known[statement] = r
	if r.unknown != "" {
		o.log(r.unknown, statement)
	}
}

// log logs once for each reason. The caller holds mu.
func (o *Observer) log(why, statement string) {
	if len(o.logged) < maxObserved && !o.logged[why] {
		o.logged[why] = true
		o.o.Log.Warn("values that depend on a statement are not stored", "reason", why, "statement", fmt.Sprintf("%.200s", statement))
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// follow starts recording a table's writes. It returns why values that depend on the table may not
// be stored yet, or "" if they may.
func (o *Observer) follow(ctx context.Context, table string) string {
	o.mu.Lock()
	failed := o.failed[table]
	o.mu.Unlock()
	if time.Since(failed) < refreshViewsAfter {
		return "writes to table " + table + " are not recorded"
	}
	o.resolving.Lock()
	defer o.resolving.Unlock()
	if o.follows(table) {
		return "writes to table " + table + " were not recorded until now"
	}
	t, err := o.extend(ctx, table)
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		o.failed[table] = time.Now()
		why := "writes to table " + table + " are not recorded"
		if !o.logged[why] {
			o.logged[why] = true
			o.o.Log.Warn("values that depend on a table are not stored: its writes cannot be recorded", "table", table, "error", err)
		}
		return why
	}
	o.tables[table] = true
	o.o.Log.Info("a statement reads a table; recording its writes from now on", "table", table)
	if o.o.Followed != nil {
		o.o.Followed(t)
	}
	return "writes to table " + table + " were not recorded until now"
}

// errNotInstalled says that triggers are missing and Install is not set.
var errNotInstalled = errors.New("the table has no triggers, and creating them is not permitted: declare its rows, or set Migrate to Install")

// extend creates the missing triggers of a table, or returns an error if it may not.
func (o *Observer) extend(ctx context.Context, table string) (t Table, err error) {
	found, err := o.o.Place.Describe(ctx, o.o.Database, table)
	if err != nil {
		return t, err
	}
	if t, err = anyOf(table, found[table]); err != nil {
		return t, err
	}
	err = o.o.Place.inTx(ctx, o.o.Database, func(ctx context.Context, tx Querier) error {
		if o.o.Place.postgres && o.o.Install {
			// A session that waits for a lock on a table blocks all later ones.
			for _, s := range []string{"SET LOCAL lock_timeout = '1s'", fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", InstallLock)} {
				if err := run(ctx, tx, s); err != nil {
					return err
				}
			}
		}
		differences, err := o.o.Place.diffTriggers(ctx, tx, []Table{t})
		if err != nil {
			return err
		}
		// Leave the triggers of other tables alone.
		differences = slices.DeleteFunc(differences, func(d Difference) bool { return d.Table != table })
		for _, d := range differences {
			switch {
			case !d.fixable():
				return errors.New(d.String())
			case d.Minor:
			case !o.o.Install:
				return errNotInstalled
			}
			if o.o.Install {
				for _, statement := range d.fix {
					if err := run(ctx, tx, statement); err != nil {
						return fmt.Errorf("%v: %w", d, err)
					}
				}
			}
		}
		if !o.o.Install {
			return nil
		}
		_, err = o.o.Place.settle(ctx, tx, []Table{t}, differences, true)
		return err
	})
	return t, err
}

// anyOf returns a table of which every change of every row is recorded.
func anyOf(name string, info TableInfo) (Table, error) {
	tags, err := NewRowTags(func(string) (TableInfo, bool) { return info, info.Columns != nil }, Any(name))
	if err != nil {
		return Table{}, err
	}
	return tags.Tables()[0], nil
}

// Observed returns the tables that have triggers and are not among declared. Every change of every
// row of them is recorded, because an [Observer] of this gateway or of another found statements
// that read them.
func (p Place) Observed(ctx context.Context, db Querier, declared []Table) ([]Rows, error) {
	there, err := p.triggers(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("outbox: look up the triggers: %w", err)
	}
	var list []Rows
	for _, f := range there {
		name := f.notes(p)
		if !f.Ours || name == "" || slices.ContainsFunc(declared, func(t Table) bool { return t.Name == name }) ||
			slices.ContainsFunc(list, func(r Rows) bool { return r.Table == name }) {
			continue
		}
		list = append(list, Any(name))
	}
	return list, nil
}
