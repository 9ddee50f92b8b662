package policy

// Directives is the definition of the directives that the engine reads, for a schema that does not
// define them.
const Directives = `"How long a value may be cached, in seconds, and by whom. On a type it holds for every field that returns the type."
directive @cacheControl(
  maxAge: Int
  scope: CacheControlScope
  inheritMaxAge: Boolean
  staleWhileRevalidate: Int
  staleIfError: Int
) on FIELD_DEFINITION | OBJECT | INTERFACE | UNION

enum CacheControlScope {
  PUBLIC
  PRIVATE
}

"The rows of the database that the value is made of. match is column = {$parent.field}, several joined by commas."
directive @cacheRows(table: String!, match: String, columns: [String!]) repeatable on FIELD_DEFINITION | OBJECT

"A name for what the value is made of that is no row: {$parent.field}, {$args.name} and {$key.field} stand for values."
directive @cacheTag(format: String!) repeatable on FIELD_DEFINITION | OBJECT

"What the mutation makes untrue that no row shows."
directive @cacheEvict(tag: String, type: String, id: String) repeatable on FIELD_DEFINITION
`
