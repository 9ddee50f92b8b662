package gotype

import (
	"testing"
	"time"
)

func TestDigestsTellContentsApart(t *testing.T) {
	type inner struct {
		A, B string
		c    int
	}
	x, y := "x", "x"
	var nothing *string
	now := time.Now()
	type loop struct{ next *loop }
	cycle := &loop{}
	cycle.next = cycle
	for _, same := range [][2]any{{&x, &y}, {inner{"a", "b", 1}, inner{"a", "b", 1}}, {map[string]int{"a": 1, "b": 2}, map[string]int{"b": 2, "a": 1}}, {now, now}} {
		a, ok1 := Digest(same[0])
		b, ok2 := Digest(same[1])
		if a != b || !ok1 || !ok2 {
			t.Errorf("%v and %v have the same content: got digests %s, %s", same[0], same[1], a, b)
		}
	}
	digests := map[string]any{}
	for _, v := range []any{
		nil, nothing, "", "x", &x, 1, int8(1), uint(1), 1.0, true, false, inner{"a", "b", 1}, inner{"a", "b", 2}, inner{"ab", "", 1},
		[]string{"a", "b"}, []string{"ab"}, []string{"a", "b", ""}, []string{}, []string(nil), [2]string{"a", "b"},
		map[string]string{"a": "b"}, map[string]string{"ab": ""}, map[string]string{}, []any{1}, []any{int64(1)}, []any{nil}, now, now.Add(1),
	} {
		d, ok := Digest(v)
		if other, taken := digests[d]; !ok || taken {
			t.Errorf("%#v has the digest of %#v, or none: %v", v, other, ok)
		}
		digests[d] = v
	}
	for _, v := range []any{cycle, func() {}, make(chan int)} {
		if d, ok := Digest(v); ok {
			t.Errorf("%T: got digest %s, want none", v, d)
		}
	}
}
