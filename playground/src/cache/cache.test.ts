import assert from 'node:assert/strict';
import { test } from 'node:test';
import { diff } from './diff.ts';
import { explain } from './headers.ts';
import { keyMeaning, tagMeaning, typesOf } from './evicted.ts';
import { bound, endsFirst, left, life, milliseconds, seconds, statements, totals, tree, type Node } from './model.ts';
import { describePolicies, policyOf, policyText, truthText } from './policies.ts';
import { readReport, type Part } from './report.ts';
import { comparable, type Run } from './run.ts';
import { Store } from './store.ts';

const part = (change: Partial<Part> = {}): Part => ({
  path: ['user'],
  coordinate: 'Query.user',
  key: 'user:42',
  tier: 'memory',
  status: 'hit',
  age: 2,
  ttl: 50,
  scope: 'public',
  tags: ['{User}'],
  ...change,
});

const run = (change: Partial<Run> = {}): Run => ({
  id: 1,
  at: 1_000_000,
  took: 10,
  query: '{ user(id: 42) { name } }',
  variables: {},
  operationName: null,
  kind: 'query',
  asker: '',
  asked: true,
  anew: false,
  status: 200,
  headers: [],
  report: { parts: [part()], evicted: [] },
  data: { user: { name: 'Zawadi' } },
  errors: [],
  ...change,
});

test('a report is read', async (t) => {
  await t.test('none was asked for', () => {
    assert.equal(readReport(undefined), null);
    assert.equal(readReport({ tracing: {} }), null);
  });
  await t.test('nothing was read', () => assert.deepEqual(readReport({ cache: null }), { parts: [], evicted: [] }));
  await t.test('parts', () => {
    const entry = {
      path: ['me', 'orders'], coordinate: 'User.orders', key: '{user:42}:orders:list:first=1', tier: 'redis', status: 'swr',
      age: 1, ttl: 0, loaded: 1_700_000_000_000, scope: 'private', tags: ['{Order}'], truth: 'rows', unstored: 'evicted meanwhile',
    };
    assert.deepEqual(readReport({ cache: [entry] })?.parts, [entry]);
  });
  await t.test('what a row brought along was read as well', () => {
    const row = { path: ['p'], key: 'product:7', tier: 'database', status: 'miss', age: 0, loaded: 5 };
    const stock = { path: ['p', 'stock'], key: '{product:7}:stock', tier: 'memory', status: 'hit', age: 0, loaded: 5 };
    const of = (...cache: object[]) => readReport({ cache })?.parts.map((p) => `${p.tier} ${p.status}`);
    assert.deepEqual(of(row, stock), ['database miss', 'database along']);
    assert.deepEqual(of({ ...row, tier: 'memory', status: 'hit' }, stock), ['memory hit', 'memory hit']);
    assert.deepEqual(of(row, { ...stock, loaded: 4 }), ['database miss', 'memory hit']);
  });
  await t.test('a mutation', () => {
    const report = readReport({
      cache: [
        { path: ['setStock'], coordinate: 'Mutation.setStock', evicted: ['{product:7}:stock'], evictedTags: null },
        { path: ['setStock'], coordinate: 'Mutation.setStock', key: 'product:7', tier: 'database', status: 'miss' },
      ],
    });
    assert.deepEqual(report?.evicted, [{ path: ['setStock'], coordinate: 'Mutation.setStock', keys: ['{product:7}:stock'], tags: [] }]);
    assert.equal(report?.parts.length, 1);
  });
  await t.test('what another server might send', () => {
    const report = readReport({ cache: [null, 7, { tier: 'disk', status: 'lukewarm', path: 'x', age: '3', tags: [4] }] });
    assert.deepEqual(report?.parts.map(({ tier, status, path, age }) => [tier, status, path, age]), [['database', 'lukewarm', [], undefined]]);
  });
  await t.test('the policy of the whole', () => {
    const report = readReport({ cache: [], cachePolicy: { cacheControl: 'max-age=30, public', maxAgeFrom: 'Product.stock' } });
    assert.deepEqual(report?.decision, { cacheControl: 'max-age=30, public', maxAgeFrom: 'Product.stock', scopeFrom: undefined });
  });
});

test('the tree follows the selection', () => {
  const parts = [
    part({ path: ['products'], key: 'list' }),
    part({ path: ['products', 'nodes', 10, 'price'], key: 'b' }),
    part({ path: ['products', 'nodes', 2, 'price'], key: 'a' }),
    part({ path: ['products', 'nodes'], key: 'product:10' }),
    part({ path: ['products', 'nodes'], key: 'product:2' }),
    part({ path: ['products', 'totalCount'], key: 'count' }),
    part({ path: ['me'], key: 'user:42' }),
    part({ path: [], key: 'unknown' }),
  ];
  const data = { me: {}, products: { totalCount: 3, nodes: [null, { name: '', price: {} }] } };
  const show = (nodes: readonly Node[]): unknown[] => nodes.map((n) => [n.id, n.parts.map((p) => p.key).join(' '), ...show(n.children)]);
  assert.deepEqual(show(tree(parts, data)), [
    ['me', 'user:42'],
    ['products', 'list', ['products.totalCount', 'count'], ['products.nodes', 'product:2 product:10', ['products.nodes.price', 'a b']]],
    ['*', 'unknown'],
  ]);
});

test('totals count parts, and keys once', () => {
  const all = totals([part(), part(), part({ key: 'b', tier: 'redis' }), part({ key: 'c', tier: 'database', status: 'miss', unstored: 'evicted meanwhile' })]);
  assert.deepEqual(all.from, { memory: 2, redis: 1, database: 1 });
  assert.deepEqual([all.parts, all.keys, all.unstored], [4, 3, 1]);
  assert.equal(all.status.get('hit'), 3);
});

test('statements are counted by fields and sorts', async (t) => {
  const list = part({ path: ['products'], key: '{products}:list:first=2', loaded: 1 });
  const row = (i: number, change: Partial<Part> = {}) => part({ path: ['products', 'nodes', i], key: `product:${i}`, loaded: 1, ...change });
  const stock = (i: number, change: Partial<Part> = {}) => part({ path: ['products', 'nodes', i, 'stock'], key: `{product:${i}}:stock`, loaded: 1, ...change });
  const miss: Partial<Part> = { tier: 'database', status: 'miss', loaded: 9 };
  const cases: [string, Part[], number, number][] = [
    ['all of it cached: stocks came with their rows', [list, row(1), row(2), stock(1), stock(2)], 0, 2],
    ['stocks that were read later', [list, row(1), row(2), stock(1, { loaded: 4 }), stock(2, { loaded: 4 })], 0, 3],
    ['one row read anew', [list, row(1), row(2, miss), stock(1), stock(2, { ...miss, status: 'along' })], 1, 1],
    ['stocks read anew, in one', [list, row(1), row(2), stock(1, miss), stock(2, miss)], 1, 2],
    ['nothing cached', [part({ ...miss, path: ['user'] }), part({ ...miss, path: ['user', 'country'], key: 'country:TZ' })], 2, 0],
    ['a load of somebody else', [part({ ...miss, status: 'collapsed' })], 0, 1],
    ['what the response has read itself', [part(miss), part({ path: ['user', 'reviews', 'nodes', 0, 'author'], loaded: 9 })], 1, 0],
  ];
  for (const [name, parts, sent, saved] of cases) await t.test(name, () => assert.deepEqual(statements(parts), { sent, saved }));
});

test('evictions are explained', () => {
  for (const [key, want] of Object.entries({
    'user:42': 'the row',
    '{product:7}:stock': 'stock of product:7',
    '{user:42}:reviews:count': 'count of reviews of user:42',
    '{user:42}:reviews:list:first=2': 'list of reviews of user:42',
    '{product:7}:relatedProducts(first=5)[category=garden]': 'relatedProducts of product:7',
  })) assert.equal(keyMeaning(key), want);
  for (const [tag, want] of Object.entries({
    '{Product}': 'everything with a Product',
    '{Product.relatedProducts}': 'all of Product.relatedProducts',
    '{product:7}:reviews': 'lists and counts of product:7’s reviews',
    '{products}:name': 'lists that depend on the name of products',
    '{rows:products}': 'values that depend on rows of products',
    '{rows:products:category=garden}': 'values that depend on rows of products where category is garden',
    'prices': 'everything with this tag',
  })) assert.equal(tagMeaning(tag), want);
  assert.deepEqual(typesOf(['{Product}', '{Product.relatedProducts}', '{rows:products}', '{countries}', '{Country}']), ['Country', 'Product']);
});

test('what bounds the whole', async (t) => {
  const short = part({ key: 'short', coordinate: 'Product.stock', ttl: 3 });
  await t.test('what ends first', () => {
    assert.equal(endsFirst([part(), short, part({ ttl: undefined })]), short);
    assert.equal(endsFirst([]), null);
    assert.equal(bound({ parts: [part(), short], evicted: [] }).field, 'Product.stock');
  });
  await t.test('what is not stored at all', () => {
    const b = bound({ parts: [short, part({ status: 'bypass', coordinate: 'Query.now', ttl: undefined })], evicted: [] });
    assert.deepEqual([b.field, b.blocking.length], ['Query.now', 1]);
  });
  await t.test('what the server says', () => {
    const decision = { cacheControl: 'max-age=10, private', maxAgeFrom: 'A.b', scopeFrom: 'A.c' };
    const b = bound({ parts: [short], evicted: [], decision });
    assert.deepEqual([b.cacheControl, b.field, b.privateBy], ['max-age=10, private', 'A.b', 'A.c']);
  });
  await t.test('what is private', () => assert.equal(bound({ parts: [part({ scope: 'private', coordinate: 'User.email' })], evicted: [] }).privateBy, 'User.email'));
});

test('times', () => {
  assert.deepEqual([0, 0.2, 45, 60, 250, 3600, 85_200, 90_000].map(seconds), ['0 s', '1 s', '45 s', '1 min', '4 min 10 s', '1 h', '23 h 40 min', '1 d 1 h']);
  assert.deepEqual([0.84, 12.3, 1340].map(milliseconds), ['0.8 ms', '12 ms', '1.3 s']);
  assert.deepEqual([left(part(), 20), left(part(), 60), life(part())], [30, 0, 52]);
});

test('headers are explained, those of caching first', async (t) => {
  const meanings = (headers: [string, string][], withReport = false) => Object.fromEntries(explain(headers, withReport).map((h) => [h.name, h.meaning]));
  await t.test('order and names', () => {
    const names = explain([['vary', 'Accept'], ['zone', '1'], ['etag', '"x"'], ['cache-control', 'no-store'], ['cache-status', 'a; hit']], false).map((h) => h.name);
    assert.deepEqual(names, ['Cache-Status', 'Cache-Control', 'ETag', 'Vary', 'Zone']);
  });
  await t.test('a hit', () => {
    const m = meanings([['cache-status', 'fieldcache; hit; ttl=41'], ['cache-control', 'max-age=60, private'], ['age', '19']]);
    assert.match(m['Cache-Status']!, /whole response was in memory.* 41 s more/);
    assert.match(m['Cache-Control']!, /^Only the client that asked may store it, for 1 min .* another 41 s\.$/);
    assert.match(m['Age']!, /19 s ago/);
  });
  for (const [value, want] of Object.entries({
    'fieldcache; fwd=miss; stored': /Every part was read.* stored now/,
    'fieldcache; fwd=partial': /Some parts/,
    'fieldcache; fwd=bypass': /mutation/,
    'fieldcache; fwd=bypass; detail=relay': /another gateway/,
    'fieldcache; fwd=bypass; detail=lease': /no gateway/,
    'fieldcache; fwd=stale': /did not respond/,
    'fieldcache; detail=overloaded': /refused: overloaded/,
  })) {
    await t.test(value, () => assert.match(meanings([['cache-status', value]])['Cache-Status']!, want));
  }
  await t.test('with the report', () => {
    const m = meanings([['cache-status', 'fieldcache; fwd=bypass'], ['cache-control', 'no-store']], true);
    assert.match(m['Cache-Status']!, /report is on/);
    assert.match(m['Cache-Control']!, /carries the cache report/);
  });
});

test('runs are compared', async (t) => {
  const miss = part({ tier: 'database', status: 'miss', age: 0, ttl: 60 });
  const of = (...parts: Part[]): Partial<Run> => ({ report: { parts, evicted: [] } });
  await t.test('a miss, then a hit', () => {
    const d = diff(run(of(miss)), run({ ...of(part()), at: 1_002_000, took: 1 }));
    assert.deepEqual(d.changes.map((c) => [c.field, c.from, c.to, c.why, c.trend]), [['user', 'database', 'memory', 'stored since the last run', 'better']]);
    assert.deepEqual([d.before, d.after, d.dataChanged], [10, 1, false]);
  });
  await t.test('evicted before its time', () => {
    const d = diff(run(of(part({ ttl: 50 }))), run({ ...of(miss), at: 1_009_000, data: {} }));
    assert.deepEqual([d.changes[0]?.why, d.changes[0]?.trend, d.dataChanged], ['evicted with 41 s left', 'worse', true]);
  });
  await t.test('expired', () => assert.equal(diff(run(of(part({ ttl: 5 }))), run({ ...of(miss), at: 1_006_000 })).changes[0]?.why, 'expired'));
  await t.test('evicted, and read by somebody else', () => {
    const d = diff(run(of(part({ ttl: 50, loaded: 1 }))), run({ ...of(part({ loaded: 2 })), at: 1_009_000 }));
    assert.deepEqual(d.changes.map((c) => [c.why, c.trend]), [['evicted with 41 s left, and stored anew by somebody else', 'other']]);
    assert.equal(diff(run(of(part({ loaded: 1 }))), run(of(part({ loaded: 1 })))).same, 1);
  });
  await t.test('past the cache', () => assert.match(diff(run(of(part())), run({ ...of(miss), anew: true })).changes[0]?.why ?? '', /no-cache/));
  await t.test('the same', () => {
    const d = diff(run(of(part(), part({ key: 'b' }))), run(of(part())));
    assert.deepEqual([d.changes.length, d.same, d.gone], [0, 1, 1]);
  });
  await t.test('alike parts of a list are one change', () => {
    const nodes = (p: Part) => [0, 1, 2].map((i) => ({ ...p, path: ['products', 'nodes', i, 'stock'], key: `{product:${i}}:stock` }));
    const d = diff(run(of(...nodes(part({ ttl: 3 })))), run({ ...of(...nodes(miss)), at: 1_005_000 }));
    assert.deepEqual(d.changes.map((c) => [c.field, c.parts.length, c.why]), [['products.nodes.stock', 3, 'expired']]);
  });
});

test('only runs of the same operation by the same viewer are compared', () => {
  assert.equal(comparable(run(), run({ variables: undefined })), true);
  for (const other of [{ query: '{ me { name } }' }, { variables: { id: 7 } }, { operationName: 'A' }, { asker: 'Bearer other' }]) {
    assert.equal(comparable(run(), run(other)), false, JSON.stringify(other));
  }
});

test('the store remembers the run before', () => {
  const store = new Store();
  let told = 0;
  const stop = store.subscribe(() => told++);
  const end = (r: Run) => (store.begin(), store.end(r));
  end(run());
  assert.equal(store.get().before, null);
  end(run({ id: 2, asker: 'Bearer other' }));
  assert.equal(store.get().before, null, 'another viewer’s run');
  end(run({ id: 3 }));
  assert.deepEqual([store.get().last?.id, store.get().before?.id, store.get().pending], [3, 1, 0]);
  stop();
  const before = told;
  store.show(true);
  assert.equal(told, before);
  assert.equal(store.get().open, true);
});

test('the rows that a part is made of', () => {
  const of = (truth: string | undefined, key: string, rows?: string) => truthText(part({ truth, key }), rows === undefined ? undefined : { maxAge: 30, scope: 'public', truth: 'rows', madeOf: [`${rows}: name`] });
  assert.equal(of('rows', 'product:7', 'rows products(id = {$key.id})'), 'rows products(id = 7)');
  assert.equal(of('rows', '{product:7}:stock', 'rows products(id = {$parent.id})'), 'rows products(id = 7)');
  assert.equal(of('rows', '{product:7}:relatedProducts(first=5)[category=garden]', 'rows products(category = {$parent.category})'), 'rows products(category = {$parent.category})');
  assert.equal(of('rows', '{products}:list:first=7', 'rows products'), 'rows products');
  const category = 'rows products(category = {$args.category})';
  assert.equal(of('rows', '{products}:list:first=7', category), 'rows products');
  assert.equal(of('rows', '{products}:category=garden:list:first=7', category), 'rows products(category = garden)');
  assert.equal(of('rows', 'query:products(category=garden,first=7)', category), 'rows products(category = garden)');
  const two = 'rows issues(project = {$args.project}, state = {$args.state})';
  assert.equal(of('rows', 'query:issues(project=core)', two), 'rows issues(project = core)');
  assert.equal(of('rows', 'query:issues(state=open)', two), 'rows issues(state = open)');
  assert.equal(of('rows', 'query:issues', two), 'rows issues');
  assert.equal(of('rows', 'query:issues(#5f2c)', two), two);
  assert.deepEqual([of('ttl', 'a:1', 'rows b'), of('rows', 'a:1'), of(undefined, 'a:1', 'rows b')], ['ttl', 'rows', '']);
});

test('a part of a field that says nothing of rows is cached as its key tells', () => {
  const product = { maxAge: 60, scope: 'public', truth: 'rows', key: 'product:<id>', madeOf: ['rows products(id = {$key.id}): name'] } as const;
  const stock = { ...product, key: '{product:<id>}:stock', madeOf: ['rows products(id = {$parent.id}): stock'] };
  const setStock = { maxAge: 60, scope: 'public' } as const;
  const policies = { Product: product, 'Product.stock': stock, 'Mutation.setStock': setStock };
  const of = (coordinate: string, key: string) => policyOf(part({ coordinate, key }), policies);
  assert.equal(of('Mutation.setStock', 'product:7'), product);
  assert.equal(of('Mutation.setStock', '{product:7}:stock'), stock);
  assert.equal(of('Product', 'anything'), product);
  assert.equal(of('Mutation.setStock', 'user:7'), setStock);
  assert.equal(of('Query.nothing', '{products}:list:first=2'), undefined);
});

test('policies are put behind descriptions', () => {
  const result = { data: { __schema: { types: [{ name: 'Product', fields: [{ name: 'stock', description: 'How many.' }, { name: 'id', description: null }] }, { name: 'ID' }] } } };
  describePolicies(result, { 'Product.stock': { maxAge: 30, scope: 'public', truth: 'rows' } });
  assert.deepEqual(result.data.__schema.types[0]?.fields?.map((f) => f.description), ['How many.\n\n**Cache:** 30 s, public, true by rows', null]);
  assert.equal(policyText({ maxAge: 0, scope: 'public' }), '**Cache:** not cached');
  assert.equal(policyText({ maxAge: null, scope: 'public', truth: 'ttl' }), '**Cache:** as long as its parent, public, true by ttl');
  assert.equal(
    policyText({ maxAge: 60, scope: 'private', truth: 'rows', madeOf: ['rows users: name'], key: '{user:<id>}:name', ageBy: 'User.name' }),
    '**Cache:** 1 min, private, true by rows users: name, key `{user:<id>}:name`, age by User.name',
  );
  assert.equal(describePolicies({ errors: [] }, {}).errors.length, 0);
});
