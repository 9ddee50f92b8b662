package layers

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/mattn/go-sqlite3"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/driver/pgdriver"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/pgxwatch"
	"fieldcache/cache/sqlwatch"
	"fieldcache/internal/shapes/starwars"
	"fieldcache/internal/testservers"
)

// nameOf reads the name of a starship. It returns "" if there is none.
type nameOf func(ctx context.Context, id string) (string, error)

// root is a project that reads starships with a database layer, and everything else with
// database/sql.
type root struct {
	*starwars.Resolver
	name nameOf
}

func (r root) Query() starwars.QueryResolver { return queries{r.Resolver.Query(), r.name} }

type queries struct {
	starwars.QueryResolver
	name nameOf
}

func (q queries) Starship(ctx context.Context, id string) (*starwars.Starship, error) {
	name, err := q.name(ctx, id)
	if err != nil || name == "" {
		return nil, err
	}
	return &starwars.Starship{ID: id, Name: name, History: [][]int{}}, nil
}

// layer is a database layer.
type layer struct {
	connector driver.Connector
	// reads returns a function that reads starships from a pool with watched statements.
	reads func(t *testing.T, db *sql.DB, watch *cache.Watch) nameOf
}

// opens opens connections of a driver without a connector.
type opens struct {
	driver driver.Driver
	dsn    string
}

func (o opens) Connect(context.Context) (driver.Conn, error) { return o.driver.Open(o.dsn) }
func (o opens) Driver() driver.Driver                        { return o.driver }

func byPgx(t *testing.T, url string) driver.Connector {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return stdlib.GetConnector(*config)
}

func bySQL(_ *testing.T, db *sql.DB, _ *cache.Watch) nameOf {
	return func(ctx context.Context, id string) (name string, err error) {
		err = db.QueryRowContext(ctx, "SELECT name FROM starships WHERE id = $1", id).Scan(&name)
		if errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
		return name, err
	}
}

type starship struct {
	bun.BaseModel `bun:"table:starships" gorm:"-"`

	ID   string `bun:"id,pk" gorm:"primaryKey"`
	Name string `bun:"name"`
}

func (starship) TableName() string { return "starships" }

var layers = map[string]func(*testing.T) layer{
	"mattn's SQLite": func(t *testing.T) layer {
		return layer{opens{&sqlite3.SQLiteDriver{}, "file:" + t.TempDir() + "/ships.db?_busy_timeout=30000&_journal_mode=WAL"}, bySQL}
	},
	"pgdriver and bun": func(t *testing.T) layer {
		return layer{pgdriver.NewConnector(pgdriver.WithDSN(testservers.Postgres(t)), pgdriver.WithInsecure(true)), func(_ *testing.T, db *sql.DB, _ *cache.Watch) nameOf {
			b := bun.NewDB(db, pgdialect.New())
			return func(ctx context.Context, id string) (string, error) {
				ship := new(starship)
				err := b.NewSelect().Model(ship).Where("id = ?", id).Scan(ctx)
				if errors.Is(err, sql.ErrNoRows) {
					err = nil
				}
				return ship.Name, err
			}
		}}
	},
	"GORM": func(t *testing.T) layer {
		return layer{byPgx(t, testservers.Postgres(t)), func(t *testing.T, db *sql.DB, _ *cache.Watch) nameOf {
			g, err := gorm.Open(postgres.New(postgres.Config{Conn: db}), &gorm.Config{})
			if err != nil {
				t.Fatal(err)
			}
			return func(ctx context.Context, id string) (string, error) {
				var list []starship
				err := g.WithContext(ctx).Where("id = ?", id).Find(&list).Error
				if err != nil || len(list) == 0 {
					return "", err
				}
				return list[0].Name, nil
			}
		}}
	},
	"pgxpool as well": func(t *testing.T) layer {
		url := testservers.Postgres(t)
		return layer{byPgx(t, url), func(t *testing.T, _ *sql.DB, watch *cache.Watch) nameOf {
			config, err := pgxpool.ParseConfig(url)
			if err != nil {
				t.Fatal(err)
			}
			config.ConnConfig.Tracer = pgxwatch.New(watch)
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			return func(ctx context.Context, id string) (name string, err error) {
				err = pool.QueryRow(ctx, "SELECT name FROM starships WHERE id = $1", id).Scan(&name)
				if errors.Is(err, pgx.ErrNoRows) {
					err = nil
				}
				return name, err
			}
		}}
	},
}

// withoutRows returns the schema without @cacheRows.
func withoutRows(t *testing.T) *ast.Schema {
	t.Helper()
	read := func(name string) *ast.Source {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return &ast.Source{Name: name, Input: string(text)}
	}
	directives, types := read("../../cache/gqlcache/directives.graphqls"), read("../shapes/starwars/schema.graphqls")
	types.Input = regexp.MustCompile(`\s@cacheRows\([^)]*\)`).ReplaceAllString(types.Input, " @cacheControl(maxAge: 60)")
	types.Input = regexp.MustCompile(`(@cacheControl\(maxAge: 60\)\s*){2,}`).ReplaceAllString(types.Input, "@cacheControl(maxAge: 60)\n")
	schema, err := gqlparser.LoadSchema(directives, types)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func request(t *testing.T, h http.Handler, query string) (answer, status string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), w.Header().Get("Cache-Status")
}

// Whichever database layer a project uses, and whether its schema declares rows or its statements
// are observed: responses are cached, and equal those without the cache. After a mutation they do
// at once, and after a write by SQL soon.
func TestAnyLayer(t *testing.T) {
	for name, make := range layers {
		for _, observed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, observed: %t", name, observed), func(t *testing.T) {
				t.Parallel()
				l := make(t)
				db := sql.OpenDB(l.connector)
				t.Cleanup(func() { _ = db.Close() })
				if _, err := db.ExecContext(t.Context(), starwars.Tables); err != nil {
					t.Fatal(err)
				}
				o := gqlcache.Options{Database: db, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
				watched, config := db, starwars.Config{}
				if observed {
					o.Watch = new(cache.Watch)
					config.Schema = withoutRows(t)
					watched = sql.OpenDB(sqlwatch.Connector(l.connector, o.Watch))
					t.Cleanup(func() { _ = watched.Close() })
				}
				config.Resolvers = root{&starwars.Resolver{DB: watched}, l.reads(t, watched, o.Watch)}
				schema := starwars.NewExecutableSchema(config)
				fc, err := gqlcache.Open(t.Context(), schema, o)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := fc.Close(); err != nil {
						t.Error(err)
					}
				})
				server := func() *handler.Server {
					srv := handler.New(schema)
					srv.AddTransport(transport.POST{})
					return srv
				}
				plain, srv := server(), server()
				srv.Use(fc)
				cached := fc.Handler(srv)
				queries := []string{`{starship(id:"3000"){name}}`, `{character(id:"1001"){name friends{name}}}`, `{search(text:"a"){__typename ... on Human{name starships{name}}}}`}
				same := func(when string, soon bool) {
					t.Helper()
					for _, q := range queries {
						want, _ := request(t, plain, q)
						for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
							got, status := request(t, cached, q)
							if got == want {
								break
							}
							if !soon || time.Now().After(end) {
								t.Fatalf("%s: %s (%s): got %s, want %s", when, q, status, got, want)
							}
						}
					}
				}
				for i := range 8 {
					for _, q := range queries {
						for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
							if _, status := request(t, cached, q); strings.Contains(status, "hit") {
								break
							} else if time.Now().After(end) {
								t.Fatalf("%s is not cached: %s", q, status)
							}
						}
					}
					if _, err := db.ExecContext(t.Context(), fmt.Sprintf("UPDATE starships SET name = 'Ship %d' WHERE id = '3000'", i)); err != nil {
						t.Fatal(err)
					}
					same("after an UPDATE", true)
					rename := fmt.Sprintf(`mutation{rename(id:"1001",name:"Leia %d"){name friends{name}}}`, i)
					if got, _ := request(t, cached, rename); strings.Contains(got, "errors") {
						t.Fatal(got)
					}
					same("after a mutation", false)
				}
				if left, err := gqlcache.Uninstall(t.Context(), db, ""); err != nil || len(left) > 0 {
					t.Errorf("Uninstall left %v, %v", left, err)
				}
			})
		}
	}
}
