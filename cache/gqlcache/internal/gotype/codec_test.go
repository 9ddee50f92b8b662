package gotype

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
)

func testTypes(t testing.TB) *Types {
	schema, err := gqlparser.LoadSchema(&ast.Source{Input: `
		type Query { value: String item: Item items: [[Item]] thing: Thing }
		interface Thing { id: ID! }
		union Item = Author | Issue
		type Author { id: ID! name: String! }
		type Issue implements Thing { id: ID! title: String! }`})
	if err != nil {
		t.Fatal(err)
	}
	return &Types{schema: schema, objects: map[string]reflect.Type{}, names: map[reflect.Type]string{}}
}

func (t *Types) codec(field string, typ reflect.Type) *Codec {
	return t.NewCodec(t.schema.Query.Fields.ForName(field), typ)
}

// TestWhatSurvivesIsTheSame draws random Go types and values. A value that survives according to
// its codec must decode to an equal value.
func TestWhatSurvivesIsTheSame(t *testing.T) {
	types := testTypes(t)
	random := rand.New(rand.NewPCG(20260301, 7))
	survived, lost := 0, 0
	for range 600 {
		typ := randomType(random, 3)
		codec := types.codec("value", typ)
		for range 5 {
			v := reflect.New(typ).Elem()
			fill(random, v, 3)
			box := codec.Box(v.Interface())
			if codec.Survives(box) != nil {
				lost++
				continue
			}
			survived++
			data, err := box.MarshalJSON()
			if err != nil {
				t.Fatalf("%v survives but cannot be encoded: %v", typ, err)
			}
			back, err := codec.Decode(data)
			if err != nil {
				t.Fatalf("%v survives but cannot be decoded from %s: %v", typ, data, err)
			}
			if !reflect.DeepEqual(box.Value, back.Value) {
				t.Fatalf("%v: %#v decodes as %#v from %s", typ, box.Value, back.Value, data)
			}
		}
	}
	if survived < 500 || lost < 100 {
		t.Errorf("got %d values that survive and %d that do not, want at least 500 and 100", survived, lost)
	}
}

var leaves = []reflect.Type{
	reflect.TypeFor[int](), reflect.TypeFor[int64](), reflect.TypeFor[uint8](), reflect.TypeFor[string](), reflect.TypeFor[bool](),
	reflect.TypeFor[float64](), reflect.TypeFor[float32](), reflect.TypeFor[any](), reflect.TypeFor[[]byte](), reflect.TypeFor[[3]byte](),
	reflect.TypeFor[lossy](), reflect.TypeFor[upper](), reflect.TypeFor[time.Duration](), reflect.TypeFor[hidden](),
}

// lossy encodes less than it contains.
type lossy struct{ A, B int }

func (l lossy) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `{"A":%d}`, l.A), nil }

// upper encodes as a different text.
type upper string

func (u upper) MarshalText() ([]byte, error) { return []byte("<" + u + ">"), nil }

type hidden struct {
	Shown  int
	hidden int
	next   *hidden
}

func randomType(r *rand.Rand, depth int) reflect.Type {
	if depth == 0 {
		return leaves[r.IntN(len(leaves))]
	}
	switch r.IntN(6) {
	case 0:
		return reflect.SliceOf(randomType(r, depth-1))
	case 1:
		return reflect.PointerTo(randomType(r, depth-1))
	case 2:
		return reflect.MapOf(reflect.TypeFor[string](), randomType(r, depth-1))
	case 3, 4:
		tags := []string{"", "", "", `json:"-"`, `json:",omitempty"`, `json:",omitzero"`, `json:"name"`, `json:"NAME"`, `json:",string"`, `json:"-,"`}
		var fields []reflect.StructField
		for i := range 1 + r.IntN(4) {
			fields = append(fields, reflect.StructField{
				Name: fmt.Sprintf("F%d", i), Type: randomType(r, depth-1), Tag: reflect.StructTag(tags[r.IntN(len(tags))]),
			})
		}
		return reflect.StructOf(fields)
	}
	return leaves[r.IntN(len(leaves))]
}

func fill(r *rand.Rand, v reflect.Value, depth int) {
	if r.IntN(5) == 0 || !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt([]int64{1, -1, math.MaxInt64, math.MinInt64, 1 << 53, 1<<53 + 1}[r.IntN(6)])
	case reflect.Uint8:
		v.SetUint(r.Uint64N(256))
	case reflect.Float32, reflect.Float64:
		v.SetFloat([]float64{0.1, 0, 1e300, math.NaN(), math.Inf(1), math.Copysign(0, -1)}[r.IntN(6)])
	case reflect.String:
		v.SetString([]string{"a", "\xff", "\u2028<>&", "\x00", "🦊", ""}[r.IntN(6)])
	case reflect.Interface:
		values := []any{1, 1.5, "x", true, nil, []any{1.0, "y"}, map[string]any{"a": 1}, []int{1}, time.Second}
		if x := values[r.IntN(len(values))]; x != nil {
			v.Set(reflect.ValueOf(x))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(r, v.Elem(), depth-1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(3), 3))
		for i := range v.Len() {
			fill(r, v.Index(i), depth-1)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(r, v.Index(i), depth-1)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for i := range r.IntN(3) {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(r, e, depth-1)
			v.SetMapIndex(reflect.ValueOf(fmt.Sprint("k", i)), e)
		}
	case reflect.Struct:
		if h, ok := v.Addr().Interface().(*hidden); ok {
			h.Shown, h.hidden = r.IntN(3), r.IntN(2)
			if r.IntN(3) == 0 {
				h.next = &hidden{}
			}
			return
		}
		for i := range v.NumField() {
			fill(r, v.Field(i), depth-1)
		}
	}
}

type (
	author struct{ ID, Name string }
	issue  struct{ ID, Title string }
	item   interface{ IsItem() }
)

func (author) IsItem() {}
func (*issue) IsItem() {}

func TestInterfacesComeBackInAFreshProcess(t *testing.T) {
	known := func() *Types {
		types := testTypes(t)
		types.note("Author", reflect.TypeFor[*author]())
		types.note("Issue", reflect.TypeFor[*issue]())
		return types
	}
	for _, test := range []struct {
		name, field string
		value       any
	}{
		{"one by value", "item", item(author{"1", "Ann"})},
		{"one by pointer", "item", item(&issue{"2", "It fails"})},
		{"a pointer in an interface", "item", item(&author{"1", "Ann"})},
		{"lists of lists", "items", [][]item{{author{"1", "Ann"}, nil}, nil, {}, {&issue{"2", "x"}}}},
		{"nil list", "items", [][]item(nil)},
	} {
		t.Run(test.name, func(t *testing.T) {
			typ := reflect.TypeOf(test.value)
			if test.field == "item" {
				typ = reflect.TypeFor[item]()
			}
			codec := known().codec(test.field, typ)
			box := codec.Box(test.value)
			if err := codec.Survives(box); err != nil {
				t.Fatal(err)
			}
			data, err := box.MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			back, err := known().codec(test.field, typ).Decode(data)
			if err != nil || !reflect.DeepEqual(back.Value, test.value) {
				t.Errorf("%#v decodes as %#v, error %v", test.value, back, err)
			}
		})
	}
}

func TestTypesThatNoResolverTells(t *testing.T) {
	type Author struct{ ID string }
	codec := testTypes(t).codec("item", reflect.TypeFor[any]())
	box := codec.Box(&Author{"1"})
	if err := codec.Survives(box); err != nil {
		t.Errorf("a type with the name of the object type: got error %v", err)
	}
	data, err := box.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := testTypes(t).codec("item", reflect.TypeFor[any]()).Decode(data); err == nil {
		t.Error("a process that never saw the type decoded its value")
	}
	if err := codec.Survives(codec.Box(struct{ X int }{1})); err == nil {
		t.Error("a type without a name was accepted as an object type")
	}
}

func TestTimesSurvive(t *testing.T) {
	codec := testTypes(t).codec("value", reflect.TypeFor[*time.Time]())
	now := time.Now() // with a monotonic reading
	for _, v := range []time.Time{now, now.UTC(), now.In(time.FixedZone("X", 5400)), {}} {
		box := codec.Box(&v)
		if err := codec.Survives(box); err != nil {
			t.Errorf("%v: %v", v, err)
		}
	}
	bad := time.Date(10001, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := codec.Survives(codec.Box(&bad)); err == nil {
		t.Error("the year 10001 survives, but JSON cannot represent it")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"v":[[{"t":"Author","v":{"ID":"1"}}]]}`))
	f.Add([]byte(`{"v":null,"w":1}`))
	types := testTypes(f)
	types.note("Author", reflect.TypeFor[*author]())
	codec := types.codec("items", reflect.TypeFor[[][]item]())
	f.Fuzz(func(t *testing.T, data []byte) {
		box, err := codec.Decode(data)
		if err != nil {
			return
		}
		if err := codec.Survives(box); err != nil {
			t.Errorf("the value decoded from %s does not survive: %v", data, err)
		}
	})
}
