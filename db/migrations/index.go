package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// index is an index that must exist, under this name or another.
type index struct {
	name    string
	table   string
	keys    []string // in order
	include []string // columns for index-only scans
	unique  bool
	trigram bool // for LIKE '%…%' on the only key; PostgreSQL only
}

// indexes creates the missing indexes. An existing index with the same keys in the same order counts,
// whatever its name is.
func (s *schema) indexes(ctx context.Context, indexes []index) error {
	for _, want := range indexes {
		if want.trigram && !s.postgres() {
			continue // SQLite has no trigram indexes and scans the names
		}
		if !s.postgres() {
			want.keys, want.include = slices.Concat(want.keys, want.include), nil
		}
		found, err := s.catalog.indexes(ctx, want.table)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(found, want.servedBy); i >= 0 {
			if err := s.record(ctx, kindIndex, found[i].Name, false); err != nil {
				return err
			}
			continue
		}
		if err := s.createIndex(ctx, want); err != nil {
			return err
		}
	}
	return nil
}

func (want index) servedBy(got foundIndex) bool {
	return slices.Equal(got.Keys, want.keys) && got.Trigram == want.trigram && (got.Unique || !want.unique) &&
		!slices.ContainsFunc(want.include, func(c string) bool { return !slices.Contains(got.Include, c) })
}

func (s *schema) createIndex(ctx context.Context, want index) error {
	name := want.name
	kind, err := s.catalog.relation(ctx, name)
	if err != nil {
		return err
	}
	if kind != "" { // another relation has the name
		name = "fieldcache_" + name
	}
	keys := strings.Join(want.keys, ", ")
	method := ""
	if want.trigram {
		opclass, err := s.trigramOpclass(ctx)
		if err != nil {
			return err
		}
		keys, method = keys+" "+opclass, " USING gin"
	}
	unique := ""
	if want.unique {
		unique = "UNIQUE "
	}
	statement := fmt.Sprintf("CREATE %sINDEX %s ON %s%s (%s)", unique, name, want.table, method, keys)
	if len(want.include) > 0 {
		statement += " INCLUDE (" + strings.Join(want.include, ", ") + ")"
	}
	return s.create(ctx, kindIndex, name, statement)
}

// trigramOpclass returns gin_trgm_ops qualified by its schema. It creates the extension if necessary.
func (s *schema) trigramOpclass(ctx context.Context) (string, error) {
	const lookup = `SELECT quote_ident(n.nspname) || '.gin_trgm_ops' FROM pg_extension e
		JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'`
	extension, err := s.catalog.find(ctx, kindExtension, "pg_trgm")
	if err != nil {
		return "", err
	}
	if extension != nil {
		err = s.record(ctx, kindExtension, "pg_trgm", false)
	} else {
		err = s.create(ctx, kindExtension, "pg_trgm", "CREATE EXTENSION pg_trgm")
	}
	if err != nil {
		return "", trigramError(err)
	}
	var opclass string
	if err := s.db.NewRaw(lookup).Scan(ctx, &opclass); err != nil {
		return "", fmt.Errorf("find the extension pg_trgm: %w", err)
	}
	return opclass, nil
}

func trigramError(err error) error {
	const (
		insufficientPrivilege = "42501"
		undefinedFile         = "58P01"
		featureNotSupported   = "0A000"
	)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	switch pg.Code {
	case insufficientPrivilege:
		return fmt.Errorf("the search by name requires PostgreSQL's extension pg_trgm, which this role may not create; "+
			"ask an administrator to run CREATE EXTENSION pg_trgm in this database: %w", err)
	case undefinedFile, featureNotSupported:
		return fmt.Errorf("the search by name requires PostgreSQL's extension pg_trgm, which is not installed on the server; "+
			"ask an administrator to install PostgreSQL's contrib package and to run CREATE EXTENSION pg_trgm in this database: %w", err)
	}
	return err
}
