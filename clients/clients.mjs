// Checks real GraphQL clients against a server that has the demo data, allows everyone to mutate,
// and has CORS_ORIGINS=https://shop.example. The URL is the first argument: node clients.mjs
// http://127.0.0.1:8080/graphql
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from "@apollo/client";
import { BatchHttpLink } from "@apollo/client/link/batch-http";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { Client, fetchExchange } from "@urql/core";
import { persistedExchange } from "@urql/exchange-persisted";
import { GraphQLClient, batchRequests } from "graphql-request";

const url = process.argv[2];

// recorder returns a fetch that records its requests.
function recorder() {
  const requests = [];
  const record = async (input, init = {}) => {
    const { method = "GET", headers = {}, body } = init;
    const response = await fetch(input, init);
    requests.push({ method, url: new URL(input), headers: new Headers(headers), body: body && JSON.parse(body), status: response.status });
    return response;
  };
  return { requests, fetch: record };
}

const methods = (requests) => requests.map(({ method }) => method).join(" ");

const sha256 = (text) => createHash("sha256").update(text).digest("hex");

const country = gql`
  query Country($code: ID!) {
    country(code: $code) {
      code
      name
    }
  }
`;
const change = gql`
  mutation Change($bio: String!) {
    updateUser(id: 42, input: { bio: $bio }) {
      id
      bio
    }
  }
`;
const wrong = gql`
  query Wrong {
    users(first: -1) {
      totalCount
    }
  }
`;

function apollo(link) {
  return new ApolloClient({ link, cache: new InMemoryCache() });
}

test("Apollo Client asks by POST", async () => {
  const { requests, fetch } = recorder();
  const client = apollo(new HttpLink({ uri: url, fetch }));
  const read = await client.query({ query: country, variables: { code: "GB" } });
  assert.equal(read.data.country.name, "United Kingdom");
  const changed = await client.mutate({ mutation: change, variables: { bio: "by Apollo" } });
  assert.equal(changed.data.updateUser.bio, "by Apollo");
  await assert.rejects(client.query({ query: wrong }), (err) => {
    assert.ok(CombinedGraphQLErrors.is(err), String(err));
    assert.equal(err.errors[0].extensions.code, "BAD_USER_INPUT");
    assert.deepEqual(err.errors[0].path, ["users"]);
    return true;
  });
  assert.equal(methods(requests), "POST POST POST");
});

test("Apollo Client asks by hash and GET, and registers what is not known", async () => {
  const persisted = (fetch) =>
    apollo(
      ApolloLink.from([
        new PersistedQueryLink({ sha256, useGETForHashedQueries: true }),
        new HttpLink({ uri: url, fetch }),
      ]),
    );
  const first = recorder();
  const query = gql`
    query Registered {
      country(code: "FR") {
        name
      }
    }
  `;
  let read = await persisted(first.fetch).query({ query });
  assert.equal(read.data.country.name, "France");
  assert.equal(methods(first.requests), "GET POST");
  assert.equal(first.requests[0].url.searchParams.get("query"), null);

  const second = recorder();
  const client = persisted(second.fetch);
  read = await client.query({ query });
  assert.equal(read.data.country.name, "France");
  await client.mutate({ mutation: change, variables: { bio: "by hash" } });
  assert.equal(second.requests[0].method, "GET");
  assert.equal(second.requests[0].url.searchParams.get("query"), null);
  assert.ok(second.requests.slice(1).every(({ method }) => method === "POST"), "a mutation goes by POST");
});

test("Apollo Client batches", async () => {
  const { requests, fetch } = recorder();
  const client = apollo(new BatchHttpLink({ uri: url, fetch, batchInterval: 10 }));
  const codes = ["GB", "FR", "TZ"];
  const reads = await Promise.all(codes.map((code) => client.query({ query: country, variables: { code } })));
  assert.deepEqual(reads.map(({ data }) => data.country.code), codes);
  assert.equal(methods(requests), "POST");
  assert.equal(requests[0].body.length, 3);
});

test("urql asks by GET with nothing but accept", async () => {
  const { requests, fetch } = recorder();
  const client = new Client({ url, fetch, exchanges: [fetchExchange] });
  const read = await client.query(country, { code: "GB" });
  assert.equal(read.error, undefined);
  assert.equal(read.data.country.name, "United Kingdom");
  const changed = await client.mutation(change, { bio: "by urql" });
  assert.equal(changed.error, undefined);
  assert.equal(changed.data.updateUser.bio, "by urql");
  const refused = await client.query(wrong, {});
  assert.equal(refused.error.graphQLErrors[0].extensions.code, "BAD_USER_INPUT");
  assert.equal(methods(requests), "GET POST GET");
  assert.deepEqual([...requests[0].headers.keys()], ["accept"]);
});

test("urql asks by hash and registers what is not known", async () => {
  const query = gql`
    query RegisteredByUrql {
      country(code: "TZ") {
        name
      }
    }
  `;
  for (const expected of ["GET GET", "GET"]) {
    const { requests, fetch } = recorder();
    const exchanges = [persistedExchange({ preferGetForPersistedQueries: "force" }), fetchExchange];
    const read = await new Client({ url, fetch, exchanges }).query(query, {});
    assert.equal(read.error, undefined);
    assert.equal(read.data.country.name, "Tanzania");
    assert.equal(methods(requests), expected);
  }
});

test("graphql-request asks, changes and batches", async () => {
  const client = new GraphQLClient(url);
  assert.equal((await client.request(country, { code: "GB" })).country.name, "United Kingdom");
  assert.equal((await client.request(change, { bio: "by graphql-request" })).updateUser.bio, "by graphql-request");
  await assert.rejects(client.request(wrong), (err) => err.response.errors[0].extensions.code === "BAD_USER_INPUT");
  const both = await batchRequests(url, [
    { document: country, variables: { code: "GB" } },
    { document: country, variables: { code: "FR" } },
  ]);
  assert.deepEqual(both.map(({ data }) => data.country.code), ["GB", "FR"]);
  const byGet = new GraphQLClient(url, { method: "GET", jsonSerializer: JSON });
  assert.equal((await byGet.request(country, { code: "FR" })).country.name, "France");
});

test("fetch gets what it accepts, compressed as it accepts", async () => {
  const query = "{ countries { code name } }";
  const sizes = {};
  for (const encoding of ["identity", "gzip", "br"]) {
    const response = await fetch(`${url}?query=${encodeURIComponent(query)}`, {
      headers: { accept: "application/graphql-response+json", "accept-encoding": encoding },
    });
    assert.equal(response.status, 200);
    assert.equal(response.headers.get("content-type"), "application/graphql-response+json; charset=utf-8");
    assert.equal(response.headers.get("content-encoding"), encoding === "identity" ? null : encoding);
    sizes[encoding] = Number(response.headers.get("content-length"));
    assert.ok((await response.json()).data.countries.length > 10);
  }
  assert.ok(sizes.gzip < sizes.identity && sizes.br < sizes.identity, JSON.stringify(sizes));
});

test("fetch has what it keeps confirmed until it changes", async () => {
  const product = `${url}?query=${encodeURIComponent("{ product(id: 9) { name stock } }")}`;
  const ask = (etag) => fetch(product, { headers: etag ? { "if-none-match": etag } : {} });
  const first = await ask();
  const etag = first.headers.get("etag");
  assert.match(etag, /^"[^"]+"$/);
  assert.match(first.headers.get("cache-control"), /^max-age=30, public$/);
  const { stock } = (await first.json()).data.product;
  const same = await ask(etag);
  assert.equal(same.status, 304);
  assert.equal(same.headers.get("etag"), etag);
  assert.equal(await same.text(), "");
  const changed = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", "if-none-match": etag },
    body: JSON.stringify({ query: "mutation($n: Int!) { setStock(productId: 9, stock: $n) { stock } }", variables: { n: stock + 1 } }),
  });
  assert.equal((await changed.json()).data.setStock.stock, stock + 1);
  assert.equal(changed.headers.get("cache-control"), "no-store");
  const other = await ask(etag);
  assert.equal(other.status, 200);
  assert.notEqual(other.headers.get("etag"), etag);
  assert.equal((await other.json()).data.product.stock, stock + 1);
});

test("Apollo Client's query by hash is answered from the cache the second time", async () => {
  const query = gql`
    query AskedTwice {
      country(code: "FR") {
        code
        name
      }
    }
  `;
  const statuses = [];
  const noting = async (input, init) => {
    const response = await fetch(input, init);
    statuses.push(`${init.method} ${response.headers.get("cache-status")}`);
    return response;
  };
  for (let i = 0; i < 2; i++) {
    const link = ApolloLink.from([
      new PersistedQueryLink({ sha256, useGETForHashedQueries: true }),
      new HttpLink({ uri: url, fetch: noting }),
    ]);
    const read = await apollo(link).query({ query });
    assert.equal(read.data.country.name, "France");
  }
  assert.match(statuses[0], /^GET fieldcache; fwd=miss$/, "the hash is not known");
  assert.match(statuses.at(-1), /^GET fieldcache; hit; ttl=\d+$/, statuses.join("\n"));
});

test("a page of another origin asks first", async () => {
  const ask = (origin, headers) =>
    fetch(url, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": headers },
    });
  const allowed = await ask("https://shop.example", "authorization,content-type");
  assert.equal(allowed.status, 204);
  assert.equal(allowed.headers.get("access-control-allow-origin"), "https://shop.example");
  assert.match(allowed.headers.get("access-control-allow-headers"), /content-type/i);
  const refused = await ask("https://elsewhere.example", "content-type");
  assert.equal(refused.headers.get("access-control-allow-origin"), null);
});
