package outbox

import "strings"

// Object is a database object that the outbox needs. Its Create statement does not end in a
// semicolon, and may depend on the objects before it.
type Object struct {
	Kind   string // table, index, function or trigger
	Name   string // as DROP takes it after the kind
	Create string // the statement
}

// Objects returns the tables, index and function of the outbox, in the order in which to create
// them. On PostgreSQL without a schema it assumes that public is first in the search path.
func (p Place) Objects() []Object {
	if p.schema == "" {
		return p.objects("public")
	}
	return p.objects(ident(p.schema))
}

// objects implements Objects; schema is the SQL of the name of the schema that they are in.
func (p Place) objects(schema string) []Object {
	if !p.postgres {
		return []Object{
			{"table", "cache_outbox", `CREATE TABLE cache_outbox (
	id integer PRIMARY KEY AUTOINCREMENT,
	tbl text NOT NULL,
	op text NOT NULL,
	rows text,
	created_at timestamp NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f+00:00', 'now')),
	done_at timestamp
)`},
			{"index", "cache_outbox_due_idx", "CREATE INDEX cache_outbox_due_idx ON cache_outbox (id) WHERE done_at IS NULL"},
			{"table", "cache_horizon", "CREATE TABLE cache_horizon (one integer PRIMARY KEY CHECK (one = 1), snapshot text NOT NULL)"},
			p.tablesTable(),
		}
	}
	var list []Object
	if p.schema != "" {
		list = append(list, Object{"schema", schema, "CREATE SCHEMA " + schema})
	}
	return append(list, []Object{
		{"table", "cache_outbox", "CREATE TABLE " + p.named("cache_outbox") + ` (
	id bigint GENERATED ALWAYS AS IDENTITY,
	xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
	tbl text NOT NULL,
	op text NOT NULL,
	rows jsonb,
	created_at timestamptz NOT NULL DEFAULT now(),
	done_at timestamptz,
	PRIMARY KEY (xid, id)
)`},
		{"index", "cache_outbox_due_idx", "CREATE INDEX cache_outbox_due_idx ON " + p.named("cache_outbox") + " (xid, id) WHERE done_at IS NULL"},
		{"table", "cache_horizon", "CREATE TABLE " + p.named("cache_horizon") + " (one boolean PRIMARY KEY CHECK (one), snapshot text NOT NULL)"},
		p.tablesTable(),
		{"function", "cache_outbox_note", p.noteFunction(schema)},
	}...)
}

// tablesTable stores the state of the recorded tables at the last check; see [Watch].
func (p Place) tablesTable() Object {
	return Object{"table", "cache_tables", "CREATE TABLE " + p.named("cache_tables") + " (tbl text PRIMARY KEY, identity text NOT NULL)"}
}

// ident returns a name as an SQL identifier.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// quoted returns a name as quote_ident does, except that it does not quote keywords.
func quoted(name string) string {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" {
		return name
	}
	return ident(name)
}

// literal returns a text as an SQL literal.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
