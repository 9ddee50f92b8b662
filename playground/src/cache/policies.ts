import { seconds } from './model.ts';
import { isRecord, type Part } from './report.ts';

/**
 * How a coordinate, such as "Product.stock", is cached, as `fieldcache explain` shows it. Ages are
 * in seconds.
 */
export interface Policy {
  /** null: the same as its parent. */
  maxAge: number | null;
  scope: 'public' | 'private';
  truth?: string;
  /** The rows and tags whose changes evict it. */
  madeOf?: readonly string[];
  /** The form of its key. */
  key?: string;
  /** The coordinate whose @cacheControl sets the age. */
  ageBy?: string;
}

/** What the server offers to this page at graphql/cache. */
export interface Offer {
  /** Whether the server reports what the cache did and allows this page to evict. */
  debug: boolean;
  policies: Readonly<Record<string, Policy>>;
}

export const nothingOffered: Offer = { debug: false, policies: {} };

/** A policy as a line of Markdown. */
export function policyText(p: Policy): string {
  const parts = p.maxAge === 0 ? ['not cached'] : [p.maxAge === null ? 'as long as its parent' : seconds(p.maxAge), p.scope];
  const truth = p.madeOf?.length ? p.madeOf.join(', ') : p.truth;
  if (p.maxAge !== 0 && truth !== undefined) parts.push(`true by ${truth}`);
  if (p.key !== undefined) parts.push(`key \`${p.key}\``);
  if (p.ageBy !== undefined) parts.push(`age by ${p.ageBy}`);
  return `**Cache:** ${parts.join(', ')}`;
}

/**
 * Appends the policy of each field to its description in the result of an introspection query. So
 * it shows wherever GraphiQL shows a description: on hover, in completions, in the documentation.
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
 * The policy of a part. If the policy of its coordinate names no rows, as for a field of a mutation
 * or one that returns an object of another type, the policy of a coordinate with the same form of
 * key applies.
 */
export function policyOf({ coordinate, key }: Part, policies: Offer['policies']): Policy | undefined {
  const own = policies[coordinate];
  if (own?.madeOf?.length) return own;
  const form = key.replace(/^(\{?[a-z]\w*:)[^}:@]+/i, '$1<id>');
  return Object.values(policies).find((one) => one.key === form && one.madeOf?.length) ?? own;
}

/**
 * What keeps a part current: the rows that the schema declares, with the ids from its key: "rows
 * products(id = 7)". Without declared rows it is the report's own word, which may be empty.
 */
export function truthText({ truth, key }: Part, policy: Policy | undefined): string {
  // Columns follow a colon. They are shown in the documentation only.
  const rows = (policy?.madeOf ?? []).filter((made) => made.startsWith('rows ')).map((made) => made.replace(/: [^:]*$/, ''));
  if (truth !== 'rows' || rows.length === 0) return truth ?? '';
  const id = /^\{?[a-z]\w*:([^}:@]+)/i.exec(key)?.[1];
  const told = (one: string) => (id === undefined ? one : one.replace(/\{\$key\.\w+\}|\{\$parent\.id\}/g, id));
  return [...new Set(rows)].map((one) => argumentsOf(key, told(one))).join(', ');
}

/** The conditions of rows with the arguments from the key. An omitted argument is no condition. */
function argumentsOf(key: string, rows: string): string {
  if (key.includes('(#')) return rows; // the key has a hash of the arguments
  const given = (name: string) => new RegExp(`[:(,]${name}=([^:,)]*)`).exec(key)?.[1];
  return rows
    .replace(/\w+ = \{\$args\.(\w+)\}(, )?/g, (all: string, name: string) => (given(name) === undefined ? '' : all.replace(/\{[^}]*\}/, given(name) ?? '')))
    .replace(/(, )?\)$/, ')')
    .replace(/\(\)$/, '');
}
