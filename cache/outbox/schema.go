package outbox

import "strings"

// Object is something that must be in a database for its outbox to work. No statement of one ends in a
// semicolon, and each needs those before it.
type Object struct {
	Kind   string // table, index, function or trigger
	Name   string // as DROP takes it behind the kind
	Create string // the statement
}

// Objects are the outbox's own tables, index and function. schema is the SQL of the name of PostgreSQL's
// schema that they are created in, such as public, which must be first in the search path then.
func Objects(postgres bool, schema string) []Object {
	if !postgres {
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
			tablesTable,
		}
	}
	return []Object{
		{"table", "cache_outbox", `CREATE TABLE cache_outbox (
	id bigint GENERATED ALWAYS AS IDENTITY,
	xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
	tbl text NOT NULL,
	op text NOT NULL,
	rows jsonb,
	created_at timestamptz NOT NULL DEFAULT now(),
	done_at timestamptz,
	PRIMARY KEY (xid, id)
)`},
		{"index", "cache_outbox_due_idx", "CREATE INDEX cache_outbox_due_idx ON cache_outbox (xid, id) WHERE done_at IS NULL"},
		{"table", "cache_horizon", "CREATE TABLE cache_horizon (one boolean PRIMARY KEY CHECK (one), snapshot text NOT NULL)"},
		tablesTable,
		{"function", "cache_outbox_note", noteFunction(schema)},
	}
}

// tablesTable keeps what the noted tables were when they were last looked at; see [Watch].
var tablesTable = Object{"table", "cache_tables", "CREATE TABLE cache_tables (tbl text PRIMARY KEY, identity text NOT NULL)"}

// ident returns a name as an identifier of SQL.
func ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal returns a text as a literal of SQL.
func literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
