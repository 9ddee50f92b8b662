package outbox

import (
	"fmt"
	"strings"
)

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
		{"function", "cache_outbox_note", fmt.Sprintf(noteFunction, schema, MaxRows)},
	}
}

// noteFunction is what PostgreSQL's triggers call at the end of a statement. It reads rows as JSON, so that one
// function serves every table, and a column that is renamed or dropped breaks no write.
//
// It runs with the rights of whoever created it: who may write to a table need not be allowed to write to
// the outbox. Therefore its search path holds nothing that the caller could put there.
const noteFunction = `CREATE FUNCTION cache_outbox_note() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $note$
-- Arguments, lists of columns: the primary key; those that name keys of the cache; those that matter.
DECLARE
	pk text[] := string_to_array(TG_ARGV[0], ',');
	keys text[] := string_to_array(TG_ARGV[1], ',');
	matter text[] := string_to_array(TG_ARGV[2], ',');
	many boolean;
	olds jsonb[];
	old_row jsonb;
	new_row jsonb;
	same boolean := true;
	was jsonb := '{}';
	now_is jsonb := '{}';
	differ text[];
	col text;
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		many := true;
	ELSIF TG_OP = 'DELETE' THEN
		many := EXISTS (SELECT FROM cache_old OFFSET %[2]d);
	ELSIF TG_OP = 'INSERT' THEN
		many := EXISTS (SELECT FROM cache_new OFFSET %[2]d);
	ELSE
		-- Most updates change one row, which needs no join: that takes half the time.
		olds := ARRAY(SELECT to_jsonb(t) FROM cache_old t LIMIT 2);
		IF cardinality(olds) = 0 THEN
			RETURN NULL;
		ELSIF cardinality(olds) = 1 THEN
			old_row := olds[1];
			new_row := (SELECT to_jsonb(t) FROM cache_new t);
			FOREACH col IN ARRAY pk LOOP
				same := same AND old_row->col = new_row->col;
			END LOOP;
			IF same THEN
				FOREACH col IN ARRAY matter LOOP
					IF old_row->col IS DISTINCT FROM new_row->col THEN
						differ := differ || col;
					END IF;
				END LOOP;
				IF differ IS NULL THEN
					RETURN NULL;
				END IF;
				FOREACH col IN ARRAY keys LOOP
					IF old_row->>col IS NOT NULL THEN
						was := was || jsonb_build_object(col, old_row->>col);
					END IF;
					IF new_row->>col IS NOT NULL THEN
						now_is := now_is || jsonb_build_object(col, new_row->>col);
					END IF;
				END LOOP;
				INSERT INTO %[1]s.cache_outbox (tbl, op, rows) VALUES (TG_TABLE_NAME, TG_OP,
					jsonb_build_array(jsonb_build_object('was', was, 'is', now_is, 'changed', differ)));
				RETURN NULL;
			END IF;
		END IF;
		many := EXISTS (SELECT FROM cache_new OFFSET %[2]d);
	END IF;
	IF many THEN
		INSERT INTO %[1]s.cache_outbox (tbl, op) VALUES (TG_TABLE_NAME, TG_OP);
	ELSIF TG_OP = 'INSERT' THEN
		INSERT INTO %[1]s.cache_outbox (tbl, op, rows)
		SELECT TG_TABLE_NAME, TG_OP, jsonb_agg(jsonb_build_object(
			'is', (SELECT jsonb_object_agg(k, n.r->>k) FROM unnest(keys) k WHERE n.r->>k IS NOT NULL)))
		FROM (SELECT to_jsonb(t) AS r FROM cache_new t OFFSET 0) n
		HAVING count(*) > 0;
	ELSIF TG_OP = 'DELETE' THEN
		INSERT INTO %[1]s.cache_outbox (tbl, op, rows)
		SELECT TG_TABLE_NAME, TG_OP, jsonb_agg(jsonb_build_object(
			'was', (SELECT jsonb_object_agg(k, o.r->>k) FROM unnest(keys) k WHERE o.r->>k IS NOT NULL)))
		FROM (SELECT to_jsonb(t) AS r FROM cache_old t OFFSET 0) o
		HAVING count(*) > 0;
	ELSE
		-- A row whose primary key changed is one that is gone and one that is new.
		INSERT INTO %[1]s.cache_outbox (tbl, op, rows)
		SELECT TG_TABLE_NAME, TG_OP, jsonb_agg(jsonb_build_object(
			'was', (SELECT jsonb_object_agg(k, o.r->>k) FROM unnest(keys) k WHERE o.r->>k IS NOT NULL),
			'is', (SELECT jsonb_object_agg(k, n.r->>k) FROM unnest(keys) k WHERE n.r->>k IS NOT NULL),
			'changed', c.changed))
		FROM (SELECT r, (SELECT jsonb_agg(r->k) FROM unnest(pk) k) AS id FROM (SELECT to_jsonb(t) AS r FROM cache_old t OFFSET 0) t) o
		FULL JOIN (SELECT r, (SELECT jsonb_agg(r->k) FROM unnest(pk) k) AS id FROM (SELECT to_jsonb(t) AS r FROM cache_new t OFFSET 0) t) n
			ON o.id = n.id
		CROSS JOIN LATERAL (SELECT jsonb_agg(k) AS changed FROM unnest(matter) k WHERE o.r->k IS DISTINCT FROM n.r->k) c
		WHERE c.changed IS NOT NULL OR o.r IS NULL OR n.r IS NULL
		HAVING count(*) > 0;
	END IF;
	RETURN NULL;
END
$note$`

// Table is a table whose writes are noted. All names are of letters, digits and underscores.
type Table struct {
	Name       string
	PrimaryKey []string
	// Keys are the columns whose values name keys and tags.
	Keys []string
	// Matter are the columns whose change makes something untrue. An UPDATE that changes none leaves nothing.
	Matter []string
}

// Triggers are the triggers that note a table's writes. Those of PostgreSQL fire once for a statement, those of
// SQLite, which has no others, for each row, so that MaxRows bounds nothing there.
func (t Table) Triggers(postgres bool) []Object {
	if postgres {
		return []Object{
			t.onStatement(Insert, "REFERENCING NEW TABLE AS cache_new "),
			t.onStatement(Update, "REFERENCING OLD TABLE AS cache_old NEW TABLE AS cache_new "),
			t.onStatement(Delete, "REFERENCING OLD TABLE AS cache_old "),
			t.onStatement(Truncate, ""),
		}
	}
	return []Object{t.onRow(Insert), t.onRow(Update), t.onRow(Delete)}
}

func (t Table) onStatement(op Op, referencing string) Object {
	name := "cache_outbox_" + strings.ToLower(string(op)) + " ON " + ident(t.Name)
	before, on, _ := strings.Cut(name, " ON ")
	return Object{"trigger", name, fmt.Sprintf("CREATE TRIGGER %s AFTER %s ON %s %sFOR EACH STATEMENT EXECUTE FUNCTION cache_outbox_note(%s, %s, %s)",
		before, op, on, referencing, list(t.PrimaryKey), list(t.Keys), list(t.Matter))}
}

func list(columns []string) string { return literal(strings.Join(columns, ",")) }

func (t Table) onRow(op Op) Object {
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
		for _, c := range append(t.PrimaryKey[:len(t.PrimaryKey):len(t.PrimaryKey)], t.Matter...) {
			d := fmt.Sprintf("OLD.%s IS NOT NEW.%[1]s", ident(c))
			differ = append(differ, d)
			changed = append(changed, fmt.Sprintf("CASE WHEN %s THEN %s END", d, literal(c)))
		}
		when = " WHEN " + strings.Join(differ, " OR ")
		row = append(row, "'changed', json((SELECT json_group_array(value) FROM json_each(json_array("+
			strings.Join(changed, ", ")+")) WHERE value IS NOT NULL))")
	}
	return Object{"trigger", name, fmt.Sprintf("CREATE TRIGGER %s AFTER %s ON %s%s BEGIN "+
		"INSERT INTO cache_outbox (tbl, op, rows) VALUES (%s, '%s', json_array(json_object(%s))); END",
		name, op, ident(t.Name), when, literal(t.Name), op, strings.Join(row, ", "))}
}

// values is the JSON of a row's values, without those that are NULL, which json_patch removes.
func values(row string, columns []string) string {
	pairs := make([]string, len(columns))
	for i, c := range columns {
		pairs[i] = fmt.Sprintf("%s, CAST(%s.%s AS text)", literal(c), row, ident(c))
	}
	return "json(json_patch('{}', json_object(" + strings.Join(pairs, ", ") + ")))"
}

// ident is a name in SQL, which could be a reserved word.
func ident(name string) string { return `"` + name + `"` }

// literal is a name as a text in SQL.
func literal(name string) string { return "'" + name + "'" }
