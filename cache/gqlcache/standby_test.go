package gqlcache_test

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"

	"fieldcache/cache"
	"fieldcache/cache/pgxwatch"
	"fieldcache/cache/sqlwatch"
	"fieldcache/internal/testservers"
)

// A standby lags behind: a write to the primary evicts a value before the standby has the row. What resolvers read from
// one is not stored, here or by another cache, until the standby is promoted.
func TestWhatIsReadFromAStandbyIsNotStored(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(url string, w *cache.Watch) (*sql.DB, error){
		"pgxwatch": func(url string, w *cache.Watch) (*sql.DB, error) {
			config, err := pgx.ParseConfig(url)
			if err != nil {
				return nil, err
			}
			config.Tracer = pgxwatch.New(w)
			return stdlib.OpenDB(*config), nil
		},
		"sqlwatch": func(url string, w *cache.Watch) (*sql.DB, error) { return sqlwatch.Open("postgres", url, w) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			primary := testservers.PrimaryServer(t)
			var replica *sql.DB
			o := observe(t, primary.URL(), func(ctx context.Context, _ *observer) (string, error) {
				return read(ctx, replica, "SELECT body FROM notes WHERE id = 1")
			}, nil)
			standby := primary.Standby()
			var err error
			if replica, err = open(standby.URL(), o.watch); err != nil {
				t.Fatal(err)
			}
			o.closing(replica.Close)
			o.tables.DB = replica
			for _, query := range []string{"{motto}", "{written}"} { // one observed, one with declared rows
				for range 2 {
					body, header := post(t, o.url, query)
					if status, control := header.Get("Cache-Status"), header.Get("Cache-Control"); status != "fieldcache; fwd=miss" || control != "no-store" {
						t.Errorf("%s: got %s with Cache-Status %q, Cache-Control %q", query, body, status, control)
					}
				}
			}
			if log := o.log.String(); strings.Count(log, cache.StandbyReason) != 2 {
				t.Errorf("got the log\n%s\nwant the reason once for each field", log)
			}
			standby.Promote()
			for _, query := range []string{"{motto}", "{written}"} {
				o.eventually("the promoted server's rows are cached", func() bool {
					_, header := post(t, o.url, query)
					return strings.HasPrefix(header.Get("Cache-Status"), "fieldcache; hit")
				})
			}
		})
	}
}
