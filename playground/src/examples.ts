type Example = { query: string; variables?: string; headers?: string };

/** What the headers editor holds in every tab that has nothing of its own. */
export const defaultHeaders = `{
  // What the cache did, in extensions.cache.
  "Cache-Debug": "1",
  // From: fieldcache token --user 42
  // "Authorization": "Bearer <token>",
}`;

/**
 * The tabs of a first visit; each is named after its operation. The first one has no variables,
 * because GraphiQL does not show those of the tab that it begins with.
 */
export const examples: Example[] = [
  {
    query: `# Run this twice: the second answer comes from
# the cache. extensions.cache says so for each
# part.
#
# user:42 is kept for a minute, a country for a
# day, a price for five minutes; the answer for
# as long as the shortest-lived of its parts.
query User {
  user(id: 42) {
    id
    name
    country {
      name
    }
    reviews(first: 3) {
      totalCount
      nodes {
        rating
        body
        product {
          name
          price {
            amount
            currency
          }
        }
      }
    }
  }
}
`,
  },
  {
    query: `# A product is kept under a key for each lifetime:
#   product:7          an hour
#   {product:7}:price  five minutes
#   {product:7}:stock  thirty seconds
# Run this again after half a minute: of all that,
# the stock alone is read anew.
query Products($first: Int!, $after: String) {
  products(first: $first, after: $after) {
    totalCount
    nodes {
      id
      name
      category
      price {
        amount
        currency
      }
      stock
      averageRating
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`,
    variables: `{
  "first": 7,
  // The endCursor of the page before.
  "after": null
}`,
  },
  {
    query: `# Evicts user:42 and no other user: run the tab
# User before and after. extensions.cache names
# the keys that were evicted.
mutation ChangeUser($id: ID!, $input: UpdateUserInput!) {
  updateUser(id: $id, input: $input) {
    id
    name
    bio
    updatedAt
  }
}
`,
    variables: `{
  "id": 42,
  "input": {
    "bio": "Reads the labels first."
  }
}`,
  },
  {
    query: `# Evicts {product:7}:stock, and leaves product:7
# and {product:7}:price where they are: run the
# tab Products afterwards, and only that stock
# is read anew.
mutation SetStock($productId: ID!, $stock: Int!) {
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
    query: `# Which ids were found is kept for thirty seconds.
# What they stand for comes from the keys that
# the other tabs use, so that a change to a user
# shows here at once.
query Search($text: String!) {
  search(text: $text, first: 5) {
    __typename
    ... on User {
      id
      name
    }
    ... on Product {
      id
      name
      price {
        amount
        currency
      }
    }
  }
}
`,
    variables: `{
  "text": "a"
}`,
  },
  {
    query: `# Needs a token in the headers below:
#   fieldcache token --user 42
# prints one. It is forgotten when this page is
# loaded again.
#
# The e-mail address and the orders are kept for
# this viewer alone: extensions.cache says private.
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
  "Cache-Debug": "1",
  "Authorization": "Bearer <token>"
}`,
  },
];
