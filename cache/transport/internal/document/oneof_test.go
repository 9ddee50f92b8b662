package document

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

// An input object with @oneOf must have exactly one field that is not null, in variables and in
// literals.
func TestFault20OneOf(t *testing.T) {
	t.Parallel()
	v := New(gqlparser.MustLoadSchema(&ast.Source{Input: `
		input By @oneOf { id: ID name: String range: Range }
		input Range { from: Int! to: Int }
		type Query { find(by: By!): Int all(by: [By!]): Int deep(in: Deep): Int }
		input Deep { by: By }`}), 1000, false)
	for _, c := range []struct{ query, variables, want string }{
		{`query($v: By!) { find(by: $v) }`, `{"v": {"id": "1"}}`, ""},
		{`query($v: By!) { find(by: $v) }`, `{"v": {"range": {"from": 1}}}`, ""},
		{`query($v: By!) { find(by: $v) }`, `{"v": {}}`, `Variable "$v": Exactly one field of "By" must be given`},
		{`query($v: By!) { find(by: $v) }`, `{"v": {"id": null}}`, `Variable "$v": Exactly one field of "By" must be given`},
		{`query($v: By!) { find(by: $v) }`, `{"v": {"id": "1", "name": "a"}}`, `Variable "$v": Exactly one field of "By" must be given`},
		{`query($v: By!) { find(by: $v) }`, `{"v": {"id": "1", "name": null}}`, `Variable "$v": Exactly one field of "By" must be given`},
		{`query($v: By!) { find(by: $v) }`, `{"v": {"range": {"from": null}}}`, `Variable "$v.range.from": cannot be null`},
		{`query($v: [By!]) { all(by: $v) }`, `{"v": [{"id": "1"}, {"id": "1", "name": "a"}]}`, `Variable "$v[1]": Exactly one field of "By" must be given`},
		{`query($v: Deep) { deep(in: $v) }`, `{"v": {"by": {}}}`, `Variable "$v.by": Exactly one field of "By" must be given`},
		{`query($v: Deep) { deep(in: $v) }`, `{"v": {"by": null}}`, ""},
		{`{ find(by: {id: 1}) }`, `{}`, ""},
		{`{ find(by: {id: 1, name: "a"}) }`, `{}`, "exactly one key"},
		{`{ find(by: {}) }`, `{}`, "exactly one key"},
		{`{ find(by: {id: null}) }`, `{}`, "must be non-null"},
		{`query($id: ID!) { find(by: {id: $id}) }`, `{"id": "1"}`, ""},
		{`query($id: ID) { find(by: {id: $id}) }`, `{"id": "1"}`, "must be non-nullable"},
		{`query($id: ID = "1") { find(by: {id: $id}) }`, `{"id": null}`, "must be non-nullable"},
		{`query F { ...F } query($id: ID) { ...F } fragment F on Query { find(by: {id: $id}) }`, `{"id": null}`, "not defined"},
	} {
		got := ""
		doc, errs := v.Parse(t.Context(), c.query, v.Budget())
		if len(errs) > 0 {
			got = errs.Error()
		} else {
			var given map[string]any
			d := json.NewDecoder(strings.NewReader(c.variables))
			d.UseNumber()
			if err := d.Decode(&given); err != nil {
				t.Fatal(err)
			}
			coercion := coercer{schema: v.schema, op: doc.Operations[0]}
			if _, err := coercion.coerce(given); err != nil {
				got = err.Error()
			}
		}
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s with %s: got error %q, want %q", c.query, c.variables, got, c.want)
		}
	}
}
