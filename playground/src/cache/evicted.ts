/** Explains what a mutation evicted under a key. */
export function keyMeaning(key: string): string {
  const of = /^\{(.+?)\}:(.+)$/.exec(key);
  if (of === null) return 'the row';
  const [, row, part] = of as unknown as [string, string, string];
  const [name, sort] = part.split(/[:(]/, 2) as [string, string?];
  return `${sort === 'list' || sort === 'count' ? `${sort} of ${name}` : name} of ${row}`;
}

/** Explains what a mutation evicted by a tag. */
export function tagMeaning(tag: string): string {
  const rows = /^\{rows:(.+?)(?::(.+))?\}$/.exec(tag);
  if (rows !== null) return `values that depend on rows of ${rows[1]}${rows[2] === undefined ? '' : ` where ${rows[2].replace('=', ' is ')}`}`;
  const type = /^\{([A-Z]\w*)\}$/.exec(tag);
  if (type !== null) return `everything with a ${type[1]}`;
  const field = /^\{([A-Z]\w*\.\w+)\}$/.exec(tag);
  if (field !== null) return `all of ${field[1]}`;
  const part = /^\{(.+?)\}:(\w+)$/.exec(tag);
  if (part === null) return 'everything with this tag';
  return part[1]!.includes(':') ? `lists and counts of ${part[1]}’s ${part[2]}` : `lists that depend on the ${part[2]} of ${part[1]}`;
}

/** The types that the tags name: "{Product}", "{Product.relatedProducts}". */
export function typesOf(tags: Iterable<string>): string[] {
  const types = new Set<string>();
  for (const tag of tags) {
    const type = /^\{([A-Z]\w*)(\.\w+)?\}$/.exec(tag)?.[1];
    if (type !== undefined) types.add(type);
  }
  return [...types].sort();
}
