package graph_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"fieldcache/graph"
)

// The operations of the benchmarks: an entity, a list of mixed max ages, a nested list.
var operations = map[string]string{
	"entity": `{ user(id: 1) { id name bio country { code name } } }`,
	"list":   `{ products(first: 20) { nodes { id name price { amount currency } stock averageRating } } }`,
	"nested": `{ user(id: 1) { id name reviews(first: 10) { nodes { rating body product { id name price { amount currency } stock } } } } }`,
}

// BenchmarkMemory measures operations whose values are all in memory.
func BenchmarkMemory(b *testing.B) {
	s := open(b, sqlite(b), "")
	for name, query := range operations {
		b.Run(name, func(b *testing.B) {
			body, err := json.Marshal(map[string]string{"query": query})
			if err != nil {
				b.Fatal(err)
			}
			ctx := graph.WithViewer(b.Context(), everyone)
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/graphql", bytes.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				w := httptest.NewRecorder()
				s.handler.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Body)
				}
			}
		})
	}
}
