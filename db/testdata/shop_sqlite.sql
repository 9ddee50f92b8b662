-- The database of a shop that existed before fieldcache: a few rows, and indexes of its own.
CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (
  id           INTEGER PRIMARY KEY,
  name         text NOT NULL,
  email        VARCHAR(320) NOT NULL UNIQUE,
  bio          text,
  country_code text REFERENCES countries(code),
  created_at   DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at   DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  loyalty      int NOT NULL DEFAULT 0
);
CREATE TABLE products (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  name        varchar(200) NOT NULL,
  description text NOT NULL,
  category    text NOT NULL,
  price_cents bigint NOT NULL CHECK (price_cents >= 0),
  currency    text NOT NULL,
  stock       int NOT NULL CHECK (stock >= 0),
  created_at  DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at  DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE reviews (
  id         INTEGER PRIMARY KEY,
  product_id bigint NOT NULL REFERENCES products(id) ON DELETE CASCADE,
  author_id  bigint REFERENCES users(id) ON DELETE SET NULL,
  rating     int NOT NULL CHECK (rating BETWEEN 1 AND 5),
  body       text NOT NULL,
  created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE orders (
  id          INTEGER PRIMARY KEY,
  customer_id bigint NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  created_at  DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE order_lines (
  order_id         bigint NOT NULL REFERENCES orders(id) ON DELETE CASCADE,
  line_no          int NOT NULL,
  product_id       bigint NOT NULL REFERENCES products(id),
  quantity         int NOT NULL CHECK (quantity > 0),
  unit_price_cents bigint NOT NULL,
  currency         text NOT NULL,
  PRIMARY KEY (order_id, line_no)
);
INSERT INTO countries VALUES ('NO', 'Norway');
INSERT INTO users (name, email, country_code) VALUES ('Liv', 'liv@shop.example', 'NO');
INSERT INTO products (name, description, category, price_cents, currency, stock) VALUES ('Lamp', 'A lamp.', 'Lighting', 1999, 'EUR', 3);
INSERT INTO reviews (product_id, author_id, rating, body) VALUES (1, 1, 5, 'Bright.');
INSERT INTO orders (customer_id) VALUES (1);
INSERT INTO order_lines VALUES (1, 1, 1, 2, 1999, 'EUR');

CREATE INDEX users_by_country         ON users (country_code);
CREATE INDEX products_category_idx    ON products (category, id);
CREATE INDEX reviews_product_idx      ON reviews (product_id, id, rating);
CREATE INDEX orders_customer_idx      ON orders (customer_id); -- the needed name, but not the needed columns
CREATE INDEX reviews_partial_idx      ON reviews (author_id, id) WHERE rating = 5;
