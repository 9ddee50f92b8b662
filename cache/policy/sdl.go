package policy

// Directives is the definition of the directives that the engine reads, for a schema that does not
// define them.
const Directives = `"For how many seconds a value may be cached, and for whom. On a type it applies to every field that returns the type."
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

"The database rows that the value depends on. match is column = {$parent.field}; separate several conditions by commas."
directive @cacheRows(table: String!, match: String, columns: [String!]) repeatable on FIELD_DEFINITION | OBJECT

"A name that the value depends on and that is not a row. {$parent.field}, {$args.name} and {$key.field} stand for values."
directive @cacheTag(format: String!) repeatable on FIELD_DEFINITION | OBJECT

"What the mutation evicts in addition to the values that depend on the rows it writes."
directive @cacheEvict(tag: String, type: String, id: String) repeatable on FIELD_DEFINITION
`
