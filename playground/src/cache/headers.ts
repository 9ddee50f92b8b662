import { seconds } from './model.ts';

/** A header of a response with an explanation. */
export interface Explained {
  name: string;
  value: string;
  /** Empty if there is no explanation. */
  meaning: string;
}

/** The headers about caching, in reading order. */
const order = ['cache-status', 'cache-control', 'age', 'etag', 'vary', 'retry-after', 'x-request-id'];

const names: Record<string, string> = { etag: 'ETag', 'x-request-id': 'X-Request-Id' };

/**
 * Explains the headers of a response, those about caching first. withReport tells whether it has
 * the cache report.
 */
export function explain(headers: readonly (readonly [string, string])[], withReport: boolean): Explained[] {
  const place = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  const all = new Map(headers.map(([name, value]) => [name.toLowerCase(), value]));
  return [...all]
    .sort(([a], [b]) => place(a) - place(b) || a.localeCompare(b))
    .map(([name, value]) => ({
      name: names[name] ?? name.replace(/(^|-)[a-z]/g, (letter) => letter.toUpperCase()),
      value,
      meaning: meaningOf(name, value, all, withReport),
    }));
}

function meaningOf(name: string, value: string, all: ReadonlyMap<string, string>, withReport: boolean): string {
  switch (name) {
    case 'cache-status':
      return cacheStatus(value, withReport);
    case 'cache-control':
      return cacheControl(value, all.get('age'), withReport);
    case 'age':
      return `The oldest part was read ${seconds(Number(value))} ago. Clients subtract this from max-age.`;
    case 'etag':
      return 'Identifies this content. A GET that sends it in If-None-Match gets 304 without a body if the response is unchanged.';
    case 'vary':
      return `Caches keep one copy for each value of ${value.split(/\s*,\s*/).join(', ')} in the request.`;
    case 'x-request-id':
      return 'Identifies this request in the server’s log.';
    case 'retry-after':
      return `Try again in ${seconds(Number(value))}.`;
    case 'content-type':
      return 'The media type that the client’s Accept header chose.';
    case 'content-encoding':
      return 'How the body is compressed.';
    case 'content-length':
      return 'The body’s size in bytes, as sent.';
    case 'x-content-type-options':
      return 'Keeps browsers from guessing another media type.';
    case 'date':
      return 'When the server sent it.';
    default:
      return '';
  }
}

function cacheControl(value: string, age: string | undefined, withReport: boolean): string {
  const directives = value.toLowerCase().split(/\s*,\s*/);
  if (directives.includes('no-store')) {
    return withReport
      ? 'This response is not stored, because it carries the cache report. Turn the report off to see what other clients get.'
      : 'This response must not be stored: a part of it has no maxAge, it has errors, or it is a mutation.';
  }
  const maxAge = Number(directives.find((one) => one.startsWith('max-age='))?.slice('max-age='.length) ?? 0);
  const whom = directives.includes('private')
    ? 'Only the client that asked may store it'
    : 'Any cache on the way may store it';
  const left = maxAge - Number(age ?? 0);
  return `${whom}, for ${seconds(maxAge)} from when its oldest part was read: another ${seconds(left)}.`;
}

/** Explains a member of the Cache-Status list, which RFC 9211 defines. */
function cacheStatus(value: string, withReport: boolean): string {
  const [, ...params] = value.split(/\s*;\s*/);
  const of = new Map(params.map((one) => [one.split('=', 1)[0], one.slice(one.indexOf('=') + 1)] as const));
  if (of.has('hit')) return `The whole response was in memory, and may be served for ${seconds(Number(of.get('ttl') ?? 0))} more.`;
  const stored = of.has('stored') ? ' The whole response is stored now.' : '';
  switch (of.get('fwd')) {
    case 'miss':
      return `Every part was read from the database.${stored}`;
    case 'partial':
      return `Some parts came from the cache, the others from the database.${stored}`;
    case 'bypass':
      if (of.get('detail') === 'relay') return 'Redis did not execute the evictions in time: another gateway did, before the mutation was answered.';
      if (of.get('detail') === 'lease') return 'Redis did not execute the evictions in time: the response was sent once no gateway could serve older data.';
      return withReport
        ? 'The cache of whole responses is not used while the report is on, so that each part can be seen.'
        : 'The cache of whole responses was not used, as for every mutation.';
    case 'stale':
      return 'The database did not respond: cached data is served although it may have expired.';
  }
  return of.has('detail') ? `The request was refused: ${of.get('detail')}.` : '';
}
