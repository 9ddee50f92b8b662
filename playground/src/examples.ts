type Example = { query: string; variables?: string; headers?: string };

/** The initial headers of every tab without its own. */
export const defaultHeaders = `{
  // From: fieldcache token --user 42
  // "Authorization": "Bearer <token>"
}`;

/**
 * The tabs of a first visit: what the cache does, in five steps, and what it does for a signed-in
 * user. Each tab is named after its operation. The first one has no variables, because GraphiQL
 * does not show those of the initial tab.
 */
export const examples: Example[] = [
  {
    query: `# 1. Miss
# Run this. Nothing is cached yet, so each part is read from the database.
# The Cache panel has one row for each, and shows how long it stays.
query Miss {
  user(id: 42) {
    name
    country {
      name
    }
    reviews(first: 2) {
      totalCount
      nodes {
        rating
        product {
          name
          price {
            amount
            currency
          }
          stock
        }
      }
    }
  }
}
`,
  },
  {
    query: `# 2. Hit
# Another query for the same data: run this within half a minute, and all of it comes from memory.
query Hit {
  customer: user(id: 42) {
    id
    name
    bio
    country {
      code
      name
    }
    reviews(first: 2) {
      totalCount
      nodes {
        body
        product {
          name
          stock
        }
      }
    }
  }
}
`,
  },
  {
    query: `# 3. Mixed ages
# A product has a key for each lifetime: product:7 an hour, {product:7}:price five minutes, {product:7}:stock half a minute.
# Run this, wait until the stocks' bars are empty, and run it again: the stocks are loaded again, in one statement, and nothing else.
query MixedAges($first: Int!) {
  products(first: $first) {
    nodes {
      id
      name
      price {
        amount
        currency
      }
      stock
    }
  }
}
`,
    variables: `{
  "first": 7
}`,
  },
  {
    query: `# 4. A mutation evicts
# This evicts the stock of product 7, but neither its name nor its price.
# When you see the response, the key is gone everywhere. Run MixedAges afterwards.
mutation Evict($productId: ID!, $stock: Int!) {
  setStock(productId: $productId, stock: $stock) {
    id
    name
    stock
  }
}
`,
    variables: `{
  "productId": 7,
  "stock": 12
}`,
  },
  {
    query: `# 5. psql evicts
# A write that bypasses the gateway evicts too. Run this, and paste into a terminal
#
# psql "$DATABASE_URL" -c "UPDATE products SET stock = stock + 1 WHERE id = 7"
#
# Then run this again: the panel shows what was evicted, and how long it would have stayed cached.
# (With the embedded database: sqlite3 fieldcache.db, and the same statement.)
query Psql {
  product(id: 7) {
    name
    price {
      amount
    }
    stock
    averageRating
  }
}
`,
  },
  {
    query: `# Private data
# This needs a token in the headers below. If the gateway has a JWT_SECRET, this prints one:
#
# fieldcache token --user 42
#
# The e-mail address and orders are cached for this viewer alone.
query SignedIn {
  me {
    id
    name
    email
    orders(first: 3) {
      totalCount
      nodes {
        createdAt
        total {
          amount
          currency
        }
        lines {
          quantity
          product {
            name
          }
        }
      }
    }
  }
}
`,
    headers: `{
  "Authorization": "Bearer <token>"
}`,
  },
];
