CREATE TYPE issue_state AS ENUM ('OPEN', 'CLOSED');
CREATE TABLE accounts (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), handle text NOT NULL UNIQUE, secret text);
CREATE TABLE projects (key text PRIMARY KEY, name text NOT NULL);
CREATE TABLE members (
	project_key text NOT NULL REFERENCES projects ON DELETE CASCADE,
	account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
	role text NOT NULL,
	PRIMARY KEY (project_key, account_id)
);
CREATE TABLE issues (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	project_key text NOT NULL REFERENCES projects ON DELETE CASCADE ON UPDATE CASCADE,
	number int NOT NULL,
	title text NOT NULL,
	state issue_state NOT NULL DEFAULT 'OPEN',
	points numeric,
	labels jsonb NOT NULL DEFAULT '[]',
	author_id uuid REFERENCES accounts ON DELETE SET NULL,
	UNIQUE (project_key, number)
);
CREATE INDEX ON issues (author_id);
CREATE TABLE comments (
	id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	issue_id uuid NOT NULL REFERENCES issues ON DELETE CASCADE,
	author_id uuid REFERENCES accounts ON DELETE SET NULL,
	body text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON comments (issue_id);
CREATE TABLE watches (
	account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
	issue_id uuid NOT NULL REFERENCES issues ON DELETE CASCADE,
	PRIMARY KEY (account_id, issue_id)
);
