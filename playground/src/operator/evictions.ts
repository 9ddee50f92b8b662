import { count, type Eviction } from './model';

/** How many evictions are listed, and how many names of each until the others are requested. */
const listed = 200;
const named = 8;

/** Creates the list of evictions. Clicking a key looks it up. */
export function listEvictions(look: (key: string) => void): { add(e: Eviction): void; skip(n: number): void; show(): void } {
  const list = document.querySelector<HTMLElement>('#evictions')!;
  const filter = document.querySelector<HTMLInputElement>('#filter')!;
  const missed = document.querySelector<HTMLElement>('#skipped')!;
  const empty = element('li', '', 'empty');
  // The last evictions, newest first, and how many of them came since the list was shown. An item
  // does not change while it is listed, so that the focus stays on its buttons.
  let evictions: Eviction[] = [];
  let waiting = 0;
  let skipped = 0;
  const items = new Map<Eviction, HTMLElement>();

  const matches = (e: Eviction) => {
    const words = filter.value.trim().toLowerCase();
    return words === '' || [e.cause, ...e.keys, ...e.tags].some((name) => name.toLowerCase().includes(words));
  };

  const show = () => {
    const fresh: HTMLElement[] = [];
    for (const e of evictions.slice(0, waiting)) {
      const item = itemOf(e);
      items.set(e, item);
      fresh.push(item);
    }
    waiting = 0;
    if (items.size > evictions.length) {
      const kept = new Set(evictions);
      for (const [e, item] of items) {
        if (kept.has(e)) continue;
        if (item.contains(document.activeElement)) list.focus({ preventScroll: true }); // otherwise the next Tab would start at the top of the page
        item.remove();
        items.delete(e);
      }
    }
    list.prepend(...fresh);
    let shown = 0;
    for (const [e, item] of items) {
      item.hidden = !matches(e);
      if (!item.hidden) shown++;
    }
    if (shown > 0) empty.remove();
    else {
      empty.textContent = items.size > 0 ? 'None of the last evictions matches.' : 'No eviction yet. Each write shows here as it is evicted.';
      list.append(empty);
    }
    missed.textContent = skipped > 0 ? `Sampled: ${count(skipped)} more came too fast to be listed.` : '';
  };

  list.addEventListener('click', ({ target }) => {
    if (!(target instanceof HTMLButtonElement)) return;
    if (target.dataset.key !== undefined) look(target.dataset.key);
    else if (target.dataset.more !== undefined) {
      const item = target.closest('li');
      const e = [...items].find(([, one]) => one === item)?.[0];
      if (e === undefined) return;
      const rest = names(e).slice(named).map(nameOf);
      target.replaceWith(...rest, left(e));
      rest[0]?.focus();
    }
  });
  filter.addEventListener('input', show);

  return {
    add(e) {
      evictions.unshift(e);
      evictions.length = Math.min(evictions.length, listed);
      waiting = Math.min(waiting + 1, listed);
    },
    skip: (n) => void (skipped += n),
    show,
  };
}

function itemOf(e: Eviction): HTMLElement {
  const item = document.createElement('li');
  const time = element('time', new Date(e.when).toLocaleTimeString(undefined, { hour12: false }));
  time.dateTime = e.when;
  item.append(time, element('span', e.cause === 'loss' ? 'everything' : e.cause, `cause ${e.cause}`));
  const all = names(e);
  item.append(...all.slice(0, named).map(nameOf));
  if (all.length > named) {
    const more = element('button', `and ${count(all.length - named + (e.more ?? 0))} more`);
    more.type = 'button';
    more.dataset.more = '';
    item.append(more);
  } else item.append(left(e));
  return item;
}

interface Name {
  text: string;
  key: boolean;
}

const names = (e: Eviction): Name[] => [...e.keys.map((text) => ({ text, key: true })), ...e.tags.map((text) => ({ text, key: false }))];

function nameOf({ text, key }: Name): HTMLElement {
  if (!key) return element('code', text);
  const button = element('button', text);
  button.type = 'button';
  button.title = 'Look this key up';
  button.dataset.key = text;
  return button;
}

/** What the server omitted from an eviction. */
const left = (e: Eviction) => (e.more ? `and ${count(e.more)} more, which are not sent` : '');

function element<K extends keyof HTMLElementTagNameMap>(name: K, text = '', className = ''): HTMLElementTagNameMap[K] {
  const node = document.createElement(name);
  node.textContent = text;
  if (className !== '') node.className = className;
  return node;
}
