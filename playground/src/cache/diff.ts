import { fieldOf } from './model.ts';
import { cached, type Part, type Tier } from './report.ts';
import type { Run } from './run.ts';

/** Parts of one field that differ in the same way from the previous run. */
export interface Change {
  /** The response keys of the field: "products.nodes.stock". */
  field: string;
  parts: readonly Part[];
  /** The tier in the previous run; null if the part is new. */
  from: Tier | null;
  to: Tier;
  /** In words: "evicted with 41 s left". */
  why: string;
  /** Whether it became faster, slower, or neither. */
  trend: 'better' | 'worse' | 'other';
}

export interface Diff {
  changes: readonly Change[];
  /** Parts that came from the same tier. */
  same: number;
  /** Parts of the previous run that are gone. */
  gone: number;
  dataChanged: boolean;
  /** The duration of each run in milliseconds. */
  before: number;
  after: number;
}

const speed = { memory: 0, redis: 1, database: 2 };

/** Compares two runs of the same operation by the same viewer, both of which have a report. */
export function diff(before: Run, after: Run): Diff {
  const old = new Map((before.report?.parts ?? []).map((part) => [idOf(part), part]));
  const elapsed = (after.at - before.at) / 1000;
  const alike = new Map<string, { parts: Part[]; was: Part | null; reason: Reason; left: number }>();
  let same = 0;
  for (const part of after.report?.parts ?? []) {
    const was = old.get(idOf(part)) ?? null;
    old.delete(idOf(part));
    const reason = reasonOf(was, part, elapsed, after.anew);
    if (reason === 'same') {
      same++;
      continue;
    }
    const left = (was?.ttl ?? 0) - elapsed;
    const id = [fieldOf(part), was?.tier, part.tier, reason].join(' ');
    const group = alike.get(id);
    if (group === undefined) alike.set(id, { parts: [part], was, reason, left });
    else {
      group.parts.push(part);
      group.left = Math.max(group.left, left);
    }
  }
  const changes = [...alike.values()].map(({ parts, was, reason, left }): Change => {
    const part = parts[0]!;
    const step = was === null ? 0 : Math.sign(speed[part.tier] - speed[was.tier]);
    return {
      field: fieldOf(part),
      parts,
      from: was?.tier ?? null,
      to: part.tier,
      why: wordsOf[reason](Math.floor(left)),
      trend: step < 0 ? 'better' : step > 0 ? 'worse' : 'other',
    };
  });
  return {
    changes,
    same,
    gone: old.size,
    dataChanged: JSON.stringify(before.data) !== JSON.stringify(after.data),
    before: before.took,
    after: after.took,
  };
}

type Reason = 'same' | 'new' | 'anew' | 'stored' | 'renewed' | 'unstored' | 'expired' | 'evicted';

function reasonOf(was: Part | null, part: Part, elapsed: number, anew: boolean): Reason {
  if (was === null) return 'new';
  if (anew && !cached(part)) return cached(was) ? 'anew' : 'same';
  if (cached(part)) {
    if (cached(was) && was.loaded !== part.loaded) return 'renewed';
    return was.tier === part.tier ? 'same' : 'stored';
  }
  if (was.ttl === undefined || was.unstored !== undefined) return 'unstored';
  // The server rounds ttl up to a second.
  return was.ttl - elapsed <= 1 ? 'expired' : 'evicted';
}

const wordsOf: Record<Reason, (left: number) => string> = {
  same: () => '',
  new: () => 'was not part of the response before',
  anew: () => 'read from the database because of no-cache',
  stored: () => 'stored since the last run',
  renewed: (left) => `${left > 1 ? `evicted with ${left} s left` : 'expired'}, and stored anew by somebody else`,
  unstored: () => 'was not stored in the last run',
  expired: () => 'expired',
  evicted: (left) => `evicted with ${left} s left`,
};

function idOf(part: Part): string {
  return `${part.path.join('.')} ${part.key}`;
}
