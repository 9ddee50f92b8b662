package cli

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"fieldcache/cache/gqlcache"
	"fieldcache/cache/outbox"
	"fieldcache/internal/config"
)

func doOutbox(ctx context.Context, args []string, cfg config.Config, sys System, _ *slog.Logger) (err error) {
	place := outbox.PostgreSQL(cfg.OutboxIn)
	var db outbox.Querier
	if cfg.OutboxDialect == "sqlite" {
		file, err := openFile(cfg.DatabaseURL)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // only read
		place, db = outbox.SQLite(), file
	}
	if cfg.OutboxDown {
		text, err := place.RemoveSQL(ctx, db)
		if err != nil {
			return err
		}
		_, err = io.WriteString(sys.Stdout, "-- Removes the outbox of fieldcache and its triggers. Run it in one transaction.\n"+text)
		return err
	}
	files := slices.Concat(cfg.OutboxSchema, args[1:])
	if len(files) == 0 {
		return &config.Error{Faults: []string{"no schema file given; use --schema schema.graphqls"}}
	}
	sources, err := readSchema(files)
	if err != nil {
		return err
	}
	rows, err := gqlcache.DeclaredRows(sources...)
	if err != nil {
		return fmt.Errorf("the schema is not valid: %w", err)
	}
	if cfg.OutboxWatch {
		for _, r := range slices.Clone(rows) {
			rows = append(rows, outbox.Any(r.Table))
		}
		for _, name := range cfg.OutboxTable {
			rows = append(rows, outbox.Any(name))
		}
	}
	if len(rows) == 0 {
		return fmt.Errorf("nothing to record: no type and no field with an age in %s has @cacheRows", strings.Join(files, ", "))
	}
	text, err := place.InstallSQL(ctx, db, rows...)
	if err != nil {
		return err
	}
	_, err = io.WriteString(sys.Stdout, "-- Installs or updates the outbox of fieldcache. Run it in one transaction.\n"+text)
	return err
}

// readSchema reads the files that match patterns.
func readSchema(patterns []string) ([]*ast.Source, error) {
	var sources []*ast.Source
	var faults []error
	for _, pattern := range patterns {
		names, err := filepath.Glob(pattern)
		if err == nil && len(names) == 0 {
			err = errors.New("no such file")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("--schema %s: %w", pattern, err))
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				faults = append(faults, fmt.Errorf("--schema %s: %w", pattern, err))
				continue
			}
			sources = append(sources, &ast.Source{Name: name, Input: string(text)})
		}
	}
	return sources, errors.Join(faults...)
}

// openFile opens a SQLite file for reading.
func openFile(databaseURL string) (*sql.DB, error) {
	path, err := url.PathUnescape(strings.TrimPrefix(databaseURL, "sqlite://"))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL=%q must be a file with the tables, since SQLite's triggers name columns: %w", databaseURL, err)
	}
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "mode=ro"}
	return sql.Open("sqlite", dsn.String())
}
