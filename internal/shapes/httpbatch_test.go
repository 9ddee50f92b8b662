package shapes_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql/executor"

	"fieldcache/cache/transport"
)

// Middleware that gives each request its loaders gives one set of them to all operations of a batch.
// What they keep from before a mutation of the batch is not cached for others.
func TestLoadersOfABatchKeepOldRows(t *testing.T) {
	t.Parallel()
	shape := shapes["dataloader"]
	const streets = `{customers{address{street}}}`
	for _, inside := range []bool{true, false} {
		t.Run(fmt.Sprint("in the handler of the gateway: ", inside), func(t *testing.T) {
			t.Parallel()
			p := shape.open(t, shape.database(t, "sqlite", lite(t)), "")
			schema, around := shape.build(p.db)
			exec := executor.New(schema)
			exec.Use(p.gateway)
			batches, err := transport.NewHandler(exec, transport.Options{})
			if err != nil {
				t.Fatal(err)
			}
			handler := around(batches)
			if inside {
				handler = p.gateway.Handler(handler)
			}
			url, reader := listen(t, handler), listen(t, p.whole)
			for i := range 3 {
				street := fmt.Sprintf("Street %d", i)
				batch, _ := json.Marshal([]map[string]string{ // strings can always be marshaled
					{"query": streets}, {"query": fmt.Sprintf(`mutation{move(customer:1,street:%q){id}}`, street)}, {"query": streets},
				})
				if r, _ := send(t, http.MethodPost, url, string(batch), inJSON); strings.Contains(r.Body, "errors") {
					t.Fatal(r.Body)
				}
				if r, _ := send(t, http.MethodPost, reader, queryBody(streets), inJSON); !strings.Contains(r.Body, street) {
					t.Errorf("after a batch with a mutation: got %s, want %s", r.Body, street)
				}
			}
		})
	}
}
