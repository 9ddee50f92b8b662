// Package gqlcache caches the values of the fields of a gqlgen schema, for as long as the schema
// allows, and never longer than the data behind them is unchanged. These lines add it to a project:
//
//	fc, err := gqlcache.Open(ctx, schema, gqlcache.Options{Database: db, Viewer: viewerOf})
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer fc.Close()
//	srv := handler.New(schema)                     // as before, with its transports, extensions and loaders
//	srv.Use(fc)                                    // the field cache, and evictions
//	http.Handle("/graphql", fc.Handler(srv))       // whole responses, ETag, Cache-Control
//
// The directives of the schema, see [Directives], set for how long values may be cached and what
// they depend on:
//
//	type Issue @cacheControl(maxAge: 60) @cacheRows(table: "issues") {
//		id: ID!
//		commentCount: Int! @cacheControl(maxAge: 60) @cacheRows(table: "comments", match: "issue_id = {$parent.id}")
//	}
//
// Every field with a resolver and an age is cached, and evicted by each write to its rows,
// whichever program makes it. Resolvers, models and loaders stay unchanged. [Open] returns all
// faults of the directives at once. Without [Gateway.Handler], field caching and evictions still
// work. The order of Use does not matter.
//
// A resolver may set more for its value with [SetHint], [Restrict] and [Tag]. [Gateway.Evict]
// evicts what depends on no table. [Uninstall] removes what [Open] installed in a database.
//
// The parts of a Gateway can be combined in other ways: [PlanFields] and [NewFields] are the field
// cache, [Hints] determines for how long a response may be cached, [Roots] caches root fields as
// bytes, [FieldCount] lets loaders know when a batch is complete.
package gqlcache
