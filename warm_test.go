package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommandWarm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const product = "query Product($id: ID!) { product(id: $id) { name } }"
	one := write("product.graphql", product)
	write("product.json", `[{"id": "7"}, {"id": "8"}]`)
	two := write("lists.graphql", "query Users { users(first: 3) { nodes { name } } } query Countries { countries { name } }")
	p := startAs(t, patientGateway)
	listen := "LISTEN_ADDR=" + strings.TrimSuffix(strings.TrimPrefix(p.graphql, "http://"), "/graphql")
	if stdout, stderr := finish(t, []string{listen}, 0, "warm", one, two); stdout != "warmed: 4 operations, 0 of which were already cached\n" || stderr != "" {
		t.Errorf("got stdout %q and stderr %q", stdout, stderr)
	}
	eventually(t, "all responses are cached", func() bool {
		stdout, _ := finish(t, []string{listen}, 0, "warm", one, two)
		return stdout == "warmed: 4 operations, 4 of which were already cached\n"
	})
	r, _ := send(t, http.MethodPost, p.graphql, `{"query": "`+product+`", "operationName": "Product", "variables": {"id": "8"}}`, "Content-Type: application/json")
	if !isHit(r.Header.Get("Cache-Status")) {
		t.Errorf("got Cache-Status %s for a warmed operation, want a hit", r.Header.Get("Cache-Status"))
	}

	bad := write("bad.graphql", "{ nothing }")
	stdout, stderr := finish(t, []string{listen}, 1, "warm", one, bad)
	if !strings.Contains(stdout, "warmed: 2 operations") || !strings.Contains(stderr, "1 of 3 operations failed:\n"+bad+": ") || !strings.Contains(stderr, "nothing") {
		t.Errorf("got stdout %q and stderr %q", stdout, stderr)
	}
}

// Everything that cannot be sent is reported for all files at once, and nothing is sent.
func TestCommandWarmRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ document, variables, want string }{
		"a mutation":              {"mutation M { deleteUser(id: 1) { id } }", "", `cannot warm the mutation "M"`},
		"no GraphQL":              {"{", "", "Expected Name"},
		"a fragment only":         {"fragment F on User { id }", "", "no operation"},
		"variables of no object":  {"{ countries { name } }", "7", "is not a JSON object or a list of objects"},
		"an empty list of values": {"{ countries { name } }", "[]", "is an empty list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "it.graphql")
			if err := os.WriteFile(file, []byte(c.document), 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"warm", "/no/such.graphql", file}
			if c.variables != "" {
				args = append(args, "--variables", c.variables)
			}
			_, stderr := finish(t, nil, 2, args...)
			if !strings.Contains(stderr, c.want) || !strings.Contains(stderr, "/no/such.graphql: no such file") {
				t.Errorf("got stderr %q, want %q in it", stderr, c.want)
			}
		})
	}
}
