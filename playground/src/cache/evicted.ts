/** Says of a key that a mutation evicted what was under it. */
export function keyMeaning(key: string): string {
  const of = /^\{(.+?)\}:(.+)$/.exec(key);
  if (of === null) return 'the row';
  const [, row, part] = of as unknown as [string, string, string];
  const [name, sort] = part.split(/[:(]/, 2) as [string, string?];
  return `${sort === 'list' || sort === 'count' ? `${sort} of ${name}` : name} of ${row}`;
}

/** Says of a tag that a mutation evicted what carries it. */
export function tagMeaning(tag: string): string {
  const rows = /^\{rows:(.+?)(?::(.+))?\}$/.exec(tag);
  if (rows !== null) return `what is made of rows of ${rows[1]}${rows[2] === undefined ? '' : ` where ${rows[2].replace('=', ' is ')}`}`;
  const type = /^\{([A-Z]\w*)\}$/.exec(tag);
  if (type !== null) return `whatever holds a ${type[1]}`;
  const field = /^\{([A-Z]\w*\.\w+)\}$/.exec(tag);
  if (field !== null) return `all of ${field[1]}`;
  const part = /^\{(.+?)\}:(\w+)$/.exec(tag);
  if (part === null) return 'whatever carries this tag';
  return part[1]!.includes(':') ? `lists and counts of ${part[1]}’s ${part[2]}` : `lists made of the ${part[2]} of ${part[1]}`;
}

/** The types whose entries the tags name: "{Product}", "{Product.relatedProducts}". */
export function typesOf(tags: Iterable<string>): string[] {
  const types = new Set<string>();
  for (const tag of tags) {
    const type = /^\{([A-Z]\w*)(\.\w+)?\}$/.exec(tag)?.[1];
    if (type !== undefined) types.add(type);
  }
  return [...types].sort();
}
