package outbox

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"fieldcache/cache"
)

var reviewsInfo = TableInfo{PrimaryKey: []string{"id"}, Columns: map[string]Kind{
	"id": Integer, "product_id": Integer, "author_id": Integer, "rating": Integer, "body": Text,
	"meta": Unmatched, "token": UUID, "price": Numeric,
}}

func reviewsOnly(table string) (TableInfo, bool) { return reviewsInfo, table == "reviews" }

func TestRowTagsNameWhatChanged(t *testing.T) {
	row := Rows{Table: "reviews", Match: []string{"id"}, Columns: []string{"rating", "body"}}
	list := Rows{Table: "reviews", Match: []string{"product_id"}, Columns: []string{"product_id"}}
	mean := Rows{Table: "reviews", Match: []string{"product_id"}, Columns: []string{"rating"}}
	whole := Rows{Table: "reviews", Match: []string{"author_id", "product_id"}}
	every := Rows{Table: "reviews"}
	p, err := NewRowTags(reviewsOnly, row, list, mean, whole, every)
	if err != nil {
		t.Fatal(err)
	}
	was := Values{"id": "9", "product_id": "7", "author_id": "1"}
	for _, test := range []struct {
		name   string
		change Change
		want   []string // the things whose tags are evicted
	}{
		{"no relevant column", Change{Rows: []Row{{Was: was, Is: was}}}, nil},
		{"a column that some depend on", Change{Rows: []Row{{Was: was, Is: was, Changed: []string{"rating"}}}},
			[]string{"row 9", "mean 7", "whole 1,7", "every"}},
		{"a column that others depend on", Change{Rows: []Row{{Was: was, Is: was, Changed: []string{"body"}}}},
			[]string{"row 9", "whole 1,7", "every"}},
		{"a column that only unrestricted rows depend on", Change{Rows: []Row{{Was: was, Is: was, Changed: []string{"meta"}}}},
			[]string{"whole 1,7", "every"}},
		{"a matched column: old and new value", Change{Rows: []Row{{Was: was, Is: Values{"id": "9", "product_id": "8", "author_id": "1"}, Changed: []string{"product_id"}}}},
			[]string{"list 7", "mean 7", "list 8", "mean 8", "whole 1,7", "whole 1,8", "every"}},
		{"to null", Change{Rows: []Row{{Was: was, Is: Values{"id": "9", "product_id": "7"}, Changed: []string{"author_id"}}}},
			[]string{"whole 1,7", "whole null,7", "every"}},
		{"new", Change{Op: Insert, Rows: []Row{{Is: was}}},
			[]string{"row 9", "list 7", "mean 7", "whole 1,7", "every"}},
		{"gone", Change{Op: Delete, Rows: []Row{{Was: was}}},
			[]string{"row 9", "list 7", "mean 7", "whole 1,7", "every"}},
		{"another row under the primary key", Change{Rows: []Row{{Was: was, Is: Values{"id": "10", "product_id": "7", "author_id": "1"}}}},
			[]string{"row 9", "row 10", "list 7", "mean 7", "whole 1,7", "every"}},
		{"any row", Change{Op: Truncate},
			[]string{"row 9", "row 10", "list 7", "mean 7", "list 8", "mean 8", "whole 1,7", "whole 1,8", "whole null,7", "whole 2,7", "every"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.change.Table = "reviews"
			evicted := p.Evictions(test.change)
			check := func(name string, r Rows, values ...string) {
				tags, ok := p.Of(r).Append(nil, values...)
				if !ok {
					t.Fatalf("%s has no tags", name)
				}
				hit := slices.ContainsFunc(tags, func(tag cache.Tag) bool { return slices.Contains(evicted.Tags, tag) })
				if want := slices.Contains(test.want, name); hit != want {
					t.Errorf("%s: got evicted %v, want %v: its tags are %v, the eviction has %v", name, hit, want, tags, evicted.Tags)
				}
			}
			check("row 9", row, "9")
			check("row 10", row, "10")
			check("list 7", list, "7")
			check("list 8", list, "8")
			check("mean 7", mean, "7")
			check("mean 8", mean, "8")
			check("whole 1,7", whole, "1", "7")
			check("whole 1,8", whole, "1", "8")
			check("whole null,7", whole, cache.Null, "7")
			check("whole 2,7", whole, "2", "7")
			check("every", every)
		})
	}
}

func TestRowTagsReportAllFaults(t *testing.T) {
	_, err := NewRowTags(reviewsOnly,
		Rows{Table: "nothing"},
		Rows{Table: "reviews", Match: []string{"produkt_id"}, Columns: []string{"ratings"}},
		Rows{Table: "reviews", Match: []string{"meta"}},
	)
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{`no table "nothing"`, `no column "produkt_id"`, `no column "ratings"`, `column "meta" of table "reviews" cannot be matched`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in error %q", want, err)
		}
	}
}

// The number of tags of a changed row does not grow with the number of declarations.
func TestWritesDoNotCostMoreWithMoreDeclarations(t *testing.T) {
	columns := map[string]Kind{"id": Integer, "owner": Integer}
	names := make([]string, 20)
	for i := range names {
		names[i] = fmt.Sprintf("c%02d", i)
		columns[names[i]] = Text
	}
	info := TableInfo{PrimaryKey: []string{"id"}, Columns: columns}
	random := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1, 10, 50, 500} {
		rows := []Rows{{Table: "t", Match: []string{"owner"}, Columns: []string{"c00"}}}
		for len(rows) < n {
			r := Rows{Table: "t", Match: []string{"owner"}}
			for _, c := range names {
				if random.IntN(4) == 0 {
					r.Columns = append(r.Columns, c)
				}
			}
			rows = append(rows, r)
		}
		p, err := NewRowTags(func(string) (TableInfo, bool) { return info, true }, rows...)
		if err != nil {
			t.Fatal(err)
		}
		v := Values{"id": "1", "owner": "2"}
		ev := p.Evictions(Change{Table: "t", Op: Update, Rows: []Row{{Was: v, Is: v, Changed: []string{"c00"}}}})
		if len(ev.Tags) == 0 || len(ev.Tags) > 2 {
			t.Errorf("%d declarations: got %v for one changed column, want 1 or 2 tags", n, ev.Tags)
		}
		if all := p.Evictions(Change{Table: "t", Op: Insert, Rows: []Row{{Is: v}}}); len(all.Tags) > len(names)+2 {
			t.Errorf("%d declarations: got %d tags for a new row, want at most one for each column and two more", n, len(all.Tags))
		}
	}
}

func TestCanonicalTexts(t *testing.T) {
	for _, test := range []struct {
		kind  Kind
		equal []string // texts of one value
		other []string // texts of other values
		none  []string // texts of no value
	}{
		{Integer, []string{"7", "007", "+7"}, []string{"-7", "70"}, []string{"", "7.0", "seven", "99999999999999999999"}},
		{Numeric, []string{"1.5", "1.50", "01.5", "+1.500"}, []string{"-1.5", "15", "1.05"}, []string{"", ".", "1e3", "1,5"}},
		{Numeric, []string{"0", "-0", "0.00", "000"}, nil, nil},
		{Float, []string{"1.5", "1.50", "15e-1"}, []string{"-1.5"}, []string{"", "x"}},
		{Float, []string{"0", "-0"}, nil, nil},
		{Boolean, []string{"true", "t", "1"}, []string{"false", "f", "0"}, []string{"yes?"}},
		{UUID, []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
			"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "a0eebc999c0b4ef8bb6d6bb9bd380a11"},
			[]string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"},
			[]string{"", "a0eebc99", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-", "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}},
		{TimestampTZ, []string{"2026-03-01T12:00:00Z", "2026-03-01T12:00:00+00:00", "2026-03-01T14:00:00+02:00", "2026-03-01T12:00:00.000Z", "2026-03-01 12:00:00+00", "2026-03-01 17:30:00+05:30"},
			[]string{"2026-03-01T12:00:00.000001Z"}, []string{"", "yesterday", "2026-03-01T12:00:00", "2026-03-01 12:00:00", "2026-03-01T12:00:00.0000001Z"}},
		{Timestamp, []string{"2026-03-01T12:00:00", "2026-03-01T12:00:00Z", "2026-03-01 12:00:00", "2026-03-01T12:00:00.000+00:00"},
			[]string{"2026-03-01T12:00:00.000001Z"}, []string{"", "yesterday", "2026-03-01T14:00:00+02:00", "2026-03-01T12:00:00.0000001"}},
		{Date, []string{"2026-03-01", "2026-03-01T00:00:00Z", "2026-03-01T23:00:00"}, []string{"2026-03-02"}, []string{"2026-13-01", "2026-03-01T23:00:00-05:00", "2026-03-01Tx"}},
		{Text, []string{"Garden"}, []string{"garden", "Garden ", ""}, nil},
	} {
		t.Run(fmt.Sprint(test.kind, test.equal), func(t *testing.T) {
			first, _ := test.kind.canonical(test.equal[0])
			for _, text := range test.equal {
				if got, ok := test.kind.canonical(text); !ok || got != first {
					t.Errorf("%q: got %q, %v; want %q", text, got, ok, first)
				}
			}
			for _, text := range test.other {
				if got, ok := test.kind.canonical(text); !ok || got == first {
					t.Errorf("%q: got %q, %v; want another value", text, got, ok)
				}
			}
			for _, text := range test.none {
				if got, ok := test.kind.canonical(text); ok {
					t.Errorf("%q: got %q, want no value", text, got)
				}
			}
		})
	}
}

// A value that is not a label of the column's enum has no tags: it is compared in another form, or
// not at all.
func TestValuesThatAreNoLabels(t *testing.T) {
	info := TableInfo{PrimaryKey: []string{"id"}, Columns: map[string]Kind{"id": Integer, "state": Text}, Labels: map[string][]string{"state": {"open", "shut"}}}
	rows := Rows{Table: "doors", Match: []string{"id", "state"}}
	tags, err := NewRowTags(func(string) (TableInfo, bool) { return info, true }, rows)
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{"open": true, "shut": true, cache.Null: true, "OPEN": false, "any": false, "": false} {
		if list, ok := tags.Of(rows).Append(nil, "7", value); ok != want {
			t.Errorf("%q: got %v, %v", value, list, ok)
		}
	}
}

func FuzzRowTagsTellValuesApart(f *testing.F) {
	f.Add("a", "b", "a,b", "")
	f.Add("null", cache.Null, "1}:x", "1")
	f.Fuzz(func(t *testing.T, a1, b1, a2, b2 string) {
		tag1 := cache.RowsWhere("t", []string{"a", "b"}, []string{a1, b1})
		tag2 := cache.RowsWhere("t", []string{"a", "b"}, []string{a2, b2})
		if (tag1 == tag2) != (a1 == a2 && b1 == b2) {
			t.Errorf("%q %q has the tag %s, %q %q has the tag %s", a1, b1, tag1, a2, b2, tag2)
		}
	})
}
