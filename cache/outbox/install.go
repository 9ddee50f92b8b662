package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Difference is an object of the outbox that is missing or wrong in the database.
type Difference struct {
	Object
	Table string // the recorded table that it concerns; "" for the outbox's own objects
	Why   string // "is missing"
	// Minor says that a [Watch] handles the difference, by repairing it or by evicting the table at
	// every check: a partition without a trigger, or a trigger that does not fire when
	// session_replication_role is replica.
	Minor  bool
	fix    []string
	absent bool // missing, disabled, or on another table, and not of another release
}

// String returns the difference in one line.
func (d Difference) String() string { return fmt.Sprintf("%s %s %s", d.Kind, d.Name, d.Why) }

// fixable reports whether [Place.Install] can repair it.
func (d Difference) fixable() bool { return d.fix != nil }

// Diff returns all differences between the database and what recording the writes of these tables
// needs, in the order in which to repair them. It changes nothing.
func (p Place) Diff(ctx context.Context, db Querier, tables []Table) ([]Difference, error) {
	if ok, err := p.usable(ctx, db); err != nil || !ok {
		schema := Object{Kind: "schema", Name: quoted(p.schema)}
		return []Difference{{Object: schema, Why: "cannot be used: GRANT USAGE ON SCHEMA " + schema.Name + " to this role"}}, err
	}
	own, err := p.diffOwn(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	rest, err := p.diffTriggers(ctx, db, tables)
	if err != nil {
		return nil, fmt.Errorf("outbox: look up the triggers: %w", err)
	}
	return append(own, rest...), nil
}

// notOurs is the Why of an object that fieldcache did not create but whose name it needs.
const notOurs = "exists, but is not the outbox's: rename it"

// diffOwn implements Diff for the outbox's own objects.
func (p Place) diffOwn(ctx context.Context, db Querier) ([]Difference, error) {
	where, err := p.place(ctx, db)
	if err != nil {
		return nil, err
	}
	var list []Difference
	for _, o := range p.objects(where) {
		switch o.Kind {
		case "schema":
			there, err := column[int](ctx, db, "SELECT 1 FROM pg_namespace WHERE nspname = "+p.literal(p.schema))
			if err != nil {
				return nil, err
			}
			if len(there) == 0 {
				list = append(list, Difference{Object: o, Why: "is missing", absent: true, fix: []string{o.Create}})
			}
		case "table":
			columns, err := p.columnsOf(ctx, db, o.Name)
			if err != nil {
				return nil, err
			}
			switch lacks := p.lacking(o.Name, columns); {
			case len(columns) == 0:
				list = append(list, Difference{Object: o, Why: "is missing", absent: true, fix: []string{o.Create}})
			case !isOwn(o.Name, columns):
				list = append(list, Difference{Object: o, Why: notOurs})
			case len(lacks) > 0:
				list = append(list, Difference{Object: o, Why: "is of another release, without " + strings.Join(lacks, ", ") +
					": remove the outbox with gqlcache.Uninstall or `fieldcache migrate down`, then install it again"})
			}
		case "index":
			there, err := p.hasIndex(ctx, db, o.Name)
			if err != nil {
				return nil, err
			}
			if !there {
				list = append(list, Difference{Object: o, Why: "is missing", absent: true, fix: []string{o.Create}})
			}
		case "function":
			functions, err := p.noteFunctions(ctx, db)
			switch {
			case err != nil:
				return nil, err
			case len(functions) == 0:
				list = append(list, Difference{Object: o, Why: "is missing", absent: true, fix: []string{o.Create}})
			case !functions[0].Ours:
				list = append(list, Difference{Object: o, Why: notOurs})
			case functions[0].Body != noteBody(where) || !functions[0].Safe || functions[0].Renamed:
				list = append(list, Difference{Object: o, Why: "is of another release, or was changed", fix: []string{o.Create}})
			}
		}
	}
	return list, nil
}

// diffTriggers implements Diff for the triggers.
func (p Place) diffTriggers(ctx context.Context, db Querier, tables []Table) ([]Difference, error) {
	related, err := p.relations(ctx, db, tables)
	if err != nil {
		return nil, err
	}
	there, err := p.triggers(ctx, db)
	if err != nil {
		return nil, err
	}
	var list []Difference
	wanted := map[string]int{} // the recorded table, by the name of a wanted trigger
	for i, t := range tables {
		if !slices.ContainsFunc(related, func(r relation) bool { return r.Ord == i+1 }) {
			list = append(list, Difference{Object: Object{Kind: "table", Name: t.Name}, Table: t.Name, Why: "is missing"})
		}
	}
	for _, r := range related {
		t := tables[r.Ord-1]
		if r.Kind != "r" && r.Kind != "p" {
			list = append(list, Difference{Object: Object{Kind: "table", Name: r.Name}, Table: t.Name,
				Why: "is a view or a foreign table: triggers cannot record its writes"})
			continue
		}
		all := t.rowTriggers()
		if p.postgres {
			all = p.statementTriggers(t, r.Name)
		}
		for _, w := range all {
			name := w.object().Name
			if other, ok := wanted[name]; ok {
				list = append(list, Difference{Object: w.object(), Table: t.Name,
					Why: "would also have to record rows of " + tables[other-1].Name + ", which has a partition or parent in common with " + t.Name})
				continue
			}
			wanted[name] = r.Ord
			if d, ok := diffTrigger(t, r, w, there); ok {
				list = append(list, d)
			}
		}
	}
	for _, f := range there {
		if _, ok := wanted[f.object().Name]; !ok && f.Ours {
			list = append(list, Difference{Object: f.object(), Why: "is no longer needed", fix: []string{f.drop()}})
		}
	}
	return list, nil
}

func (f found) drop() string {
	if f.Relation == 0 {
		return "DROP TRIGGER " + ident(f.Name)
	}
	return "DROP TRIGGER " + f.Name + " ON " + f.On
}

// diffTrigger compares a wanted trigger with the existing ones.
func diffTrigger(t Table, r relation, w trigger, there []found) (Difference, bool) {
	d := Difference{Object: w.object(), Table: t.Name, Minor: !r.Self, absent: true, fix: []string{w.create}}
	// Only the owner may make a trigger fire when session_replication_role is replica.
	always := w.enable != "" && r.Owned
	if always {
		d.fix = append(d.fix, w.enable)
	}
	i := slices.IndexFunc(there, func(f found) bool { return f.Name == w.name && (r.OID == 0 || f.Relation == r.OID) })
	if i < 0 {
		d.Why = "is missing"
		return d, true
	}
	f := there[i]
	switch {
	case r.OID == 0 && f.Ours && f.On != t.Name:
		d.Why = "is on the table " + f.On
	case !f.is(w) && !f.Ours:
		d.Why = notOurs
		d.fix = nil
		return d, true
	case !f.is(w):
		d.Why, d.absent = "is of another release, or was changed", false
	case r.OID != 0 && f.Enabled != "A" && (always || f.Enabled != "O"):
		d.Why = "is not always enabled"
		if f.Enabled == "O" {
			d.Minor = true
		} else {
			d.Why = "is disabled"
		}
		if always {
			d.fix = []string{w.enable}
			return d, true
		}
	default:
		return d, false
	}
	d.fix = append([]string{f.drop()}, d.fix...)
	return d, true
}

// Install creates and repairs what recording the writes of the tables needs, and removes triggers
// from tables that are no longer recorded. Writes to a table whose triggers were not in place may
// not have been recorded, so it evicts everything that depends on such a table. db must be a
// transaction. Install returns an error that names everything it cannot repair.
func (p Place) Install(ctx context.Context, db Querier, tables []Table) error {
	differences, err := p.Diff(ctx, db, tables)
	if err != nil {
		return err
	}
	var faults []error
	for _, d := range differences {
		if !d.fixable() {
			faults = append(faults, errors.New(d.String()))
		}
	}
	lacking, err := p.MissingRights(ctx, db, differences, true)
	if err != nil {
		return err
	}
	if faults = append(faults, lacking...); len(faults) > 0 {
		return fmt.Errorf("outbox: writes cannot be recorded:\n%w", errors.Join(faults...))
	}
	existed, _, err := p.ownTable(ctx, db, "cache_outbox")
	if err != nil {
		return fmt.Errorf("outbox: %w", err)
	}
	for _, d := range differences {
		for _, statement := range d.fix {
			if err := run(ctx, db, statement); err != nil {
				return fmt.Errorf("outbox: %v: %w", d, err)
			}
		}
	}
	_, err = p.settle(ctx, db, tables, differences, existed)
	return err
}

// attempt runs statements. If one fails, only their own effects are rolled back, not the
// transaction's.
func attempt(ctx context.Context, db Querier, statements ...string) error {
	if err := run(ctx, db, "SAVEPOINT fieldcache_attempt"); err != nil {
		return err
	}
	for _, s := range statements {
		if err := run(ctx, db, s); err != nil {
			return errors.Join(err, run(ctx, db, "ROLLBACK TO SAVEPOINT fieldcache_attempt"))
		}
	}
	return run(ctx, db, "RELEASE SAVEPOINT fieldcache_attempt")
}

// Left is an object that was not removed, and why.
type Left struct {
	Object
	Why string
}

// String returns the object and the reason in one line.
func (l Left) String() string { return fmt.Sprintf("%s %s: %s", l.Kind, l.Name, l.Why) }

// Remove removes what Install created: the triggers, on whatever tables they are now, the function
// and the tables of the outbox. It recognizes them by their definition. It reports whether there
// were any, and returns the objects that it left because only their names match. If this role may
// not drop an object, Remove returns an error that names all such objects. db must be a transaction;
// roll it back after an error.
func (p Place) Remove(ctx context.Context, db Querier) (removed bool, left []Left, err error) {
	there, err := p.triggers(ctx, db)
	if err != nil {
		return false, nil, fmt.Errorf("outbox: look up the triggers: %w", err)
	}
	functions, err := p.noteFunctions(ctx, db)
	if err != nil {
		return false, nil, fmt.Errorf("outbox: look up the function: %w", err)
	}
	foreign := len(functions) > 0 && !functions[0].Ours
	var refused []error
	drop := func(o Object, statement string) {
		removed = true
		if err := attempt(ctx, db, statement); err != nil {
			refused = append(refused, fmt.Errorf("%s %s: %w", o.Kind, o.Name, err))
		}
	}
	const another = "has the name of an object of the outbox, but is not one"
	for _, f := range there {
		if f.Ours && !foreign {
			drop(f.object(), f.drop())
		} else {
			left = append(left, Left{f.object(), another})
		}
	}
	for _, f := range functions {
		if o := (Object{Kind: "function", Name: f.Name}); foreign {
			left = append(left, Left{o, another})
		} else {
			drop(o, "DROP FUNCTION "+f.Name)
		}
	}
	for _, o := range slices.Backward(p.Objects()) {
		if o.Kind != "table" {
			continue
		}
		there, ours, err := p.ownTable(ctx, db, o.Name)
		switch {
		case err != nil:
			return false, nil, fmt.Errorf("outbox: %w", err)
		case there && !ours:
			left = append(left, Left{o, another})
		case there:
			drop(o, "DROP TABLE "+p.named(o.Name))
		}
	}
	if len(refused) > 0 {
		return false, nil, fmt.Errorf("outbox: cannot remove all of it:\n%w", errors.Join(refused...))
	}
	return removed, left, nil
}

// notAllowed reports whether an error says that the role lacks a right.
func notAllowed(err error) bool {
	const insufficientPrivilege = "42501"
	var state interface{ SQLState() string } // of pgx and lib/pq
	return errors.As(err, &state) && state.SQLState() == insufficientPrivilege
}
