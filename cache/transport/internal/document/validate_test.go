package document

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/core"
	"github.com/vektah/gqlparser/v2/validator/rules"
)

const zooSDL = `
	interface Named { name: String self: Named friends(first: Int = 1): [Named!] }
	type Cat implements Named { name: String self: Named friends(first: Int = 1): [Named!] age: Int cat: Cat lives: Int! }
	type Dog implements Named { name: String self: Named friends(first: Int = 1): [Named!] age: String cat: Cat lives: [Int] }
	union Pet = Cat | Dog
	type Query { name: String self: Query pet: Pet named: Named cat(id: ID, a: Int, b: Int): Cat dog: Dog users: [Query] }`

func zoo(tokens int) *Validator {
	return New(gqlparser.MustLoadSchema(&ast.Source{Input: zooSDL}), tokens, false)
}

// The number of tokens limits the cost of validating a request, whatever the shape of its
// documents.
func TestFault32ValidationIsBounded(t *testing.T) {
	t.Parallel()
	chain := func(n int, first, each, last string) string {
		var b strings.Builder
		b.WriteString(first)
		for i := range n {
			text := each
			if i == n-1 {
				text = last
			}
			fmt.Fprintf(&b, " fragment F%d on Query { %s }", i, strings.ReplaceAll(text, "NEXT", fmt.Sprintf("...F%d", i+1)))
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		document string
		steps    int    // at most; 0: no limit of the test
		want     string // the error; "": none
	}{
		"one field":                  {"{ cat(id: 1) {" + strings.Repeat(" name", 1985) + " } }", 10_000, ""},
		"inline fragments":           {"{ cat {" + strings.Repeat(" ... on Cat { name }", 330) + " } }", 5_000, ""},
		"nested duplicates":          {"{" + strings.Repeat(" self { self { self { self { name } } } }", 140) + " }", 10_000, ""},
		"40 levels of 20 duplicates": {strings.Repeat("{ name name name name name name name name name name name name name name name name name name name name self ", 40) + "{ name }" + strings.Repeat(" }", 40), 10_000, ""},
		"duplicates with arguments":  {"{" + strings.Repeat(" cat(id: 1, a: 2, b: 3) { name }", 120) + " }", 10_000, ""},
		"aliases":                    {"{" + strings.Repeat(" a: name", 660) + " }", 10_000, ""},
		"conflicts":                  {"{" + strings.Repeat(" a: name a: self { name }", 200) + " }", 10_000, "conflict"},
		"one fragment many times":    {"{" + strings.Repeat(" ...F", 900) + " } fragment F on Query { name }", 10_000, ""},
		"fragments that double":      {chain(60, "{ ...F0 }", "a: self { NEXT } b: self { NEXT }", "name"), 20_000, ""},
		"fragments merged doubly":    {chain(60, "{ ...F0 }", "self { NEXT } self { NEXT }", "name"), 20_000, ""},
		"a circle":                   {chain(2, "{ ...F0 }", "self { NEXT }", "self { ...F0 }"), 20_000, "within itself"},
		"circles":                    {"{ ...A }" + strings.ReplaceAll(" fragment A on Query {"+strings.Repeat(" self { ...A }", 300)+" }", "B", "A"), 20_000, "within itself"},
		"many operations":            {strings.Repeat("{ ...F }", 240) + " fragment F on Query {" + strings.Repeat(" name", 1000) + " }", 0, "too long to validate"},
		"interfaces in interfaces":   {"{ named " + strings.Repeat("{ self { name } ... on Cat { self { name } } ... on Dog { self { name } } self ", 60) + "{ name }" + strings.Repeat(" }", 60) + " }", 0, ""},
		"many variables":             {"query(" + strings.Repeat("$v: Int ", 300) + ") { cat(a: $v) { name } }", 20_000, "never used"},
		"many directives":            {"{ name" + strings.Repeat(" @skip(if: true)", 280) + " }", 20_000, "only be used once"},
		"many errors":                {"{" + strings.Repeat(" nmae", 1900) + " }", 20_000, "too many errors"},
		"a long name":                {"{ " + strings.Repeat("n", 300_000) + " }", 1, "longer than 256 bytes"},
		"a long value":               {`{ cat(a: "` + strings.Repeat("n", 300_000) + `") { name } }`, 20_000, "Int cannot represent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := zoo(2000)
			b := v.Budget()
			allowed := b.steps
			_, errs := v.Parse(t.Context(), c.document, b)
			if got := errs.Error(); c.want == "" && len(errs) > 0 || !strings.Contains(got, c.want) {
				t.Errorf("got %.500s\nwant %q", got, c.want)
			}
			if used := allowed - b.steps; c.steps > 0 && used > c.steps {
				t.Errorf("got %d steps, want at most %d", used, c.steps)
			}
			if len(errs) > maxErrors+1 {
				t.Errorf("got %d errors", len(errs))
			}
			for _, err := range errs {
				if len(err.Message) > maxMessageBytes+10 {
					t.Errorf("got a message of %d bytes", len(err.Message))
				}
			}
		})
	}
}

// The documents of a batch share one budget, and validation stops when the time of the request is
// over.
func TestFault32TheBudgetIsTheRequests(t *testing.T) {
	t.Parallel()
	v := zoo(2000)
	b := v.Budget()
	refused := 0
	for i := range 10 {
		document := fmt.Sprintf("query Q%d { ...F }", i) + strings.Repeat("{ ...F }", 100) + " fragment F on Query {" + strings.Repeat(" name", 300) + " }"
		if _, errs := v.Parse(t.Context(), document, b); strings.Contains(errs.Error(), "too long to validate") {
			refused++
		}
	}
	if refused < 8 {
		t.Errorf("%d of 10 documents were refused, want at least 8", refused)
	}

	over, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	_, errs := v.Parse(over, "{"+strings.Repeat(" name", 1000)+" }", v.Budget())
	if len(errs) != 1 || !errors.Is(errs, context.DeadlineExceeded) {
		t.Errorf("got error %v, want DeadlineExceeded", errs)
	}
}

// The rule finds a conflict exactly if gqlparser's rule does, which compares every pair of fields.
func TestOverlapRuleAgrees(t *testing.T) {
	t.Parallel()
	schema := gqlparser.MustLoadSchema(&ast.Source{Input: zooSDL})
	find := func(text string, rule core.Rule) gqlerror.List {
		doc, err := parser.ParseQuery(&ast.Source{Input: text})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return validator.ValidateWithRules(schema, doc, rules.NewRules(rule))
	}
	conflicts := 0
	const documents = 20_000
	for seed := range uint64(documents) {
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		text := g.document()
		if find(text, rules.NoFragmentCyclesRule) != nil {
			continue // gqlparser misses some of their conflicts
		}
		got := find(text, overlapRule(func(int) {}))
		want := find(text, rules.OverlappingFieldsCanBeMergedRule)
		if (len(got) > 0) != (len(want) > 0) {
			t.Fatalf("seed %d: %s\ngot %v\nwant %v", seed, text, got, want)
		}
		if len(got) > 0 {
			conflicts++
		}
	}
	if conflicts < documents/10 || conflicts > documents*9/10 {
		t.Errorf("%d of %d documents have a conflict, which is too few or too many", conflicts, documents)
	}
}

// generator generates documents.
type generator struct{ *rand.Rand }

func (g generator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g generator) document() string {
	// Each fragment is used, because another rule refuses unused ones.
	text := strings.TrimSuffix(g.set("Query", 3), "}") + "x: self { ...F0 } y: cat { ...F1 } z: named { ...F2 } }"
	for i, on := range []string{"Query", "Cat", "Named"} {
		text += fmt.Sprintf(" fragment F%d on %s %s", i, on, g.set(on, 1+g.IntN(2)))
	}
	return text
}

// set returns a selection of a type.
func (g generator) set(on string, depth int) string {
	var b strings.Builder
	b.WriteString("{")
	for range 1 + g.IntN(4) {
		b.WriteString(" " + g.selection(on, depth))
	}
	b.WriteString(" }")
	return b.String()
}

func (g generator) selection(on string, depth int) string {
	if depth == 0 {
		return g.one("a: ", "b: ", "") + map[string]string{"Query": "name", "Named": "name", "Pet": "__typename", "Cat": g.one("name", "age", "lives"), "Dog": g.one("name", "age", "lives")}[on]
	}
	alias := g.one("", "", "", "a: ", "b: ")
	arguments := g.one("", "", "(first: 1)", "(first: 2)")
	switch n := g.IntN(10); {
	case n < 3 && on != "Query":
		to := g.one("Cat", "Dog", "Named")
		return "... on " + to + " " + g.set(to, depth-1)
	case n == 3:
		return map[string]string{"Query": "...F0", "Cat": "...F1", "Dog": "...F2", "Named": g.one("...F1", "...F2"), "Pet": g.one("...F1", "...F2")}[on]
	case n < 6:
		return g.selection(on, 0)
	}
	switch on {
	case "Query":
		f := g.one("self Query", "pet Pet", "named Named", "cat Cat", "dog Dog", "users Query")
		name, to, _ := strings.Cut(f, " ")
		return alias + name + " " + g.set(to, depth-1)
	case "Cat", "Dog":
		if g.IntN(3) == 0 {
			return alias + "cat " + g.set("Cat", depth-1)
		}
		fallthrough
	case "Named":
		if g.IntN(2) == 0 {
			return alias + "friends" + arguments + " " + g.set("Named", depth-1)
		}
		return alias + "self " + g.set("Named", depth-1)
	}
	return "... on " + g.one("Cat", "Dog") + " { name }"
}
