import { cached, isRecord, rowOf, type Part, type Path, type Report, type Status, type Tier } from './report.ts';

/** A field of the selection with its parts and the fields below it. */
export interface Node {
  /** The response keys from the root, without list positions: "products.nodes.price". */
  id: string;
  /** The response key. */
  name: string;
  coordinate: string;
  parts: readonly Part[];
  children: readonly Node[];
}

/**
 * Arranges parts as a tree along the selection, in the order of the response. List positions do not
 * make branches.
 */
export function tree(parts: readonly Part[], data: unknown): Node[] {
  interface Growing {
    parts: Part[];
    children: Map<string, Growing>;
  }
  const root: Growing = { parts: [], children: new Map() };
  for (const part of parts) {
    let at = root;
    for (const step of part.path) {
      if (typeof step === 'number') continue;
      let next = at.children.get(step);
      if (next === undefined) at.children.set(step, (next = { parts: [], children: new Map() }));
      at = next;
    }
    at.parts.push(part);
  }
  const grown = (at: Growing, above: string, values: readonly unknown[]): Node[] => {
    const order = keysOf(values);
    const place = (name: string) => order.get(name) ?? order.size;
    return [...at.children]
      .sort(([a], [b]) => place(a) - place(b))
      .map(([name, { parts, children }]) => {
        const id = above === '' ? name : `${above}.${name}`;
        const below = values.flatMap((value) => (isRecord(value) ? flat(value[name]) : []));
        return {
          id,
          name,
          coordinate: parts[0]?.coordinate ?? '',
          parts: [...parts].sort(byPosition),
          children: grown({ parts, children }, id, below),
        };
      });
  };
  const nodes = grown(root, '', flat(data));
  // A part without a path belongs to the whole response: it was read without a source.
  if (root.parts.length > 0) {
    nodes.push({ id: '*', name: 'response', coordinate: root.parts[0]!.coordinate, parts: root.parts, children: [] });
  }
  return nodes;
}

function flat(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value.flatMap(flat) : [value];
}

/** The keys of objects in the order of their first occurrence. */
function keysOf(values: readonly unknown[]): Map<string, number> {
  const order = new Map<string, number>();
  for (const value of values) {
    if (!isRecord(value)) continue;
    for (const key of Object.keys(value)) if (!order.has(key)) order.set(key, order.size);
  }
  return order;
}

/** Sorts parts of one field by their list positions, as numbers. */
function byPosition(a: Part, b: Part): number {
  for (let i = 0; i < Math.min(a.path.length, b.path.length); i++) {
    const x = a.path[i]!;
    const y = b.path[i]!;
    if (typeof x === 'number' && typeof y === 'number' && x !== y) return x - y;
  }
  return a.key.localeCompare(b.key, 'en', { numeric: true });
}

/** "products.nodes[3].price" */
export function pathText(path: Path): string {
  let text = '';
  for (const step of path) text += typeof step === 'number' ? `[${step}]` : text === '' ? step : `.${step}`;
  return text;
}

export interface Totals {
  parts: number;
  /** Distinct keys. */
  keys: number;
  from: Record<Tier, number>;
  status: ReadonlyMap<Status, number>;
  /** Parts that are not stored in every tier. */
  unstored: number;
}

export function totals(parts: readonly Part[]): Totals {
  const from = { memory: 0, redis: 0, database: 0 };
  const status = new Map<Status, number>();
  const keys = new Set<string>();
  for (const part of parts) {
    from[part.tier]++;
    status.set(part.status, (status.get(part.status) ?? 0) + 1);
    keys.add(part.key);
  }
  const unstored = parts.filter((part) => part.unstored !== undefined).length;
  return { parts: parts.length, keys: keys.size, from, status, unstored };
}

/** Numbers of SQL statements, estimated from the parts of a response. */
export interface Statements {
  sent: number;
  /** Statements that cached parts did not need. */
  saved: number;
}

/**
 * Counts statements. A field reads all missing values of one kind with one statement. A value that
 * is stored beside a row comes with the row if both have the same load. What this response has read
 * itself does not count as saved.
 */
export function statements(parts: readonly Part[]): Statements {
  const sent = new Set<string>();
  const saved = new Set<string>();
  const loaded = new Map(parts.map((part) => [part.key, part.loaded]));
  const joined = (part: Part) => part.status === 'collapsed';
  const read = new Set(parts.filter((part) => !cached(part) && !joined(part)).map((part) => part.key));
  for (const part of parts) {
    const row = rowOf(part.key);
    const beside = part.status === 'along' || (row !== undefined && part.loaded !== undefined && loaded.get(row) === part.loaded);
    const id = `${fieldOf(part)} ${sortOf(part.key)}`;
    if (cached(part) || joined(part)) {
      if (!beside && !read.has(part.key)) saved.add(id);
    } else if (!beside) sent.add(id);
  }
  return { sent: sent.size, saved: [...saved].filter((id) => !sent.has(id)).length };
}

/** The response keys from the root to a part's field: "products.nodes.price". */
export function fieldOf(part: Part): string {
  return part.path.filter((step) => typeof step === 'string').join('.') || part.coordinate;
}

/** The kind of value under a key: "user" of user:42, "product:stock" of {product:7}:stock. */
function sortOf(key: string): string {
  const of = /^\{(\w+)[^}]*\}(:[a-z]\w*)?/i.exec(key);
  return of === null ? key.replace(/:.*$/s, '') : `${of[1]}${of[2] ?? ''}`;
}

/**
 * The part that expires first and so limits how long the response may be stored; null if none
 * expires.
 */
export function endsFirst(parts: readonly Part[]): Part | null {
  let first: Part | null = null;
  for (const part of parts) {
    if (part.ttl !== undefined && (first?.ttl === undefined || part.ttl < first.ttl)) first = part;
  }
  return first;
}

/** What limits how long a client may store the response. */
export interface Bound {
  /** The Cache-Control that a client gets without the report; absent if the server does not say. */
  cacheControl?: string;
  /** The coordinate to change for a longer time. */
  field?: string;
  /** The coordinate that makes the response private. */
  privateBy?: string;
  /** The part that expires first. */
  first: Part | null;
  /** Parts that prevent the response from being stored. */
  blocking: readonly Part[];
}

export function bound(report: Report): Bound {
  const first = endsFirst(report.parts);
  const blocking = report.parts.filter((part) => part.status === 'bypass');
  const d = report.decision;
  return {
    cacheControl: d?.cacheControl,
    field: d?.maxAgeFrom ?? blocking[0]?.coordinate ?? first?.coordinate,
    privateBy: d?.scopeFrom ?? report.parts.find((part) => part.scope === 'private')?.coordinate,
    first,
    blocking,
  };
}

/** The seconds until a part expires, some time after its response. */
export function left(part: Part, elapsed: number): number {
  return Math.max(0, (part.ttl ?? 0) - elapsed);
}

/** The lifetime of a part in seconds, from its load until it expires. */
export function life(part: Part): number {
  return (part.age ?? 0) + (part.ttl ?? 0);
}

/** "45 s", "4 min 10 s", "23 h 40 min" */
export function seconds(n: number): string {
  const whole = Math.max(0, Math.ceil(n));
  const units: [string, number][] = [
    ['d', 86400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ];
  const at = units.findIndex(([, size]) => whole >= size);
  if (at < 0) return '0 s';
  const [unit, size] = units[at]!;
  const next = units[at + 1];
  const rest = next === undefined ? 0 : Math.floor((whole % size) / next[1]);
  return `${Math.floor(whole / size)} ${unit}` + (rest > 0 ? ` ${rest} ${next![0]}` : '');
}

/** "0.8 ms", "12 ms", "1.3 s" */
export function milliseconds(n: number): string {
  if (n >= 1000) return `${(n / 1000).toFixed(1)} s`;
  return n >= 10 ? `${Math.round(n)} ms` : `${n.toFixed(1)} ms`;
}
