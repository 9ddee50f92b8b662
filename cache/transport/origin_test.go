package transport_test

import (
	"net/url"
	"slices"
	"testing"

	"fieldcache/cache/transport"
)

// A page of another origin can send these requests without a preflight. None of them runs a
// mutation.
func TestNoSimpleRequestRunsAMutation(t *testing.T) {
	t.Parallel()
	const boundary = "x"
	form := url.Values{"query": {change}}.Encode()
	multipart := "--x\r\nContent-Disposition: form-data; name=\"operations\"\r\n\r\n{\"query\":\"mutation { change }\"}\r\n--x\r\nContent-Disposition: form-data; name=\"map\"\r\n\r\n{}\r\n--x--\r\n"
	for name, c := range map[string]struct{ method, target, body, contentType string }{
		"GET":                        {"GET", get("query", change), "", ""},
		"HEAD":                       {"HEAD", get("query", change), "", ""},
		"GET of a hash and its text": {"GET", get("query", change, "extensions", `{"persistedQuery":{"version":1,"sha256Hash":"`+hash(change)+`"}}`), "", ""},
		"a form":                     {"POST", "/", form, "application/x-www-form-urlencoded"},
		"a form with files":          {"POST", "/", multipart, "multipart/form-data; boundary=" + boundary},
		"plain text":                 {"POST", "/", `{"query":"mutation { change }"}`, "text/plain"},
		"plain text in disguise":     {"POST", "/", `{"query":"mutation { change }"}`, "text/plain; application/json"},
		"no type":                    {"POST", "/", `{"query":"mutation { change }"}`, ""},
		"by URL":                     {"POST", get("query", change), "", ""},
		"by URL and a form":          {"POST", get("query", change), form, "application/x-www-form-urlencoded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(transport.Options{})
			var headers []string
			if c.contentType != "" {
				headers = []string{"Content-Type: " + c.contentType}
			}
			r := s.do(t, c.method, c.target, c.body, headers...)
			if len(s.ran) > 0 || r.StatusCode < 400 {
				t.Errorf("got %d and executed %q, want an error", r.StatusCode, s.ran)
			}
		})
	}
	s := serve(transport.Options{}) // the same mutation runs if the browser must send a preflight
	if s.do(t, "POST", "/", `{"query":"mutation { change }"}`, asJSON); !slices.Equal(s.ran, []string{"change"}) {
		t.Errorf("executed %q, want change", s.ran)
	}
}
