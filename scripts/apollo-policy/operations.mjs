// Random operations over a schema, with aliases, fragments, unions, interfaces, @skip and @include
// with variables and constants, introspection, several operations in one document, and mutations.
import { getNamedType, isAbstractType, isCompositeType, isEnumType, isInputObjectType, isListType, isNonNullType, isObjectType } from 'graphql'

export class Operations {
  constructor(schema, random) {
    this.schema = schema
    this.random = random
    this.fragments = []
    this.aliases = 0
  }

  make() {
    const variables = { yes: true, no: false }
    const mutation = this.schema.getMutationType()
    const operations = [mutation && this.random.chance(0.04) ? this.operation('mutation', mutation) : this.operation('query', this.schema.getQueryType())]
    let operationName
    if (this.random.chance(0.1)) {
      operations.push(this.operation('query', this.schema.getQueryType()))
      operationName = this.random.pick(['A', 'B'])
    }
    const query = operations.map((o, i) => `${o.kind} ${'AB'[i]}${o.variables} ${o.text}`).join(' ')
    return { query, variables, operationName }
  }

  operation(kind, type) {
    this.fragments = []
    const text = [this.selection(type, 0), ...this.fragments].join(' ')
    const used = ['$yes', '$no'].filter((name) => text.includes(name))
    return { kind, text, variables: used.length > 0 ? `(${used.map((name) => `${name}: Boolean!`).join(', ')})` : '' }
  }

  selection(type, depth) {
    const parts = []
    const wanted = 1 + this.random.below(depth === 0 ? 2 : 3)
    for (let i = 0; i < wanted; i++) parts.push(this.part(type, depth))
    return `{ ${parts.join(' ')} }`
  }

  part(type, depth) {
    if (type === this.schema.getQueryType() && depth === 0 && this.random.chance(0.04)) return '__schema { queryType { name } }'
    if (!type.getFields || this.random.chance(0.2)) return this.fragment(type, depth)
    if (this.random.chance(0.06)) return '__typename'
    const fields = Object.values(type.getFields())
    const flat = fields.filter((f) => !isCompositeType(getNamedType(f.type)))
    if (depth >= 5 && flat.length === 0) return '__typename'
    return this.field(this.random.pick(depth >= 5 ? flat : fields), depth)
  }

  field(field, depth) {
    const type = getNamedType(field.type)
    const alias = `a${this.aliases++}: ` // one for each: fields of one alias would have to be equal
    const given = field.args.filter((a) => isNonNullType(a.type) && a.defaultValue === undefined)
    const args = given.length > 0 ? `(${given.map((a) => `${a.name}: ${this.argument(a.type)}`).join(', ')})` : ''
    const below = isCompositeType(type) ? ` ${this.selection(type, depth + 1)}` : ''
    return `${this.random.chance(0.7) ? alias : this.again(field, alias)}${field.name}${args}${this.condition()}${below}`
  }

  // again returns the alias that other selections of the field use, so that fields are merged.
  again(field, alias) {
    return field.args.some((a) => isNonNullType(a.type)) || field.name === 'parts' || field.name === 'owner' || field.name === 'friend' ? alias : ''
  }

  fragment(type, depth) {
    let on = type
    if (isAbstractType(type)) on = this.random.pick(this.schema.getPossibleTypes(type))
    else if (isObjectType(type) && type.getInterfaces().length > 0 && this.random.chance(0.5)) on = this.random.pick(type.getInterfaces())
    const selection = depth >= 6 ? '{ __typename }' : this.selection(on, depth + 1)
    if (this.random.chance(0.3)) {
      const name = `F${this.aliases++}`
      this.fragments.push(`fragment ${name} on ${on.name} ${selection}`)
      return `...${name}${this.condition()}`
    }
    return `... on ${on.name}${this.condition()} ${selection}`
  }

  condition() {
    if (!this.random.chance(0.08)) return ''
    return ` @${this.random.pick(['skip', 'include'])}(if: ${this.random.pick(['$yes', '$no', 'true', 'false'])})`
  }

  argument(type) {
    if (isNonNullType(type)) return this.argument(type.ofType)
    if (isListType(type)) return `[${this.argument(type.ofType)}]`
    if (isEnumType(type)) return type.getValues()[0].name
    if (isInputObjectType(type)) {
      const fields = Object.values(type.getFields()).filter((f) => isNonNullType(f.type))
      return `{ ${fields.map((f) => `${f.name}: ${this.argument(f.type)}`).join(', ')} }`
    }
    return type.name === 'Int' ? '1' : '"1"'
  }
}
