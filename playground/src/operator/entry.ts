import { seconds } from '../cache/model.ts';
import { bytes } from './model';

interface Held {
  tier: string;
  age: number;
  ttl: number;
  tags: string[];
  bytes: number;
  value?: unknown;
  hidden?: boolean;
}

const element = <K extends keyof HTMLElementTagNameMap>(name: K, text = '', className = '') => {
  const node = document.createElement(name);
  node.textContent = text;
  node.className = className;
  return node;
};

/** Connects the form that looks up a key and evicts it. The returned function looks one up. */
export function wireEntry(): (key: string) => void {
  const form = document.querySelector<HTMLFormElement>('#look')!;
  const input = document.querySelector<HTMLInputElement>('#key')!;
  const out = document.querySelector<HTMLElement>('#entry')!;
  const say = (text: string) => out.replaceChildren(element('p', text, 'empty'));
  say('Look a key up to see what memory and Redis hold under it.');

  const look = async () => {
    const key = input.value.trim();
    if (key === '') return;
    try {
      const response = await fetch(`cache/entry?key=${encodeURIComponent(key)}`);
      const found = (await response.json()) as { entries?: Held[]; error?: string };
      const nodes: Node[] = [];
      if (found.error) nodes.push(element('p', found.error, 'bad'));
      for (const e of found.entries ?? []) nodes.push(show(e));
      if (nodes.length === 0) nodes.push(element('p', `Nothing is cached under ${key}.`, 'empty'));
      out.replaceChildren(...nodes);
    } catch {
      say('The gateway does not answer.');
    }
  };

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void look();
  });
  document.querySelector('#evict')!.addEventListener('click', async () => {
    const key = input.value.trim();
    if (key === '') {
      input.focus();
      return;
    }
    try {
      const response = await fetch('evict', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ keys: [key] }) });
      const answer = (await response.json()) as { evicted?: number; error?: string };
      say(answer.error ?? (answer.evicted ? `Evicted ${key}.` : `Nothing was cached under ${key}; a load in flight is not stored.`));
    } catch {
      say('The gateway does not answer.');
    }
  });

  return (key) => {
    input.value = key;
    void look();
  };
}

function show(e: Held): Node {
  const article = element('article');
  const list = document.createElement('dl');
  const add = (name: string, ...values: (string | Node)[]) => {
    const value = element('dd');
    value.append(...values);
    list.append(element('dt', name), value);
  };
  add('tier', e.tier === 'redis' ? 'Redis' : 'memory');
  add('age', seconds(e.age));
  add('time left', e.ttl > 0 ? seconds(e.ttl) : 'ended');
  add('size', bytes(e.bytes));
  // Memory does not list the tags that all entries of a kind have.
  if (e.tier === 'redis') add('tags', ...(e.tags.length ? e.tags.flatMap((t) => [element('code', t), ' ']) : ['none']));
  else if (e.tags.length) add('more tags', ...e.tags.flatMap((t) => [element('code', t), ' ']));
  article.append(list);
  if (e.hidden) {
    article.append(element('p', 'The value may be of one viewer only: it is not shown.', 'empty'));
    return article;
  }
  const value = element('pre', JSON.stringify(e.value, null, 2));
  value.tabIndex = 0; // so that it scrolls by keyboard
  value.setAttribute('role', 'group');
  value.setAttribute('aria-label', 'Value');
  article.append(value);
  return article;
}
