import { useMemo } from 'react';
import { Button, Collection, Tree, TreeItem, TreeItemContent } from 'react-aria-components';
import { ChevronDownIcon, TrashIcon } from '@graphiql/react';
import { typesOf } from '../cache/evicted.ts';
import { endsFirst, pathText, seconds, totals, tree, type Node } from '../cache/model.ts';
import { policyOf, truthText, type Offer } from '../cache/policies.ts';
import type { Part } from '../cache/report.ts';
import type { Run } from '../cache/run.ts';
import type { Eviction } from '../offer.ts';
import { Drain, Left } from './drain.tsx';
import { plural, TierBar, tierNames, tiers } from './summary.tsx';

interface Props {
  run: Run;
  policies: Offer['policies'];
  /** Keys that were evicted by hand since the run. */
  evicted: readonly string[];
  evict?(what: Eviction, name: string): Promise<void>;
}

/** If a field has more parts than this, they are in a row that is closed at first. */
const few = 4;

/** A row of the tree: a field with the parts below it, or one of the many parts of a field. */
interface Row {
  id: string;
  name: string;
  coordinate: string;
  /** The part of this row; null for a field with no parts or several. */
  part: Part | null;
  parts: readonly Part[];
  rows: readonly Row[];
}

/** One row for each part, as a tree along the selection. */
export default function Parts({ run, policies, evicted, evict }: Props) {
  const parts = run.report!.parts;
  const rows = useMemo(() => tree(parts, run.data).map(rowOf), [parts, run.data]);
  const open = useMemo(() => rows.flatMap(opened), [rows]);
  const types = useMemo(() => typesOf(parts.flatMap((part) => part.tags)), [parts]);
  const render = (row: Row) => (
    <TreeItem key={row.id} id={row.id} textValue={spoken(row)} className="cache-row">
      <TreeItemContent>
        {row.rows.length > 0 ? (
          <Button slot="chevron" className="cache-chevron">
            <ChevronDownIcon aria-hidden="true" />
          </Button>
        ) : (
          <span className="cache-chevron" />
        )}
        {row.part === null ? <Field row={row} at={run.at} /> : <One row={row} part={row.part} truth={truthText(row.part, policyOf(row.part, policies))} at={run.at} gone={evicted.includes(row.part.key)} />}
        {evict !== undefined && row.parts.length > 0 && (
          <Button
            className="cache-evict"
            aria-label={`Evict ${row.part?.key ?? plural(row.parts.length, 'key')}`}
            onPress={() => void evict({ keys: keysOf(row.parts) }, row.part?.key ?? `${plural(keysOf(row.parts).length, 'key')} of ${row.id}`)}
          >
            <TrashIcon aria-hidden="true" />
          </Button>
        )}
      </TreeItemContent>
      <Collection items={row.rows} dependencies={[evicted]}>
        {render}
      </Collection>
    </TreeItem>
  );
  return (
    <section className="cache-section" aria-label="Parts">
      <h3>
        Parts <span className="cache-count">{parts.length}</span>
      </h3>
      <Tree aria-label="Parts of the response" className="cache-tree" items={rows} defaultExpandedKeys={open} dependencies={[evicted, policies]} selectionMode="none">
        {render}
      </Tree>
      {evict !== undefined && types.length > 0 && (
        <p className="cache-types">
          Evict all of a type:{' '}
          {types.map((type) => (
            <Button key={type} className="cache-chip" onPress={() => void evict({ types: [type] }, `everything of ${type}`)} aria-label={`Evict everything of ${type}`}>
              {type}
            </Button>
          ))}
        </p>
      )}
    </section>
  );
}

function One({ row, part, truth, at, gone }: { row: Row; part: Part; truth: string; at: number; gone: boolean }) {
  return (
    <span className="cache-cells" data-gone={gone || undefined}>
      <span className="cache-name">{row.name}</span>
      <span className="cache-key" title={part.key}>
        {part.key || row.coordinate}
      </span>
      <span className={`cache-from tier ${part.tier}`}>
        {tierNames[part.tier]} <b className={`cache-status ${part.status}`}>{gone ? 'evicted' : statusOf(part)}</b>
        {part.age !== undefined && part.age > 0 && !gone && <span className="cache-age"> {seconds(part.age)} old</span>}
      </span>
      <span className="cache-time">
        {part.ttl !== undefined && !gone && (
          <>
            <Drain part={part} at={at} />
            <Left part={part} at={at} />
          </>
        )}
      </span>
      <span className="cache-marks">
        {part.scope === 'private' && <span className="cache-mark private">private</span>}
        {truth !== '' && (
          <span className="cache-mark" title={truths[truth.split(/\W/, 1)[0]!]}>
            {truth}
          </span>
        )}
      </span>
      {part.unstored !== undefined && <span className="cache-unstored">Not stored: {part.unstored}</span>}
    </span>
  );
}

/** What keeps a value current, by the first word of its truth in the report. */
const truths: Record<string, string> = {
  rows: 'Evicted when these rows change',
  observed: 'Evicted when the rows change that its statements read',
  tags: 'Evicted with its tags',
  ttl: 'Never evicted: it only expires',
};

function statusOf(part: Part): string {
  return part.status === 'along' ? 'read along' : part.status;
}

function Field({ row, at }: { row: Row; at: number }) {
  if (row.parts.length === 0) {
    return (
      <span className="cache-cells">
        <span className="cache-name">{row.name}</span>
      </span>
    );
  }
  const all = totals(row.parts);
  const first = endsFirst(row.parts);
  return (
    <span className="cache-cells">
      <span className="cache-name">
        {row.name} <span className="cache-count">×{row.parts.length}</span>
      </span>
      <span className="cache-key">{row.coordinate}</span>
      <span className="cache-from">
        <TierBar from={all.from} />
        <span>
          {tiers
            .filter((tier) => all.from[tier] > 0)
            .map((tier) => `${tierNames[tier]} ${all.from[tier]}`)
            .join(', ')}
        </span>
      </span>
      <span className="cache-time">
        {first !== null && (
          <>
            <Drain part={first} at={at} />
            <Left part={first} at={at} />
          </>
        )}
      </span>
      <span className="cache-marks">{row.parts.some((part) => part.scope === 'private') && <span className="cache-mark private">private</span>}</span>
      {all.unstored > 0 && <span className="cache-unstored">Not stored: {plural(all.unstored, 'part')}</span>}
    </span>
  );
}

function rowOf(node: Node): Row {
  const { id, name, coordinate, parts } = node;
  const below = node.children.map(rowOf);
  if (parts.length <= 1) return { id, name, coordinate, part: parts[0] ?? null, parts, rows: below };
  const own = parts.map((part, i) => ({ id: `${id}#${i}`, name: positionOf(part), coordinate, part, parts: [part], rows: [] }));
  const each = own.length <= few ? own : [{ id: `${id}#`, name: `each of the ${own.length}`, coordinate, part: null, parts: [], rows: own }];
  return { id, name, coordinate, part: null, parts, rows: [...each, ...below] };
}

/** The list positions of a part: "[3]". A part of the list itself is named by its key. */
function positionOf(part: Part): string {
  const at = pathText(part.path.filter((step) => typeof step === 'number'));
  return at === '' ? part.key.replace(/^.*:/, '#') : at;
}

/** The rows that are open at first: all except those with many parts. */
function opened(row: Row): string[] {
  return row.id.endsWith('#') ? [] : [row.id, ...row.rows.flatMap(opened)];
}

function keysOf(parts: readonly Part[]): string[] {
  return [...new Set(parts.map((part) => part.key))].filter((key) => key !== '');
}

function spoken(row: Row): string {
  if (row.part === null) return row.parts.length === 0 ? row.name : `${row.name}, ${plural(row.parts.length, 'part')}`;
  const { key, tier, scope, truth, unstored, ttl } = row.part;
  const words = [row.name, key, `${statusOf(row.part)} from ${tierNames[tier]}`];
  if (ttl !== undefined) words.push(`${seconds(ttl)} left`);
  if (scope === 'private') words.push('private');
  if (truth !== undefined) words.push(`true by ${truth}`);
  if (unstored !== undefined) words.push(`not stored: ${unstored}`);
  return words.join(', ');
}
