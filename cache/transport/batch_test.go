package transport_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"

	"fieldcache/cache/transport"
)

func TestBatch(t *testing.T) {
	t.Parallel()
	many := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(hello+",", n), ",") + "]" }
	for name, c := range map[string]struct {
		body   string
		status int
		answer string // a part of it
		ran    int
	}{
		"one":               {many(1), 200, "[" + answer + "]", 1},
		"as many as may be": {many(10), 200, answer + "," + answer + "]", 10},
		"one too many":      {many(11), 400, `"code":"BAD_REQUEST"`, 0},
		"none":              {" [ ] ", 400, `"code":"BAD_REQUEST"`, 0},
		"in order": {`[{"query":"{ a: hello }"},{"query":"{ helo }"},{"query":"mutation { change }"},{"query":"{ b: hello }"}]`, 200,
			`[{"data":{"a":"hello you"}},{"errors":[{"message":"Cannot query field \"helo\" on type \"Query\".`, 3},
		"a mutation's turn":     {`[{"query":"{ a: hello }"},{"query":"mutation { change }"},{"query":"{ b: hello }"}]`, 200, `[{"data":{"a":"hello you"}},{"data":{"change":"change"}},{"data":{"b":"hello you"}}]`, 3},
		"one that is unknown":   {`[` + hello + `,{"extensions":{"persistedQuery":{"version":1,"sha256Hash":"` + hash("x") + `"}}}]`, 200, `[` + answer + `,{"errors":[{"message":"PersistedQueryNotFound"`, 1},
		"one that is no object": {`[` + hello + `,1]`, 400, `"code":"BAD_REQUEST"`, 0},
		"one that has no query": {`[` + hello + `,{}]`, 400, `"code":"BAD_REQUEST"`, 0},
		"one that is no JSON":   {`[` + hello + `,{]`, 400, `"code":"BAD_REQUEST"`, 0},
		"an unterminated batch": {`[` + hello, 400, `"code":"BAD_REQUEST"`, 0},
		"a comma too many":      {`[` + hello + `,]`, 400, `"code":"BAD_REQUEST"`, 0},
		"a comma too few":       {`[` + hello + hello + `]`, 400, `"code":"BAD_REQUEST"`, 0},
		"data after the batch":  {many(1) + "]", 400, `"code":"BAD_REQUEST"`, 0},
		"a batch in a batch":    {`[` + many(1) + `]`, 400, `"code":"BAD_REQUEST"`, 0},
		"null in a batch":       {`[null]`, 400, `"code":"BAD_REQUEST"`, 0},
		"a panic and a query":   {`[{"query":"{ hello(name: \"panic\") }"},` + hello + `]`, 200, `},` + answer + `]`, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(transport.Options{})
			usual := s.field
			s.field = func(ctx context.Context, name string, args map[string]any) (string, error) {
				if args["name"] == "panic" {
					panic("out of order")
				}
				return usual(ctx, name, args)
			}
			r := s.do(t, "POST", "/", c.body, asJSON)
			if body := text(t, r); r.StatusCode != c.status || !strings.Contains(body, c.answer) || !json.Valid([]byte(body)) {
				t.Errorf("got %d %.1000s", r.StatusCode, body)
			}
			if len(s.ran) != c.ran {
				t.Errorf("executed %q", s.ran)
			}
		})
	}
}

// The queries of a batch are executed concurrently. In a batch with a mutation, each operation
// waits for the one before it.
func TestBatchAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(transport.Options{})
	var meet sync.WaitGroup
	meet.Add(3)
	s.field = func(context.Context, string, map[string]any) (string, error) {
		meet.Done()
		meet.Wait() // until all three have arrived
		return "1", nil
	}
	body := "[" + hello + "," + hello + "," + hello + "]"
	if got := text(t, s.do(t, "POST", "/", body, asJSON)); strings.Count(got, `{"data":{"hello":1}}`) != 3 {
		t.Error(got)
	}

	s = serve(transport.Options{})
	s.do(t, "POST", "/", `[`+hello+`,{"query":"mutation { change }"},{"query":"{ broken }"}]`, asJSON)
	if want := []string{"hello", "change", "broken"}; !slices.Equal(s.ran, want) {
		t.Errorf("executed %q, want %q", s.ran, want)
	}
}
