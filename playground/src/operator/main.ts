import './operator.css';
import { drawCharts, window_ } from './charts';
import { wireEntry } from './entry';
import { count, healthOf, percent, sampleOf, type Counters, type Eviction, type Sample } from './model';
import { drawTable } from './table';

const find = <T extends HTMLElement>(selector: string) => document.querySelector<T>(selector)!;

/** How many evictions the page lists. */
const listed = 200;

let before: Counters | undefined;
let samples: Sample[] = [];
let evictions: Eviction[] = [];
let skipped = 0;
let paused = false;
let changed = false;

const charts = drawCharts(find('#charts'));
const table = drawTable(find<HTMLTableElement>('#coordinates'));
const look = wireEntry();

function figures(counters: Counters, last: Sample | undefined) {
  const values = last ? last.memory + last.redis + last.database : 0;
  const shown: [string, string, string][] = [
    ['Requests', last ? count(last.requests) : '', 'per second'],
    ['Cached responses', last?.requests ? percent(last.responseHits / last.requests) : '', 'of the requests'],
    ['Cached values', values && last ? percent((last.memory + last.redis) / values) : '', 'of what was executed'],
    ['Loads', last ? count(last.database) : '', 'values per second'],
    ['Evictions', last ? count(Object.values(last.evictions).reduce((a, b) => a + b, 0)) : '', 'keys and tags per second'],
    ['Coordinates', count(counters.coordinates.length), 'cached'],
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

function feed() {
  const filter = find<HTMLInputElement>('#filter').value.trim().toLowerCase();
  const matches = (e: Eviction) => filter === '' || [e.cause, ...e.keys, ...e.tags].some((t) => t.toLowerCase().includes(filter));
  const items = evictions.filter(matches).map((e) => {
    const item = document.createElement('li');
    const time = document.createElement('time');
    time.dateTime = e.when;
    time.textContent = new Date(e.when).toLocaleTimeString(undefined, { hour12: false });
    const cause = document.createElement('span');
    cause.className = `cause ${e.cause}`;
    cause.textContent = e.cause === 'loss' ? 'everything' : e.cause;
    item.append(time, cause);
    for (const key of e.keys) {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = key;
      button.title = 'Look this key up';
      button.addEventListener('click', () => look(key));
      item.append(button);
    }
    for (const tag of e.tags) {
      const name = document.createElement('code');
      name.textContent = tag;
      item.append(name);
    }
    if (e.more) item.append(` and ${e.more} more`);
    return item;
  });
  if (items.length === 0) {
    const item = document.createElement('li');
    item.className = 'empty';
    item.textContent = evictions.length ? 'None of the last evictions matches.' : 'No eviction yet. Each write shows here as it is evicted.';
    items.push(item);
  }
  find('#evictions').replaceChildren(...items);
  find('#skipped').textContent = skipped ? `${count(skipped)} more came too fast to be listed.` : '';
}

function show() {
  if (paused || !before) return;
  figures(before, samples.at(-1));
  charts(samples);
  table(before.coordinates, samples);
  if (changed) {
    changed = false;
    feed();
  }
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
  if (now.skipped > 0) {
    skipped += now.skipped;
    changed = true;
  }
  before = now;
  show();
});
events.addEventListener('eviction', (event: MessageEvent<string>) => {
  evictions.unshift(JSON.parse(event.data) as Eviction);
  evictions.length = Math.min(evictions.length, listed);
  changed = true;
});

find('#filter').addEventListener('input', feed);
find('#pause').addEventListener('click', (event) => {
  paused = !paused;
  const button = event.currentTarget as HTMLButtonElement;
  button.setAttribute('aria-pressed', String(paused));
  button.textContent = paused ? 'Go on' : 'Pause';
  show();
});
feed();
