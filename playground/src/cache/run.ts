import type { Report } from './report.ts';

/** An operation that was sent, with its response. */
export interface Run {
  id: number;
  /** When the response was read, in milliseconds since the epoch. */
  at: number;
  /** Milliseconds from sending the request to the end of the response. */
  took: number;
  query: string;
  variables: unknown;
  operationName: string | null;
  kind: 'query' | 'mutation' | 'subscription' | null;
  /**
   * What identifies the viewer, so that runs of two viewers are never compared. It stays in memory.
   */
  asker: string;
  /** Whether the panel requested a report. */
  asked: boolean;
  /** Whether the request bypassed the cache with Cache-Control: no-cache. */
  anew: boolean;
  /** 0 if there was no response. */
  status: number;
  headers: readonly (readonly [name: string, value: string])[];
  /** null if none was requested or the response has none. */
  report: Report | null;
  data: unknown;
  /** Messages of the response's errors and of a failed request. */
  errors: readonly string[];
}

/** Reports whether two runs have the same operation and viewer. */
export function comparable(a: Run, b: Run): boolean {
  return (
    a.query === b.query &&
    a.operationName === b.operationName &&
    JSON.stringify(a.variables ?? {}) === JSON.stringify(b.variables ?? {}) &&
    a.asker === b.asker
  );
}
