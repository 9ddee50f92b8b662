import { createGraphiQLFetcher, type Fetcher } from '@graphiql/toolkit';
import { getOperationAST, parse } from 'graphql';
import { describePolicies, type Offer } from './cache/policies.ts';
import { isRecord, readReport } from './cache/report.ts';
import type { Run } from './cache/run.ts';
import type { Store } from './cache/store.ts';

/** Sends operations and records the responses in the store. */
export function newFetcher(url: string, store: Store, offer: Promise<Offer>): Fetcher {
  const introspect = createGraphiQLFetcher({ url, enableIncrementalDelivery: false });
  let id = 0;
  return async (asked, options) => {
    if (asked.operationName === 'IntrospectionQuery') {
      const [schema, { policies }] = await Promise.all([introspect(asked, options), offer]);
      return describePolicies(schema, policies);
    }
    const params = named(asked);
    const { settings, open } = store.get();
    const own = new Headers((options?.headers ?? {}) as Record<string, string>);
    const headers: Record<string, string> = {};
    // A report that the user requests in the headers stays in the response; the panel shows its
    // own.
    const ours = settings.report && open && !own.has('Cache-Debug');
    if (ours) headers['Cache-Debug'] = '1';
    if (settings.anew && !own.has('Cache-Control')) headers['Cache-Control'] = 'no-cache';

    let response: Response | null = null;
    let result: unknown = null;
    let failure: string | null = null;
    const send = createGraphiQLFetcher({
      url,
      headers,
      enableIncrementalDelivery: false,
      fetch: async (input, init) => (response = await fetch(input, init)),
    });
    store.begin();
    const began = performance.now();
    try {
      result = await send(params, options);
      return ours ? withoutReport(result) : result;
    } catch (error) {
      failure = error instanceof Error ? error.message : String(error);
      throw error;
    } finally {
      const took = performance.now() - began;
      const known = { id: ++id, took, asker: askerOf(own), asked: ours, anew: 'Cache-Control' in headers };
      store.end(runOf(known, params, response, result, failure));
    }
  };
}

/**
 * Sets the name of a document's only operation. GraphiQL reads the name from the editor some time
 * after the text changed: right after a change of tabs it is that of the previous tab.
 */
function named(params: Parameters<Fetcher>[0]): Parameters<Fetcher>[0] {
  try {
    const operations = parse(params.query, { noLocation: true }).definitions.filter((d) => d.kind === 'OperationDefinition');
    return operations.length === 1 ? { ...params, operationName: operations[0]?.name?.value ?? null } : params;
  } catch {
    return params; // the server reports what is wrong with it
  }
}

function runOf(
  known: Pick<Run, 'id' | 'took' | 'asker' | 'asked' | 'anew'>,
  params: Parameters<Fetcher>[0],
  response: Response | null,
  result: unknown,
  failure: string | null,
): Run {
  const of = isRecord(result) ? result : {};
  const errors = Array.isArray(of.errors) ? of.errors.map((error) => (isRecord(error) ? String(error.message) : String(error))) : [];
  return {
    ...known,
    at: Date.now(),
    query: params.query,
    variables: params.variables,
    operationName: params.operationName ?? null,
    kind: kindOf(params.query, params.operationName),
    status: response?.status ?? 0,
    headers: response === null ? [] : [...response.headers],
    report: readReport(of.extensions),
    data: of.data ?? null,
    errors: failure === null ? errors : [...errors, failure],
  };
}

function kindOf(query: string, name?: string | null): Run['kind'] {
  try {
    return getOperationAST(parse(query, { noLocation: true }), name)?.operation ?? null;
  } catch {
    return null; // the server reports what is wrong with it
  }
}

/** The part of a request's headers that identifies the viewer. */
function askerOf(headers: Headers): string {
  return headers.get('Authorization') ?? '';
}

function withoutReport<Result>(result: Result): Result {
  if (!isRecord(result) || !isRecord(result.extensions)) return result;
  const { cache: _, cachePolicy: __, ...extensions } = result.extensions;
  const { extensions: ___, ...rest } = result;
  return (Object.keys(extensions).length > 0 ? { ...rest, extensions } : rest) as Result;
}
