package main

import (
	"cmp"
	"context"
	"database/sql"
	"log"
	"net/http"
	"os"
	"todo/graph"

	"fieldcache/cache/gqlcache"

	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/99designs/gqlgen/graphql/playground"
	"github.com/vektah/gqlparser/v2/ast"
	_ "modernc.org/sqlite"
)

const defaultPort = "8080"

func main() {
	port := cmp.Or(os.Getenv("PORT"), defaultPort)
	db, err := sql.Open("sqlite", "file:todo.db?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)&_pragma=recursive_triggers(1)")
	if err != nil {
		log.Fatal(err)
	}
	mux, err := newMux(context.Background(), db)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("connect to http://localhost:%s/ for GraphQL playground", port)
	log.Fatal(http.ListenAndServe(":"+port, mux))
}

// newMux serves the todos of a database, and creates missing tables.
func newMux(ctx context.Context, db *sql.DB) (*http.ServeMux, error) {
	if err := graph.CreateTables(ctx, db); err != nil {
		return nil, err
	}
	schema := graph.NewExecutableSchema(graph.Config{Resolvers: &graph.Resolver{DB: db}})
	fc, err := gqlcache.Open(ctx, schema, gqlcache.Options{Database: db})
	if err != nil {
		return nil, err
	}

	srv := handler.New(schema)
	srv.Use(fc)

	srv.AddTransport(transport.Options{})
	srv.AddTransport(transport.GET{})
	srv.AddTransport(transport.POST{})

	srv.SetQueryCache(lru.New[*ast.QueryDocument](1000))

	srv.Use(extension.Introspection{})
	srv.Use(extension.AutomaticPersistedQuery{
		Cache: lru.New[string](100),
	})

	mux := http.NewServeMux()
	mux.Handle("/", playground.Handler("GraphQL playground", "/query"))
	mux.Handle("/query", fc.Handler(srv))
	return mux, nil
}
