// record.mjs --count N --seed S SCHEMA... queries Apollo Server for the Cache-Control of random
// operations, and prints the cases as JSON, one per line. A Go test compares them with our own
// results.
//
// The operation, its variables, its data and the hints of its resolvers all follow from the seed.
// The data is printed as resolved: objects have a __typename, and values are under the aliases of
// their fields.
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { parseArgs } from 'node:util'
import { ApolloServer } from '@apollo/server'
import { buildSchema, isAbstractType, isCompositeType, isListType, isNonNullType, isObjectType, responsePathAsArray } from 'graphql'
import { Random } from './random.mjs'
import { Operations } from './operations.mjs'

const { values: flags, positionals: files } = parseArgs({
  allowPositionals: true,
  options: { count: { type: 'string', default: '1000' }, seed: { type: 'string', default: '1' } },
})

// World makes the data of one operation while Apollo Server resolves it, and records it.
class World {
  constructor(schema, random) {
    this.schema = schema
    this.random = random
    this.data = {} // resolved at the root
    this.hints = {} // hints set by resolvers, by the path of the field
    this.behind = new Set() // types of objects behind interfaces and unions
  }

  resolve(parent, info) {
    const at = responsePathAsArray(info.path).join('.')
    const said = this.say(info)
    if (said.length > 0) this.hints[at] = said
    if (this.random.chance(0.004)) {
      parent[info.path.key] = '__fails'
      throw new Error('it fails')
    }
    return (parent[info.path.key] = this.value(info.returnType))
  }

  // say sets a resolver's hints in Apollo Server and returns them.
  say(info) {
    if (!this.random.chance(0.04)) return []
    const said = []
    for (const how of ['set', 'restrict']) { // a restriction is last: there Apollo Server would forget it
      if (!this.random.chance(0.6)) continue
      const hint = {}
      if (this.random.chance(0.7)) hint.maxAge = this.random.pick([0, 5, 45, 55, 150, 5000])
      if (this.random.chance(0.3)) hint.scope = this.random.pick(['PUBLIC', 'PRIVATE'])
      if (how === 'set') info.cacheControl.setCacheHint(hint)
      else info.cacheControl.cacheHint.restrict(hint)
      said.push({ how, ...hint })
    }
    return said
  }

  value(type) {
    if (isNonNullType(type)) return this.present(type.ofType)
    return this.random.chance(0.12) ? null : this.present(type)
  }

  present(type) {
    if (isListType(type)) return Array.from({ length: this.random.below(3) }, () => this.value(type.ofType))
    if (!isCompositeType(type)) return 1
    if (isObjectType(type)) return { __typename: type.name }
    const name = this.random.pick(this.schema.getPossibleTypes(type)).name
    this.behind.add(name)
    return { __typename: name }
  }
}

// makeSchema returns a schema whose fields are resolved by the world in the context.
function makeSchema(text) {
  const schema = buildSchema(text)
  for (const type of Object.values(schema.getTypeMap())) {
    if (type.name.startsWith('__')) continue
    if (isAbstractType(type)) type.resolveType = (value) => value.__typename
    if (!isObjectType(type)) continue
    const root = [schema.getQueryType(), schema.getMutationType()].includes(type)
    for (const field of Object.values(type.getFields())) {
      field.resolve = (parent, _, { world }, info) => world.resolve(root && !info.path.prev ? world.data : parent, info)
    }
  }
  for (const type of Object.values(schema.getTypeMap())) {
    if (type.name === 'Time') type.serialize = String
  }
  return schema
}

for (const file of files) {
  const schema = makeSchema(readFileSync(file, 'utf8'))
  const server = new ApolloServer({ schema, introspection: true, includeStacktraceInErrorResponses: false })
  await server.start()
  for (let i = 0; i < Number(flags.count); i++) {
    const random = new Random(`${flags.seed}/${basename(file)}/${i}`)
    const { query, variables, operationName } = new Operations(schema, random).make()
    const world = new World(schema, random)
    const { body, http } = await server.executeOperation({ query, variables, operationName }, { contextValue: { world } })
    const refused = (body.singleResult.errors ?? []).filter((e) => e.message !== 'it fails')
    if (refused.length > 0) throw new Error(`${query}: ${refused[0].message}`)
    console.log(JSON.stringify({
      schema: basename(file), query, variables, operationName,
      data: world.data, hints: world.hints, behind: [...world.behind].sort(),
      apollo: http.headers.get('cache-control'),
    }))
  }
  await server.stop()
}
