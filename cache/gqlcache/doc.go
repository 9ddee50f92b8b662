// Package gqlcache caches what the fields of a gqlgen schema are resolved to, for as long as the schema says, and never
// longer than the data behind it is true. A running project adopts it so:
//
//	fc, err := gqlcache.Open(ctx, schema, gqlcache.Options{Database: db, Viewer: viewerOf})
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer fc.Close()
//	srv := handler.New(schema)                     // as it was: its transports, extensions and loaders
//	srv.Use(fc)                                    // the field cache, and evictions
//	http.Handle("/graphql", fc.Handler(srv))       // whole responses, ETag, Cache-Control
//
// and says in its schema how long things may be cached and what they are made of, with the directives of [Directives]:
//
//	type Issue @cacheControl(maxAge: 60) @cacheRows(table: "issues") {
//		id: ID!
//		commentCount: Int! @cacheControl(maxAge: 60) @cacheRows(table: "comments", match: "issue_id = {$parent.id}")
//	}
//
// Every field with a resolver and an age is cached, and evicted by each write to its rows, whoever makes it. Resolvers,
// models and loaders stay as they are. [Open] tells every fault of the directives at once. Without [Gateway.Handler],
// field caching and evictions work alone; the order of Use does not matter.
//
// A resolver may say more of its value by [SetHint], [Restrict] and [Tag]; [Gateway.Evict] evicts what no table shows. [Uninstall]
// takes back what [Open] installed in a database.
//
// The parts that a Gateway is made of can be put together in another way: [PlanFields] and [NewFields] are the field
// cache, [Hints] finds out how long a response may be cached, [Roots] keeps root fields as bytes, [FieldCount] tells
// loaders when a batch is complete.
package gqlcache
