// Package shapes holds gqlgen projects of the shapes that projects have in public: each folder is one, with a schema and a gqlgen.yml of
// its own. The tests put the cache before each of them, and compare every response with that of the same project without it.
//
//   - starwars: an interface, a union, connections whose models have private fields, enums by autobind, a subscription, @defer; one generated file.
//   - dataloader: loaders with a wait in a middleware, models by value, lists of lists, custom scalars; a generated file for each schema file.
//   - products: a subgraph of Apollo Federation 2, with keys of several fields and nested ones.
//   - batches: batch resolvers, models that are maps, Omittable inputs, and a transaction around each mutation, as entgql has it.
//   - models: models with other names than the schema, embedded, generic, recursive, by value and by pointer; numeric enums, scalars with contexts, panics.
//   - guarded: directives with code on fields, types, inputs and operations, and a method of a model that reads the database.
package shapes
