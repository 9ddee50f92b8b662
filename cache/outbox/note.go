package outbox

import (
	"fmt"
	"strings"
)

// noteMark is in the body of every release's note function, and in no other function.
const noteMark = ".cache_outbox (tbl, op"

// noteFunction returns the statement that creates the function which PostgreSQL's triggers call at
// the end of a statement. schema is the SQL of the name of the schema that the outbox is in. The
// function runs with the rights of its creator: a role that may write to a table need not be
// allowed to write to the outbox. Therefore its search path holds nothing that the caller could
// create. It sees every digit of a float, whatever the session that writes shows of it.
func (p Place) noteFunction(schema string) string {
	return "CREATE OR REPLACE FUNCTION " + p.named("cache_outbox_note") + "() RETURNS trigger\n" +
		"LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET extra_float_digits = 1 AS $note$" + noteBody(schema) + "$note$"
}

// noteBody returns the function's body. It reads rows as JSON, so that one function serves every
// table, and renaming or dropping a column breaks no write. A row that lacks a column, because it
// was renamed or the statement names a parent that does not have it, stands for the whole table. It
// compares values as text, since 1.0 and 1.00 are equal as JSON. A row is t.* and not t, which may be
// the name of a column.
func noteBody(schema string) string {
	return fmt.Sprintf(noteTemplate, schema, MaxRows)
}

const noteTemplate = `
-- Arguments: arrays of the columns of the primary key, of those that name keys of the cache, and of those
-- that matter; and the name that the table is noted under, which a partition has from its parent.
DECLARE
	pk text[] := TG_ARGV[0];
	keys text[];
	matter text[];
	noted text := TG_ARGV[3];
	many boolean;
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
		-- Most updates change one row, which needs no join of rows: that takes half the time. There is a pair unless
		-- one of the two has no rows.
		SELECT to_jsonb(o.*), to_jsonb(n.*), EXISTS (SELECT FROM cache_old OFFSET 1) OR EXISTS (SELECT FROM cache_new OFFSET 1)
			INTO old_row, new_row, many FROM cache_old o, cache_new n LIMIT 1;
		IF many IS NULL AND NOT EXISTS (SELECT FROM cache_old) AND NOT EXISTS (SELECT FROM cache_new) THEN
			RETURN NULL;
		ELSIF NOT (jsonb_exists_all(old_row, TG_ARGV[1]::text[]) AND jsonb_exists_all(old_row, TG_ARGV[2]::text[])) THEN
			INSERT INTO %[1]s.cache_outbox (tbl, op) VALUES (noted, TG_OP);
			RETURN NULL;
		ELSIF NOT many THEN
			FOREACH col IN ARRAY pk LOOP
				same := same AND old_row->>col = new_row->>col;
			END LOOP;
			IF same THEN
				FOREACH col IN ARRAY TG_ARGV[2]::text[] LOOP
					IF old_row->>col IS DISTINCT FROM new_row->>col THEN
						differ := differ || col;
					END IF;
				END LOOP;
				IF differ IS NULL THEN
					RETURN NULL;
				END IF;
				IF TG_ARGV[1] = TG_ARGV[0] THEN
					FOREACH col IN ARRAY pk LOOP
						was := was || jsonb_build_object(col, old_row->>col);
					END LOOP;
					now_is := was;
				ELSE
					FOREACH col IN ARRAY TG_ARGV[1]::text[] LOOP
						IF old_row->>col IS NOT NULL THEN
							was := was || jsonb_build_object(col, old_row->>col);
						END IF;
						IF new_row->>col IS NOT NULL THEN
							now_is := now_is || jsonb_build_object(col, new_row->>col);
						END IF;
					END LOOP;
				END IF;
				INSERT INTO %[1]s.cache_outbox (tbl, op, rows) VALUES (noted, TG_OP,
					jsonb_build_array(jsonb_build_object('was', was, 'is', now_is, 'changed', differ)));
				RETURN NULL;
			END IF;
		END IF;
		many := EXISTS (SELECT FROM cache_new OFFSET %[2]d);
	END IF;
	keys := TG_ARGV[1];
	matter := TG_ARGV[2];
	IF many THEN
		INSERT INTO %[1]s.cache_outbox (tbl, op) VALUES (noted, TG_OP);
	ELSIF TG_OP = 'INSERT' THEN
		INSERT INTO %[1]s.cache_outbox (tbl, op, rows)
		SELECT noted, TG_OP, CASE WHEN bool_and(jsonb_exists_all(n.r, keys)) THEN jsonb_agg(jsonb_build_object(
			'is', (SELECT jsonb_object_agg(k, n.r->>k) FROM unnest(keys) k WHERE n.r->>k IS NOT NULL))) END
		FROM (SELECT to_jsonb(t.*) AS r FROM cache_new t OFFSET 0) n
		HAVING count(*) > 0;
	ELSIF TG_OP = 'DELETE' THEN
		INSERT INTO %[1]s.cache_outbox (tbl, op, rows)
		SELECT noted, TG_OP, CASE WHEN bool_and(jsonb_exists_all(o.r, keys)) THEN jsonb_agg(jsonb_build_object(
			'was', (SELECT jsonb_object_agg(k, o.r->>k) FROM unnest(keys) k WHERE o.r->>k IS NOT NULL))) END
		FROM (SELECT to_jsonb(t.*) AS r FROM cache_old t OFFSET 0) o
		HAVING count(*) > 0;
	ELSE
		-- A row whose primary key changed is one that is gone and one that is new.
		INSERT INTO %[1]s.cache_outbox (tbl, op, rows)
		SELECT noted, TG_OP, CASE WHEN bool_and(jsonb_exists_all(coalesce(o.r, n.r), keys)) THEN jsonb_agg(jsonb_build_object(
			'was', (SELECT jsonb_object_agg(k, o.r->>k) FROM unnest(keys) k WHERE o.r->>k IS NOT NULL),
			'is', (SELECT jsonb_object_agg(k, n.r->>k) FROM unnest(keys) k WHERE n.r->>k IS NOT NULL),
			'changed', c.changed)) END
		FROM (SELECT r, (SELECT jsonb_agg(r->k) FROM unnest(pk) k) AS id FROM (SELECT to_jsonb(t.*) AS r FROM cache_old t OFFSET 0) t) o
		FULL JOIN (SELECT r, (SELECT jsonb_agg(r->k) FROM unnest(pk) k) AS id FROM (SELECT to_jsonb(t.*) AS r FROM cache_new t OFFSET 0) t) n
			ON o.id = n.id
		CROSS JOIN LATERAL (SELECT jsonb_agg(k) AS changed FROM unnest(matter) k WHERE o.r->>k IS DISTINCT FROM n.r->>k) c
		WHERE c.changed IS NOT NULL OR o.r IS NULL OR n.r IS NULL
		HAVING count(*) > 0;
	END IF;
	RETURN NULL;
END
`

// array returns an array of texts as a PostgreSQL literal.
func array(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = `"` + strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), `"`, `\"`) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}
