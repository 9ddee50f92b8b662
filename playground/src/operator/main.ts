import './operator.css';
import { drawCharts, window_ } from './charts';
import { wireEntry } from './entry';
import { listEvictions } from './evictions';
import { count, healthOf, percent, sampleOf, type Counters, sum, type Eviction, type Sample } from './model';
import { hintOverflow } from './overflow';
import { drawTable } from './table';
import { showTiers } from './tiers';

const find = <T extends HTMLElement>(selector: string) => document.querySelector<T>(selector)!;

let before: Counters | undefined;
let samples: Sample[] = [];
let paused = false;

const charts = drawCharts(find('#charts'));
const table = drawTable(find<HTMLTableElement>('#coordinates'));
const evictions = listEvictions(wireEntry());
hintOverflow();

function figures(counters: Counters, last: Sample | undefined) {
  const values = last ? last.memory + last.redis + last.database : 0;
  const shown: [string, string, string][] = [
    ['Requests', last ? count(last.requests) : '', 'per second'],
    ['Cached responses', last?.requests ? percent(last.responseHits / last.requests) : '', 'of the requests'],
    ['Cached values', values && last ? percent((last.memory + last.redis) / values) : '', 'of what was executed'],
    ['Loads', last ? count(last.database) : '', 'values per second'],
    ['Evictions', last ? count(Object.values(last.evictions).reduce((a, b) => a + b, 0)) : '', 'keys and tags per second'],
    ['Statements saved', count(sum(counters.metrics, 'fieldcache_statements_saved_total')), 'at least, since the start'],
  ];
  find('#figures').replaceChildren(
    ...shown.map(([name, value, unit]) => {
      const tile = document.createElement('p');
      tile.className = 'card';
      const label = document.createElement('span');
      label.textContent = name;
      const number = document.createElement('b');
      number.textContent = value || '–';
      const small = document.createElement('small');
      small.textContent = unit;
      tile.append(label, number, small);
      return tile;
    }),
  );
  find('#health').replaceChildren(
    ...healthOf(counters.metrics).map((h) => {
      const item = document.createElement('li');
      item.className = h.state;
      const name = document.createElement('b');
      name.textContent = h.name;
      item.append(name, ` ${h.text}`);
      return item;
    }),
  );
}

/** Fills a list of keys. They are plain text, since the list is redrawn each second. */
function keys(selector: string, rows: [key: string, text: string][]) {
  find(selector).replaceChildren(
    ...rows.map(([key, text]) => {
      const item = document.createElement('li');
      const name = document.createElement('code');
      name.textContent = key;
      item.append(name, ` ${text}`);
      return item;
    }),
  );
}

function show() {
  if (paused || !before) return;
  figures(before, samples.at(-1));
  charts(samples);
  table(before.coordinates, samples);
  showTiers(before, samples);
  keys('#top', before.top.map((k) => [k.key, `about ${count(k.hits)}`]));
  keys('#soonest', before.soonest.map((k) => [k.key, `${Math.max(0, Math.round(k.ttl))} s`]));
  find('#looked').textContent = `Of ${count(before.looked)} entries checked in memory, at most 10k.`;
  evictions.show();
}

let drawing = false;

/** Shows the last event in the next frame. A slow machine draws fewer frames than there are events, instead of falling behind. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    show();
  });
}

function live(text: string, state: string) {
  const node = find('#live');
  if (node.textContent !== text) node.textContent = text;
  node.className = state;
}

const events = new EventSource('cache/events');
events.addEventListener('open', () => live('live', 'good'));
events.addEventListener('error', () => live('the gateway does not answer: trying again', 'bad'));
events.addEventListener('counters', (event: MessageEvent<string>) => {
  const now = JSON.parse(event.data) as Counters;
  if (before) {
    const sample = sampleOf(before, now);
    samples = sample ? [...samples, sample].slice(-window_) : [];
  }
  evictions.skip(now.skipped);
  before = now;
  draw();
});
events.addEventListener('eviction', (event: MessageEvent<string>) => evictions.add(JSON.parse(event.data) as Eviction));

find('#pause').addEventListener('click', (event) => {
  paused = !paused;
  const button = event.currentTarget as HTMLButtonElement;
  button.setAttribute('aria-pressed', String(paused));
  button.textContent = paused ? 'Go on' : 'Pause';
  show();
});
evictions.show();
