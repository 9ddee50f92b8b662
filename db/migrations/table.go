package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// table is what a table must look like: it is created so, or one that is there is held against it.
type table struct {
	name    string
	columns []column
	tail    string // a constraint over several columns
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
	id columnKind = iota // counted by the database
	text
	bigint
	integer
	timestamp
)

// postgresTypes are the types that serve for a kind, as format_type calls them; the first one is created.
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

// ddl is the column's line in CREATE TABLE.
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

// tables creates the tables that are missing and checks those that are there. All that is wrong with them is
// told at once.
func (s *schema) tables(ctx context.Context, tables []table) error {
	var faults []error
	for _, t := range tables {
		kind, err := s.catalog.relation(ctx, t.name)
		if err != nil {
			return err
		}
		switch kind {
		case "":
			if len(faults) > 0 {
				continue // the rest is checked, but no longer created: it may refer to what is at fault
			}
			if err := s.create(ctx, kindTable, t.name, t.ddl(s.postgres())); err != nil {
				return err
			}
		case "table":
			wrong, err := s.check(ctx, t)
			if err != nil {
				return err
			}
			if len(wrong) > 0 {
				faults = append(faults, wrong...)
				continue
			}
			if err := s.record(ctx, kindTable, t.name, false); err != nil {
				return err
			}
		default:
			faults = append(faults, fmt.Errorf("%s is a %s; needed is a table", t.name, kind))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("the tables that are there are not of the shape that fieldcache needs; nothing was changed:\n%w",
			errors.Join(faults...))
	}
	return nil
}

// check returns everything in which the table that is there falls short.
func (s *schema) check(ctx context.Context, t table) ([]error, error) {
	columns, err := s.catalog.columns(ctx, t.name)
	if err != nil {
		return nil, err
	}
	var faults []error
	for _, want := range t.columns {
		i := slices.IndexFunc(columns, func(c foundColumn) bool { return c.Name == want.name })
		ddl := dialectText(s.postgres(), want.ddl(s.postgres()))
		if i < 0 {
			faults = append(faults, fmt.Errorf("table %s lacks the column %s; needed is: %s", t.name, want.name, ddl))
			continue
		}
		got := columns[i]
		if !s.catalog.serves(got.Type, want.kind) {
			faults = append(faults, fmt.Errorf("table %s: column %s has the type %s; needed is: %s", t.name, want.name, got.Type, ddl))
			continue
		}
		if want.kind == id && !got.Filled {
			faults = append(faults, fmt.Errorf("table %s: column %s is not counted by the database; needed is: %s", t.name, want.name, ddl))
		}
		if want.references != "" && !slices.ContainsFunc(got.References, func(r string) bool {
			return strings.HasPrefix(r, want.references)
		}) {
			faults = append(faults, fmt.Errorf("table %s: column %s lacks its foreign key; needed is: %s", t.name, want.name, ddl))
		}
	}
	return faults, nil
}
