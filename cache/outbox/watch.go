package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fieldcache/cache"
)

// lookEvery is how often a [Watch] checks the tables, and so how long a change may go unnoticed.
const lookEvery = 2 * time.Second

// InstallLock is the key of the PostgreSQL advisory lock to hold while changing triggers.
const InstallLock = 0x6669656c64 // any number, the same for all gateways

// Watch checks periodically whether the recorded tables and their triggers are still the same. It
// looks for a partition that was attached or detached, rows that ALTER TABLE rewrote, a table that
// took the name of another one, a trigger that was disabled or dropped, and a view or a function
// that reads the table and was replaced. It then evicts everything cached of the table, on all
// gateways, by a record in the outbox, and repairs triggers if this role may. While writes to a
// table cannot be recorded, and for a while after a view or a function was replaced, every check
// evicts the table.
type Watch struct {
	db     *sql.DB
	at     Place
	log    *slog.Logger
	mu     sync.Mutex
	tables []Table

	changes atomic.Uint64
	unnoted atomic.Int64
	logged  map[string]string // what was last logged for each table; only Look uses it
}

// NewWatch returns a watch of the tables of a database in which [Place.Install] has run.
func NewWatch(db *sql.DB, at Place, tables []Table, log *slog.Logger) *Watch {
	if log == nil {
		log = slog.Default()
	}
	return &Watch{db: db, at: at, tables: tables, log: log, logged: map[string]string{}}
}

// Add adds a table. It is safe for concurrent use.
func (w *Watch) Add(t Table) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tables = append(slices.Clone(w.tables), t)
}

func (w *Watch) all() []Table {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tables
}

// Changes returns how many changes of tables were found.
func (w *Watch) Changes() uint64 { return w.changes.Load() }

// Unnoted returns the number of tables whose writes are not recorded, as of the last check.
func (w *Watch) Unnoted() int64 { return w.unnoted.Load() }

// Run checks the tables periodically until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := w.Look(ctx)
		if err != nil && ctx.Err() == nil && !failed {
			w.log.Warn("cannot check the tables and their triggers; retrying", "error", err)
		}
		if err == nil && failed {
			w.log.Info("the tables and their triggers can be checked again")
		}
		failed = err != nil
	}
}

// Look checks the tables once. It is not safe for concurrent use.
func (w *Watch) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(cache.Unwatched(ctx), 10*time.Second)
	defer cancel()
	tables := w.all()
	now, err := w.at.identities(ctx, w.db, tables)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(now, func(i identity) bool { return !i.settled() }) {
		w.unnoted.Store(0)
		w.logChanges(tables, nil)
		return nil
	}
	var changed []changedTable
	err = w.at.inTx(ctx, w.db, func(ctx context.Context, tx Querier) error {
		changed, err = w.mend(ctx, tx, tables)
		return err
	})
	if err != nil {
		return fmt.Errorf("outbox: repair the triggers: %w", err)
	}
	unnoted := int64(0)
	for _, c := range changed {
		if c.What != "" {
			w.changes.Add(1)
		}
		if len(c.Faults) > 0 {
			unnoted++
		}
	}
	w.unnoted.Store(unnoted)
	w.logChanges(tables, changed)
	return nil
}

// mend creates missing triggers, as far as this role may, and settles what changed.
func (w *Watch) mend(ctx context.Context, tx Querier, tables []Table) ([]changedTable, error) {
	if w.at.postgres {
		// A session that waits for a lock on a table blocks all later ones.
		for _, s := range []string{"SET LOCAL lock_timeout = '1s'", fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", InstallLock)} {
			if err := run(ctx, tx, s); err != nil {
				return nil, err
			}
		}
	}
	differences, err := w.at.Diff(ctx, tx, tables)
	if err != nil {
		return nil, err
	}
	// A difference to another release of the gateway is left to `migrate up`: two releases that run side by side must
	// not undo each other's work.
	differences = slices.DeleteFunc(differences, func(d Difference) bool { return d.fixable() && !d.absent })
	for i := range differences {
		d := &differences[i]
		if !d.fixable() {
			continue
		}
		if err := attempt(ctx, tx, d.fix...); err != nil {
			d.fix = nil
			d.Why += fmt.Sprintf(" and cannot be repaired (%v)", err)
			if notAllowed(err) {
				d.Why += "; run `fieldcache migrate up` as the tables' owner"
			}
		}
	}
	return w.at.settle(ctx, tx, tables, differences, true)
}

// logChanges logs what was not logged before.
func (w *Watch) logChanges(tables []Table, changed []changedTable) {
	for _, t := range tables {
		i := slices.IndexFunc(changed, func(c changedTable) bool { return c.Name == t.Name })
		if i < 0 {
			if w.logged[t.Name] != "" {
				w.log.Info("writes to the table are recorded again", "table", t.Name)
				delete(w.logged, t.Name)
			}
			continue
		}
		c := changed[i]
		faults := strings.Join(c.Faults, "; ")
		switch {
		case faults != "" && faults != w.logged[t.Name]:
			w.log.Error("writes to the table cannot be recorded; evicting its cached values every "+lookEvery.String(),
				"table", t.Name, "cause", faults)
			w.logged[t.Name] = faults
		case faults == "" && !c.Again:
			w.log.Info("the table or its triggers changed; evicted its cached values", "table", t.Name, "changed", c.What)
			delete(w.logged, t.Name)
		}
	}
}
