package outbox

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// Table is a table whose writes are recorded. Names are unquoted and may contain any characters.
type Table struct {
	Name       string // found by the search path on PostgreSQL
	PrimaryKey []string
	// Keys are the columns whose values are part of keys and tags.
	Keys []string
	// Refers are foreign-key columns that are not among Keys. They are checked like Keys, but not
	// recorded.
	Refers []string
	// Matter are the columns whose change evicts something. An UPDATE that changes none of them is
	// not recorded.
	Matter []string
}

// named returns the columns whose values are part of keys, each once.
func (t Table) named() []string {
	return unique(slices.Concat(t.PrimaryKey, t.Keys, t.Refers))
}

// columns returns all columns of interest, each once.
func (t Table) columns() []string { return unique(slices.Concat(t.named(), t.Matter)) }

// stored returns the name under which the table's identity is stored. It includes a hash of the
// columns of interest, so that gateways of two releases do not mistake each other's identity for a
// change.
func (t Table) stored() string {
	declared := strings.Join([]string{array(t.PrimaryKey), array(t.Keys), array(t.Refers), array(t.Matter)}, " ")
	return fmt.Sprintf("%s %.4x", t.Name, sha256.Sum256([]byte(declared)))
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// trigger is a trigger that records writes.
type trigger struct {
	name    string
	on      string // the SQL of its table
	create  string
	enable  string   // on PostgreSQL: makes it fire also in sessions that apply the writes of another server
	args    []string // on PostgreSQL: the function's arguments
	kind    int      // on PostgreSQL: pg_trigger.tgtype
	old     string   // the names of its transition tables
	new     string
	deletes string // drops it
}

func (t trigger) object() Object {
	if t.args == nil {
		return Object{"trigger", t.name, t.create}
	}
	return Object{"trigger", t.name + " ON " + t.on, t.create}
}

// The bits of pg_trigger.tgtype. None stands for AFTER, or for a statement.
const (
	onInsert   = 1 << 2
	onDelete   = 1 << 3
	onUpdate   = 1 << 4
	onTruncate = 1 << 5
)

// statementKind is a kind of statement that PostgreSQL's triggers record.
type statementKind struct {
	op       Op
	kind     int
	old, new string // the names of its transition tables
}

var statementKinds = [...]statementKind{
	{Insert, onInsert, "", "cache_new"}, {Update, onUpdate, "cache_old", "cache_new"},
	{Delete, onDelete, "cache_old", ""}, {Truncate, onTruncate, "", ""},
}

// referencing returns the clause of the transition tables, with a leading space.
func (k statementKind) referencing() string {
	clause := ""
	if k.old != "" {
		clause += " OLD TABLE AS " + k.old
	}
	if k.new != "" {
		clause += " NEW TABLE AS " + k.new
	}
	if clause != "" {
		clause = " REFERENCING" + clause
	}
	return clause
}

// statementTriggers returns PostgreSQL's triggers on a relation: the table itself, or one that
// shares rows with it. They fire once for a statement.
func (p Place) statementTriggers(t Table, relation string) []trigger {
	args := []string{array(t.PrimaryKey), array(t.Keys), array(t.Matter), t.Name}
	literals := make([]string, len(args))
	for i, a := range args {
		literals[i] = p.literal(a)
	}
	var list []trigger
	for _, w := range statementKinds {
		name := quoted(p.triggerName(w.op))
		list = append(list, trigger{
			name: name, on: relation, args: args, kind: w.kind, old: w.old, new: w.new,
			create: fmt.Sprintf("CREATE TRIGGER %s AFTER %s ON %s%s FOR EACH STATEMENT EXECUTE FUNCTION %s(%s)",
				name, w.op, relation, w.referencing(), p.named("cache_outbox_note"), strings.Join(literals, ", ")),
			enable:  fmt.Sprintf("ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %s", relation, name),
			deletes: fmt.Sprintf("DROP TRIGGER %s ON %s", name, relation),
		})
	}
	return list
}

// maxName is the maximum length of a name in PostgreSQL, in bytes.
const maxName = 63

// triggerName returns the name of PostgreSQL's trigger for a kind of statement. Outboxes in two
// schemas may record one table.
func (p Place) triggerName(op Op) string {
	name := "cache_outbox_" + strings.ToLower(string(op))
	if p.schema == "" {
		return name
	}
	if name += "_" + p.schema; len(name) > maxName {
		name = fmt.Sprintf("%.*s_%.4x", maxName-9, name, sha256.Sum256([]byte(p.schema)))
	}
	return name
}

// triggerNames returns all possible names of triggers, as a list of SQL literals.
func (p Place) triggerNames() string {
	var list []string
	for _, op := range []Op{Insert, Update, Delete, Truncate} {
		list = append(list, p.literal(p.triggerName(op)))
	}
	return strings.Join(list, ", ")
}

// rowTriggers returns SQLite's triggers, which fire for each row, so that MaxRows has no effect
// there.
func (t Table) rowTriggers() []trigger {
	return []trigger{t.onRow(Insert), t.onRow(Update), t.onRow(Delete)}
}

func (t Table) onRow(op Op) trigger {
	name := "cache_outbox_" + t.Name + "_" + strings.ToLower(string(op))
	var when string
	var row []string
	if op != Insert {
		row = append(row, "'was', "+values("OLD", t.Keys))
	}
	if op != Delete {
		row = append(row, "'is', "+values("NEW", t.Keys))
	}
	if op == Update {
		var differ, changed []string
		for _, c := range slices.Concat(t.PrimaryKey, t.Matter) {
			// Regardless of the column's collation.
			d := fmt.Sprintf("OLD.%s COLLATE BINARY IS NOT NEW.%[1]s", ident(c))
			differ = append(differ, d)
			changed = append(changed, fmt.Sprintf("CASE WHEN %s THEN %s END", d, literal(c)))
		}
		when = " WHEN " + strings.Join(differ, " OR ")
		row = append(row, "'changed', json((SELECT json_group_array(value) FROM json_each(json_array("+
			strings.Join(changed, ", ")+")) WHERE value IS NOT NULL))")
	}
	return trigger{
		name: name, on: ident(t.Name), deletes: "DROP TRIGGER " + ident(name),
		create: fmt.Sprintf("CREATE TRIGGER %s AFTER %s ON %s%s BEGIN "+
			"INSERT INTO cache_outbox (tbl, op, rows) VALUES (%s, '%s', json_array(json_object(%s))); END",
			ident(name), op, ident(t.Name), when, literal(t.Name), op, strings.Join(row, ", ")),
	}
}

// values returns the JSON of a row's values, without those that are NULL, which json_patch removes.
func values(row string, columns []string) string {
	pairs := make([]string, len(columns))
	for i, c := range columns {
		pairs[i] = fmt.Sprintf("%s, CAST(%s.%s AS text)", literal(c), row, ident(c))
	}
	return "json(json_patch('{}', json_object(" + strings.Join(pairs, ", ") + ")))"
}
