package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"fieldcache/cache/outbox"
)

// table describes a table that is created, or compared with an existing one.
type table struct {
	name    string
	columns []column
	tail    string // a constraint over several columns
	adds    bool   // whether the gateway inserts rows
	storage string // PostgreSQL only
}

type column struct {
	name       string
	kind       columnKind
	constraint string
	references string // "users ON DELETE CASCADE"
}

type columnKind int

const (
	id columnKind = iota // numbered by the database
	text
	bigint
	integer
	timestamp
)

// postgresTypes returns the types that are accepted for a kind, by their names in format_type. New
// columns get the first one.
func (k columnKind) postgresTypes() []string {
	switch k {
	case text:
		return []string{"text", "character varying", "character", "citext"}
	case integer:
		return []string{"integer", "bigint", "smallint"}
	case timestamp:
		return []string{"timestamp with time zone"}
	default:
		return []string{"bigint"}
	}
}

// ddl returns the column's line in CREATE TABLE.
func (c column) ddl(postgres bool) string {
	parts := []string{c.name}
	switch c.kind {
	case id:
		parts = append(parts, "{id}")
	case text:
		parts = append(parts, "text")
	case bigint:
		parts = append(parts, "bigint")
	case integer:
		parts = append(parts, "int")
	case timestamp:
		parts = append(parts, "{time}")
	}
	if c.constraint != "" {
		parts = append(parts, c.constraint)
	}
	if c.kind == integer && !postgres { // SQLite's integers all have 64 bits
		parts = append(parts, fmt.Sprintf("CHECK (%s BETWEEN -2147483648 AND 2147483647)", c.name))
	}
	if target, action, found := strings.Cut(c.references, " "); found {
		parts = append(parts, "REFERENCES", target+referenceKey(target), action)
	} else if c.references != "" {
		parts = append(parts, "REFERENCES", target+referenceKey(target))
	}
	return strings.Join(parts, " ")
}

func referenceKey(target string) string {
	if target == "countries" {
		return "(code)"
	}
	return "(id)"
}

func (t table) ddl(postgres bool) string {
	var lines []string
	for _, c := range t.columns {
		lines = append(lines, c.ddl(postgres))
	}
	if t.tail != "" {
		lines = append(lines, t.tail)
	}
	text := "CREATE TABLE " + t.name + " (\n\t" + strings.Join(lines, ",\n\t") + "\n)"
	if postgres && t.storage != "" {
		text += " WITH (" + t.storage + ")"
	}
	return text
}

// required reports whether the column must be NOT NULL: the GraphQL schema does not allow null, or the
// column is read into a Go type without nil.
func (c column) required() bool {
	return c.kind == id || strings.Contains(c.constraint, "NOT NULL")
}

// tables creates the missing tables and checks the existing ones. It returns one error for all
// differences.
func (s *schema) tables(ctx context.Context, tables []table) error {
	faults, err := s.faults(ctx, tables)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return shapeError(faults)
	}
	for _, t := range tables {
		kind, err := s.catalog.relation(ctx, t.name)
		if err != nil {
			return err
		}
		if kind == "" {
			err = s.create(ctx, kindTable, t.name, t.ddl(s.postgres()))
		} else {
			err = s.record(ctx, kindTable, t.name, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ErrShape is wrapped by the errors of [Check].
var ErrShape = errors.New("the existing tables do not have the shape that fieldcache requires; nothing was changed")

func shapeError(faults []error) error { return fmt.Errorf("%w:\n%w", ErrShape, errors.Join(faults...)) }

// Check returns an error, which wraps [ErrShape], if the shop's tables lack something or have columns
// of the wrong type, or if the database does not compare the columns that name keys byte by byte. The
// error names all of these. Check ignores missing tables.
func Check(ctx context.Context, db *bun.DB, rows []outbox.Rows) error {
	faults, err := newSchema(db, shopName).faults(ctx, shopTables())
	if err != nil {
		return err
	}
	tables, _, err := noted(ctx, db, rows)
	if err != nil {
		return err
	}
	unequal, err := placeOf(db).Check(ctx, querier(ctx, db), tables)
	if err != nil {
		return err
	}
	faults = append(faults, unequal...)
	if len(faults) > 0 {
		return shapeError(faults)
	}
	return nil
}

func (s *schema) faults(ctx context.Context, tables []table) ([]error, error) {
	var faults []error
	for _, t := range tables {
		kind, err := s.catalog.relation(ctx, t.name)
		if err != nil {
			return nil, err
		}
		switch kind {
		case "":
		case "table":
			wrong, err := s.check(ctx, t)
			if err != nil {
				return nil, err
			}
			faults = append(faults, wrong...)
		default:
			faults = append(faults, fmt.Errorf("%s is a %s, but must be a table", t.name, kind))
		}
	}
	return faults, nil
}

// check returns everything that the existing table lacks.
func (s *schema) check(ctx context.Context, t table) ([]error, error) {
	columns, err := s.catalog.columns(ctx, t.name)
	if err != nil {
		return nil, err
	}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("table %s: "+format, append([]any{t.name}, args...)...))
	}
	for _, want := range t.columns {
		i := slices.IndexFunc(columns, func(c foundColumn) bool { return c.Name == want.name })
		ddl := dialectText(s.postgres(), want.ddl(s.postgres()))
		if i < 0 {
			faults = append(faults, fmt.Errorf("table %s lacks the column %s; required: %s", t.name, want.name, ddl))
			continue
		}
		got := columns[i]
		if !s.catalog.serves(got.Type, want.kind) {
			fault("column %s has the type %s; required: %s", want.name, got.Type, ddl)
			continue
		}
		switch {
		case want.kind == id && !got.Counted:
			fault("column %s is not numbered by the database; required: %s", want.name, ddl)
		case want.required() && !got.Required:
			fault("column %s may be NULL, which would be read as empty or 0; required: %s", want.name, s.notNull(t, want))
		}
		if got.Generated {
			fault("column %s is generated, so it cannot be written; required: %s", want.name, ddl)
		}
		if want.references != "" && !slices.ContainsFunc(got.References, func(r string) bool {
			return strings.HasPrefix(r, want.references)
		}) {
			fault("column %s lacks its foreign key; required: %s", want.name, ddl)
		}
	}
	for _, got := range columns {
		ours := slices.ContainsFunc(t.columns, func(c column) bool { return c.name == got.Name })
		if t.adds && !ours && got.Required && !got.Filled && !got.Generated {
			fault("column %s is NOT NULL without a default, and fieldcache does not set it; give it a default, or allow NULL", got.Name)
		}
	}
	return faults, nil
}

// notNull returns the statement that makes a column NOT NULL.
func (s *schema) notNull(t table, c column) string {
	if s.postgres() {
		return fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL, after removing all NULL values", t.name, c.name)
	}
	return "recreate the table with " + dialectText(false, c.ddl(false))
}
