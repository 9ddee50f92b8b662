// Command issues serves a small issue tracker on a SQLite file, or on the PostgreSQL database in
// DATABASE_URL.
package main

import (
	"cmp"
	"context"
	"database/sql"
	"log"
	"net/http"
	"os"
	"strings"

	"issues/graph"

	"fieldcache/cache/gqlcache"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/99designs/gqlgen/graphql/playground"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

func main() {
	db, err := open(cmp.Or(os.Getenv("DATABASE_URL"), "issues.db"))
	if err != nil {
		log.Fatal(err)
	}
	mux, err := newMux(context.Background(), db)
	if err != nil {
		log.Fatal(err)
	}
	port := cmp.Or(os.Getenv("PORT"), "8080")
	log.Printf("the playground is at http://localhost:%s/", port)
	log.Fatal(http.ListenAndServe(":"+port, mux))
}

// open opens a PostgreSQL URL or the name of a SQLite file.
func open(url string) (*sql.DB, error) {
	if strings.HasPrefix(url, "postgres") {
		return sql.Open("pgx", source(url))
	}
	return sql.Open("sqlite", source(url))
}

// source returns the driver's data source name for a URL or file.
func source(url string) string {
	if strings.HasPrefix(url, "postgres") {
		return url
	}
	return "file:" + url + "?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)&_pragma=recursive_triggers(1)"
}

// newMux serves the issues of a database, and creates missing tables.
func newMux(ctx context.Context, db *sql.DB) (http.Handler, error) {
	if _, err := db.ExecContext(ctx, graph.Tables); err != nil {
		return nil, err
	}
	resolver := &graph.Resolver{DB: db}
	schema := graph.NewExecutableSchema(graph.Config{Resolvers: resolver})
	fc, err := gqlcache.Open(ctx, schema, gqlcache.Options{Database: db, Viewer: graph.ViewerOf})
	if err != nil {
		return nil, err
	}
	srv := newServer(schema, resolver)
	srv.Use(fc)
	mux := http.NewServeMux()
	mux.Handle("/", playground.Handler("Issues", "/query"))
	mux.Handle("/query", signedIn(fc.Handler(srv)))
	return mux, nil
}

func newServer(schema graphql.ExecutableSchema, resolver *graph.Resolver) *handler.Server {
	srv := handler.New(schema)
	srv.AddTransport(transport.Websocket{})
	srv.AddTransport(transport.GET{})
	srv.AddTransport(transport.POST{})
	srv.Use(extension.Introspection{})
	srv.AroundResponses(resolver.Loaders)
	return srv
}

// signedIn trusts the name in the header, as in "Authorization: ada".
func signedIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(graph.WithViewer(r.Context(), r.Header.Get("Authorization"))))
	})
}
