package transport

import (
	"runtime"
	"strings"
	"testing"
)

// heavyBodies are requests of about a size whose values take many times as much.
var heavyBodies = map[string]func(size int) string{
	"objects":       func(size int) string { return inExtensions("[", `{"":0},`, size, "0]") },
	"empty objects": func(size int) string { return inExtensions("[", `{},`, size, "0]") },
	"empty lists":   func(size int) string { return inExtensions("[", `[],`, size, "0]") },
	"numbers":       func(size int) string { return inExtensions("[", `0,`, size, "0]") },
	"texts":         func(size int) string { return inExtensions("[", `"",`, size, "0]") },
	"a text":        func(size int) string { return inExtensions(`"`, `x`, size, `"`) },
	"nested": func(size int) string {
		return inExtensions("[", strings.Repeat(`{"":`, 9000)+"0"+strings.Repeat("}", 9000)+",", size, "0]")
	},
	"escaped texts":   func(size int) string { return inExtensions("[", `"\u0041\n",`, size, "0]") },
	"members":         func(size int) string { return inExtensions("{", "", 0, names(size/8)+`"":0}`) },
	"skipped members": func(size int) string { return `{"query":"{hello}",` + names(size/8) + `"":0}` },
}

func inExtensions(before, part string, size int, after string) string {
	n := 0
	if part != "" {
		n = size / len(part)
	}
	return `{"query":"{hello}","extensions":{"":` + before + strings.Repeat(part, n) + after + `}}`
}

// names returns n members with different names.
func names(n int) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	var b strings.Builder
	for i := range n {
		b.WriteString(`"`)
		for ; i > 0; i /= len(digits) {
			b.WriteByte(digits[i%len(digits)])
		}
		b.WriteString(`_":0,`)
	}
	return b.String()
}

// Whatever a body contains, its values take no more than it weighs.
func TestBodiesWeighWhatTheyTake(t *testing.T) {
	for name, body := range heavyBodies {
		t.Run(name, func(t *testing.T) {
			text := []byte(body(1 << 20))
			before := heap()
			list, _, refused := readBody(text, 10)
			if refused != nil {
				t.Fatal(refused.message)
			}
			taken, weight := heap()-before, weigh(text)
			t.Logf("%d bytes take %d and weigh %d", len(text), taken, weight)
			if taken > weight {
				t.Errorf("%d bytes take %d and weigh %d", len(text), taken, weight)
			}
			runtime.KeepAlive(list)
			runtime.KeepAlive(text)
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // far below
}
