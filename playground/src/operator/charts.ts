import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { bytes, causes, count, type Sample } from './model';

/** How many samples the charts show: one a second. */
export const window_ = 300;

interface Line {
  label: string;
  color: string; // the name of a custom property
  of: (s: Sample) => number | undefined;
}

interface Chart {
  title: string;
  stacked?: boolean;
  format: (n: number) => string;
  /** The tick distances of the axis, if those of decimal numbers look odd. */
  steps?: number[];
  lines: Line[];
}

const charts: Chart[] = [
  {
    title: 'Requests per second',
    stacked: true,
    format: count,
    lines: [
      { label: 'cached response', color: '--hit', of: (s) => s.responseHits },
      { label: 'executed', color: '--miss', of: (s) => Math.max(0, s.requests - s.responseHits) },
    ],
  },
  {
    title: 'Values per second',
    stacked: true,
    format: count,
    lines: [
      { label: 'memory', color: '--hit', of: (s) => s.memory },
      { label: 'Redis', color: '--redis', of: (s) => s.redis },
      { label: 'database', color: '--miss', of: (s) => s.database },
    ],
  },
  {
    title: 'Evictions per second',
    stacked: true,
    format: count,
    lines: causes.map((c, i) => ({ label: c, color: ['--hit', '--miss', '--redis', '--hand'][i]!, of: (s: Sample) => s.evictions[c] })),
  },
  { title: 'Mean latency', format: (n) => `${n < 10 ? n.toFixed(2) : n.toFixed(0)} ms`, lines: [{ label: 'requests', color: '--hit', of: (s) => s.latency }] },
  {
    title: 'Memory',
    format: bytes,
    steps: Array.from({ length: 40 }, (_, i) => 2 ** i),
    lines: [
      { label: 'values', color: '--hit', of: (s) => s.valueBytes },
      { label: 'responses', color: '--redis', of: (s) => s.responseBytes },
    ],
  },
  { title: 'Processor cores', format: (n) => n.toFixed(2), lines: [{ label: 'gateway', color: '--hit', of: (s) => s.cpu }] },
];

const clock = (seconds: number) => new Date(1000 * seconds).toLocaleTimeString(undefined, { hour12: false });

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Adds the charts to the page. The returned function redraws them. */
export function drawCharts(into: HTMLElement): (samples: Sample[]) => void {
  let samples: Sample[] = [];
  let drawn: { chart: Chart; plot: uPlot; legend: HTMLElement[] }[] = [];

  const build = () => {
    for (const d of drawn) d.plot.destroy();
    into.replaceChildren();
    drawn = charts.map((chart) => {
      const card = document.createElement('figure');
      card.className = 'card';
      const caption = document.createElement('figcaption');
      const title = document.createElement('h2');
      title.textContent = chart.title;
      const list = document.createElement('ul');
      const legend = chart.lines.map((line) => {
        const item = document.createElement('li');
        const value = document.createElement('b');
        const dot = document.createElement('i');
        dot.style.background = css(line.color);
        item.append(dot, `${line.label} `, value);
        list.append(item);
        return value;
      });
      caption.append(title, list);
      const canvas = document.createElement('div');
      canvas.setAttribute('aria-hidden', 'true');
      card.append(caption, canvas);
      into.append(card);
      const axis = { stroke: css('--muted'), grid: { stroke: css('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui' };
      const plot = new uPlot(
        {
          width: Math.max(200, canvas.clientWidth),
          height: 150,
          cursor: { show: false },
          legend: { show: false },
          scales: {
            x: { range: (_u, _min, max) => [max - Math.max(60, samples.length), max] },
            y: { range: (_u, _min, max) => [0, max > 0 ? max * 1.1 : 1] },
          },
          axes: [
            { ...axis, size: 26, space: 90, values: (_u, ticks) => ticks.map(clock) },
            { ...axis, size: 64, incrs: chart.steps, values: (_u, ticks) => ticks.map(chart.format) },
          ],
          series: [
            {},
            ...chart.lines.map((line) => ({
              label: line.label,
              stroke: css(line.color),
              // Opaque, since each area covers the upper part of the one before it.
              fill: chart.stacked ? `color-mix(in srgb, ${css(line.color)} 38%, ${css('--card')})` : undefined,
              width: 1.5,
              points: { show: false },
            })),
          ],
        },
        [[], ...chart.lines.map(() => [])],
        canvas,
      );
      return { chart, plot, legend };
    });
    update();
  };

  const update = () => {
    const last = samples.at(-1);
    const times = samples.map((s) => s.at);
    for (const { chart, plot, legend } of drawn) {
      const rows = chart.lines.map((line) => samples.map((s) => line.of(s) ?? null));
      if (chart.stacked) {
        // Each line is stacked on those after it, and drawn before them.
        for (let i = rows.length - 2; i >= 0; i--) rows[i] = rows[i]!.map((v, at) => (v ?? 0) + (rows[i + 1]![at] ?? 0));
      }
      plot.setData([times, ...rows]);
      chart.lines.forEach((line, i) => {
        const value = last && line.of(last);
        legend[i]!.textContent = value === undefined ? '' : chart.format(value);
      });
    }
  };

  build();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', build);
  new ResizeObserver(() => {
    for (const { plot } of drawn) {
      const width = plot.root.parentElement!.clientWidth;
      if (width > 0 && width !== plot.width) plot.setSize({ width, height: 150 });
    }
  }).observe(into);

  return (now) => {
    samples = now;
    update();
  };
}
