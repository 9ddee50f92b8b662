import type { Report } from './report.ts';

/** One operation that was sent, and its response. */
export interface Run {
  id: number;
  /** When the response was read, in milliseconds since the epoch. */
  at: number;
  /** Milliseconds from sending to having read the response. */
  took: number;
  query: string;
  variables: unknown;
  operationName: string | null;
  kind: 'query' | 'mutation' | 'subscription' | null;
  /** What told the server who asks, so that runs of two viewers are never compared. Stays in memory. */
  asker: string;
  /** Whether a report was asked for on behalf of the panel. */
  asked: boolean;
  /** Whether it went past the cache: Cache-Control: no-cache. */
  anew: boolean;
  /** 0: there was no response. */
  status: number;
  headers: readonly (readonly [name: string, value: string])[];
  /** null: nobody asked for one, or the response had none. */
  report: Report | null;
  data: unknown;
  /** Messages of the response's errors, and of the request that failed. */
  errors: readonly string[];
}

/** Reports whether two runs asked the same on behalf of the same viewer. */
export function comparable(a: Run, b: Run): boolean {
  return (
    a.query === b.query &&
    a.operationName === b.operationName &&
    JSON.stringify(a.variables ?? {}) === JSON.stringify(b.variables ?? {}) &&
    a.asker === b.asker
  );
}
