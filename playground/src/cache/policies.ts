import { seconds } from './model.ts';
import { isRecord, type Part } from './report.ts';

/** How a coordinate is cached, "Product.stock", as `fieldcache explain` tells it. Ages are in seconds. */
export interface Policy {
  /** null: as long as its parent. */
  maxAge: number | null;
  scope: 'public' | 'private';
  truth?: string;
  /** The rows and tags whose change makes it untrue. */
  madeOf?: readonly string[];
  /** The form of the key that it is stored under. */
  key?: string;
  /** The coordinate whose @cacheControl says the age. */
  ageBy?: string;
}

/** What the server offers to this page, at graphql/cache. */
export interface Offer {
  /** Whether it reports what the cache did, and lets this page evict. */
  debug: boolean;
  policies: Readonly<Record<string, Policy>>;
}

export const nothingOffered: Offer = { debug: false, policies: {} };

/** A policy in a line of Markdown. */
export function policyText(p: Policy): string {
  const parts = p.maxAge === 0 ? ['not cached'] : [p.maxAge === null ? 'as long as its parent' : seconds(p.maxAge), p.scope];
  const truth = p.madeOf?.length ? p.madeOf.join(', ') : p.truth;
  if (p.maxAge !== 0 && truth !== undefined) parts.push(`true by ${truth}`);
  if (p.key !== undefined) parts.push(`key \`${p.key}\``);
  if (p.ageBy !== undefined) parts.push(`age by ${p.ageBy}`);
  return `**Cache:** ${parts.join(', ')}`;
}

/**
 * Puts the policy of each field behind its description, in the result of an introspection query. So it shows wherever
 * GraphiQL shows a description: under the pointer, in completions, in the documentation.
 */
export function describePolicies<Result>(result: Result, policies: Offer['policies']): Result {
  const schema = isRecord(result) && isRecord(result.data) ? result.data.__schema : undefined;
  if (!isRecord(schema) || !Array.isArray(schema.types)) return result;
  for (const type of schema.types) {
    if (!isRecord(type) || !Array.isArray(type.fields)) continue;
    for (const field of type.fields) {
      const policy = policies[`${type.name}.${field.name}`];
      if (policy !== undefined) field.description = [field.description, policyText(policy)].filter(Boolean).join('\n\n');
    }
  }
  return result;
}

/**
 * How a part is cached: as its coordinate says. A mutation's field, or one that leads to an object of another, says nothing of the rows:
 * then as whatever is stored under keys of that form.
 */
export function policyOf({ coordinate, key }: Part, policies: Offer['policies']): Policy | undefined {
  const own = policies[coordinate];
  if (own?.madeOf?.length) return own;
  const form = key.replace(/^(\{?[a-z]\w*:)[^}:@]+/i, '$1<id>');
  return Object.values(policies).find((one) => one.key === form && one.madeOf?.length) ?? own;
}

/**
 * What keeps a part true: where the schema says of which rows it is made, these rows, with what its key tells of them: "rows products(id = 7)".
 * Empty where the report does not say.
 */
export function truthText({ truth, key }: Part, policy: Policy | undefined): string {
  // Columns follow a colon: the documentation tells of them.
  const rows = (policy?.madeOf ?? []).filter((made) => made.startsWith('rows ')).map((made) => made.replace(/: [^:]*$/, ''));
  if (truth !== 'rows' || rows.length === 0) return truth ?? '';
  const id = /^\{?[a-z]\w*:([^}:@]+)/i.exec(key)?.[1];
  const told = (one: string) => (id === undefined ? one : one.replace(/\{\$key\.\w+\}|\{\$parent\.id\}/g, id));
  return [...new Set(rows)].map((one) => argumentsOf(key, told(one))).join(', ');
}

/** The conditions of rows with the arguments that a key has: one that is not given is no condition. */
function argumentsOf(key: string, rows: string): string {
  if (key.includes('(#')) return rows; // the key has a hash of them
  const given = (name: string) => new RegExp(`[:(,]${name}=([^:,)]*)`).exec(key)?.[1];
  return rows
    .replace(/\w+ = \{\$args\.(\w+)\}(, )?/g, (all: string, name: string) => (given(name) === undefined ? '' : all.replace(/\{[^}]*\}/, given(name) ?? '')))
    .replace(/(, )?\)$/, ')')
    .replace(/\(\)$/, '');
}
