import { asked, count, duration, hitShare, percent, type Coordinate, type Sample } from './model';

interface Column {
  name: string;
  title?: string;
  number?: boolean;
  by: (c: Coordinate, rate: number) => number | string;
  show: (c: Coordinate, rate: number) => string | Node;
}

const columns: Column[] = [
  { name: 'Coordinate', by: (c) => c.coordinate, show: (c) => code(c.coordinate) },
  { name: 'Age', title: 'How long its values are cached', number: true, by: (c) => c.maxAge ?? -1, show: (c) => duration(c.maxAge) },
  { name: 'Scope', by: (c) => c.scope ?? '', show: (c) => c.scope ?? '' },
  { name: 'Truth', title: 'What evicts its values before they expire', by: (c) => (c.truth === 'ttl' ? '' : (c.truth ?? '~')), show: (c) => truth(c.truth) },
  { name: 'Asked/s', number: true, by: (_, rate) => rate, show: (_, rate) => count(rate) },
  { name: 'Last minute', by: (_, rate) => rate, show: () => '' },
  { name: 'No load', title: 'The share of values that needed no load', number: true, by: (c) => hitShare(c) ?? -1, show: (c) => bar(hitShare(c)) },
  { name: 'Memory', number: true, by: (c) => c.memory, show: (c) => count(c.memory) },
  { name: 'Redis', number: true, by: (c) => c.redis, show: (c) => count(c.redis) },
  { name: 'Loads', title: 'Values read from the database', number: true, by: (c) => c.misses + c.bypassed, show: (c) => count(c.misses + c.bypassed) },
  { name: 'Joined', title: "Values that another reader's load brought", number: true, by: (c) => c.collapsed, show: (c) => count(c.collapsed) },
  { name: 'Stale', number: true, by: (c) => c.stale, show: (c) => count(c.stale) },
  { name: 'Failed', number: true, by: (c) => c.failed, show: (c) => count(c.failed) },
];

const loads = columns.findIndex((c) => c.name === 'Loads');
const sparkline = columns.findIndex((c) => c.name === 'Last minute');

function code(text: string): Node {
  const node = document.createElement('code');
  node.textContent = text;
  return node;
}

/** Marks coordinates whose values no write evicts. */
function truth(of: string | undefined): string | Node {
  if (of !== 'ttl') return of ?? '';
  const node = document.createElement('span');
  node.className = 'ttl-only';
  node.textContent = 'ttl only';
  return node;
}

function bar(share: number | undefined): Node {
  const node = document.createElement('span');
  node.className = 'share';
  const track = document.createElement('i');
  const fill = document.createElement('b');
  fill.style.width = `${100 * (share ?? 0)}%`;
  track.append(fill);
  node.append(percent(share), track);
  return node;
}

const svg = 'http://www.w3.org/2000/svg';

function spark(values: number[]): Node {
  const node = document.createElementNS(svg, 'svg');
  node.setAttribute('viewBox', '0 0 60 16');
  node.setAttribute('preserveAspectRatio', 'none');
  node.setAttribute('aria-hidden', 'true');
  node.setAttribute('class', 'spark');
  const top = Math.max(...values, 1e-9);
  const line = document.createElementNS(svg, 'polyline');
  line.setAttribute('points', values.map((v, i) => `${60 - values.length + i},${(15 - (14 * v) / top).toFixed(1)}`).join(' '));
  node.append(line);
  return node;
}

/** Creates the table of coordinates. The returned function fills it again. */
export function drawTable(table: HTMLTableElement): (list: Coordinate[], samples: Sample[]) => void {
  let sorted = loads;
  let descending = true;
  let list: Coordinate[] = [];
  let samples: Sample[] = [];

  const head = document.createElement('tr');
  const buttons = columns.map((column, i) => {
    const cell = document.createElement('th');
    cell.scope = 'col';
    if (column.number) cell.className = 'number';
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = column.name;
    if (column.title) button.title = column.title;
    button.addEventListener('click', () => {
      descending = i === sorted ? !descending : Boolean(column.number);
      sorted = i;
      update();
    });
    cell.append(button);
    head.append(cell);
    return cell;
  });
  table.tHead!.replaceChildren(head);

  const update = () => {
    buttons.forEach((cell, i) => (i === sorted ? cell.setAttribute('aria-sort', descending ? 'descending' : 'ascending') : cell.removeAttribute('aria-sort')));
    const last = samples.at(-1);
    const rate = (c: Coordinate) => last?.loads.get(c.coordinate) ?? 0;
    const by = columns[sorted]!.by;
    const rows = list
      .filter((c) => asked(c) > 0)
      .sort((a, b) => {
        const [x, y] = [by(a, rate(a)), by(b, rate(b))];
        const order = x < y ? -1 : x > y ? 1 : a.coordinate < b.coordinate ? -1 : 1;
        return descending ? -order : order;
      })
      .map((c) => {
        const row = document.createElement('tr');
        columns.forEach((column, i) => {
          const cell = document.createElement(i === 0 ? 'th' : 'td');
          if (i === 0) (cell as HTMLTableCellElement).scope = 'row';
          if (column.number) cell.className = 'number';
          cell.append(i === sparkline ? spark(samples.slice(-60).map((s) => s.loads.get(c.coordinate) ?? 0)) : column.show(c, rate(c)));
          row.append(cell);
        });
        return row;
      });
    if (rows.length === 0) {
      const row = document.createElement('tr');
      const cell = document.createElement('td');
      cell.colSpan = columns.length;
      cell.className = 'empty';
      cell.textContent = 'Nothing has been asked for yet.';
      row.append(cell);
      rows.push(row);
    }
    table.tBodies[0]!.replaceChildren(...rows);
  };

  return (nowList, nowSamples) => {
    list = nowList;
    samples = nowSamples;
    update();
  };
}
