package gotype

import (
	"database/sql"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
)

type status string

type owner struct {
	ID    int64
	Name  sql.NullString
	Boss  *owner
	State status
}

func (o *owner) FullName() string { return "of " + o.Name.String }

type input struct {
	Region graphql.Omittable[*string]
	Inner  *input
}

type id16 [2]byte

func (i id16) String() string { return "id-" + string(i[:]) }

func TestGetter(t *testing.T) {
	region := "EU"
	o := owner{ID: 7, Boss: &owner{ID: 9, Name: sql.NullString{String: "Ann", Valid: true}}, State: "OPEN"}
	for _, test := range []struct {
		name  string
		value any
		path  []string
		want  string
		ok    bool
	}{
		{"a field", o, []string{"id"}, "7", true},
		{"through a pointer", &o, []string{"id"}, "7", true},
		{"a path", &o, []string{"boss", "id"}, "9", true},
		{"null in SQL", &o, []string{"name"}, cache.Null, true},
		{"not null in SQL", &o, []string{"boss", "name"}, "Ann", true},
		{"nil within the path", &o, []string{"boss", "boss", "id"}, cache.Null, true},
		{"a method", &o, []string{"boss", "full_name"}, "of Ann", true},
		{"a method of a value that has no address", o, []string{"fullName"}, "of ", true},
		{"a named text", &o, []string{"state"}, "OPEN", true},
		{"no such name", &o, []string{"age"}, "", false},
		{"no scalar", &o, []string{"boss"}, "", false},
		{"a map", map[string]any{"id": 7}, []string{"id"}, "7", true},
		{"omittable", input{Region: graphql.OmittableOf(&region)}, []string{"region"}, "EU", true},
		{"omitted", input{}, []string{"region"}, cache.Null, true},
		{"a nil pointer", (*owner)(nil), []string{"id"}, cache.Null, true},
		{"nil", nil, []string{"id"}, cache.Null, false},
		{"the value itself", 7, nil, "7", true},
		{"an array with a text", id16{'a', 'b'}, nil, "id-ab", true},
		{"a time", time.Date(2026, 3, 1, 14, 0, 0, 0, time.FixedZone("", 7200)), nil, "2026-03-01T12:00:00Z", true},
		{"a float", 1.5, nil, "1.5", true},
		{"a list", []int{1}, nil, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewGetter(test.path...)
			for range 2 { // the second call uses what the first one found
				if got, ok := g.Text(test.value); got != test.want || ok != test.ok {
					t.Errorf("got %q, %v, want %q, %v", got, ok, test.want, test.ok)
				}
			}
		})
	}
}

// A model may hold another value under the name of a field of the schema.
func TestGetterOfOtherNames(t *testing.T) {
	def := &ast.Definition{Kind: ast.Object, Name: "Row", Fields: ast.FieldList{{Name: "id", Directives: ast.DirectiveList{{
		Name: "goField", Arguments: ast.ArgumentList{{Name: "name", Value: &ast.Value{Kind: ast.StringValue, Raw: "Code"}}},
	}}}}}
	type row struct {
		ID   int
		Code string
	}
	type base struct {
		Code string `gql:"id,omitempty"`
	}
	type tagged struct {
		base
		ID int
	}
	type both struct {
		ID   int    `db:"id" json:"id"`
		Code string `db:"code,id"`
	}
	for _, test := range []struct {
		name  string
		value any
		def   *ast.Definition
		want  string
		ok    bool
	}{
		{"@goField names it", row{7, "a"}, def, "a", true},
		{"@goField names what a model lacks", both{ID: 7}, nil, "7", true},
		{"a map has the schema's name", map[string]any{"id": "m", "code": "c"}, def, "m", true},
		{"a tag gives the name to another field", struct {
			ID  int    `json:"-"`
			Key string `json:"id"`
		}{7, "a"}, nil, "", false},
		{"a tag gives the name to a field of an embedded struct", tagged{base{"a"}, 7}, nil, "", false},
		{"tags of the same name", both{7, "a"}, nil, "7", true},
	} {
		if got, ok := NewFieldGetter(test.def, "id").Text(test.value); got != test.want || ok != test.ok {
			t.Errorf("%s: got %q, %v, want %q, %v", test.name, got, ok, test.want, test.ok)
		}
	}
}
