package transport_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"fieldcache/cache/answers"
	"fieldcache/cache/transport"
)

func TestAccept(t *testing.T) {
	t.Parallel()
	const none = ""
	s := serve(transport.Options{})
	for accept, want := range map[string]string{
		"":                                  jsonType,
		"*/*":                               jsonType,
		"application/*":                     jsonType,
		"application/json":                  jsonType,
		"APPLICATION/JSON":                  jsonType,
		"application/json; charset=utf-8":   jsonType,
		`application/json;charset="UTF-8"`:  jsonType,
		"application/json; charset=latin-1": none,
		"application/graphql-response+json": newType,
		"application/graphql-response+json, application/json;q=0.9":                                                         newType,
		"application/json;q=0.9, application/graphql-response+json":                                                         newType,
		"application/graphql-response+json;q=0.1, application/json;q=0.2":                                                   jsonType,
		"application/json, application/graphql-response+json":                                                               newType,
		"application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed": newType,
		"application/graphql-response+json, */*":                                                                            newType,
		"application/graphql-response+json;q=0.5, */*":                                                                      jsonType,
		"text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8":                                        jsonType,
		"application/json;q=0, */*":                                                                                         newType,
		"application/json;q=0.000":                                                                                          none,
		"*/*;q=0":                                                                                                           none,
		"application/*;q=0, application/json":                                                                               jsonType,
		"text/html":                                                                                                         none,
		"application/jsonp":                                                                                                 none,
		"application/json;q=x":                                                                                              none,
		"application/json;q=2":                                                                                              none,
		`application/json;profile="a,b;q=0"`:                                                                                jsonType,
		`text/plain;x="application/json, \"*/*", text/html`:                                                                 none,
		",, application/json ,":                                                                                             jsonType,
	} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			r := s.do(t, "POST", "/", hello, asJSON, "Accept: "+accept)
			got := r.Header.Get("Content-Type")
			if want == none && r.StatusCode != 406 || want != none && (r.StatusCode != 200 || got != want) {
				t.Errorf("got %d %s, want %q", r.StatusCode, got, want)
			}
		})
	}
	if r := s.do(t, "POST", "/", hello, asJSON, "Accept: text/html", wantsNew); r.Header.Get("Content-Type") != newType {
		t.Errorf("two headers: got %v", r.Header)
	}
}

func TestAcceptEncoding(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("many words ", 1000)
	s := serve(transport.Options{})
	s.field = func(_ context.Context, _ string, args map[string]any) (string, error) {
		if args["name"] == "small" {
			return `"little"`, nil
		}
		return fmt.Sprintf("%q", large), nil
	}
	for accept, want := range map[string]string{
		"":                         "",
		"gzip":                     "gzip",
		"x-gzip":                   "gzip",
		"GZIP":                     "gzip",
		"br":                       "br",
		"zstd":                     "zstd",
		"gzip, deflate, br":        "br",
		"gzip, deflate, br, zstd":  "zstd",
		"gzip;q=1, br;q=0.9":       "gzip",
		"gzip;q=0":                 "",
		"gzip;q=0, *":              "zstd",
		"*":                        "zstd",
		"*;q=0":                    "",
		"identity":                 "",
		"identity, gzip;q=0.5":     "",
		"identity;q=0.5, gzip":     "gzip",
		"identity, gzip":           "gzip",
		"deflate":                  "",
		"compress;q=0.5, br;q=0.1": "br",
	} {
		t.Run(accept, func(t *testing.T) {
			t.Parallel()
			r := s.do(t, "POST", "/", hello, asJSON, "Accept-Encoding: "+accept)
			sent := text(t, r)
			if got := r.Header.Get("Content-Encoding"); got != want {
				t.Fatalf("got Content-Encoding %q, want %q", got, want)
			}
			if r.Header.Get("Content-Length") != fmt.Sprint(len(sent)) || want != "" && len(sent) > len(large)/10 {
				t.Errorf("got %d bytes, headers %v", len(sent), r.Header)
			}
			if got := expand(t, want, sent); got != fmt.Sprintf(`{"data":{"hello":%q}}`, large) {
				t.Errorf("got content %.100s", got)
			}
		})
	}
	r := s.do(t, "POST", "/", `{"query":"{ hello(name: \"small\") }"}`, asJSON, "Accept-Encoding: gzip")
	if got := text(t, r); r.Header.Get("Content-Encoding") != "" || got != `{"data":{"hello":"little"}}` {
		t.Errorf("small response: got %s", got)
	}
}

func expand(t testing.TB, encoding, sent string) string {
	t.Helper()
	var r io.Reader = strings.NewReader(sent)
	var err error
	switch encoding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "br":
		r = brotli.NewReader(r)
	case "zstd":
		var d *zstd.Decoder
		d, err = zstd.NewReader(r)
		if err == nil {
			t.Cleanup(d.Close)
		}
		r = d
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCompress(t *testing.T) {
	t.Parallel()
	c, err := answers.NewCompressor()
	if err != nil {
		t.Fatal(err)
	}
	compressible := bytes.Repeat([]byte("abcd"), 1000)
	noise := make([]byte, 4000) // pseudo-random, so that it does not compress
	for i, x := 0, uint32(1); i < len(noise); i++ {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		noise[i] = byte(x)
	}
	for _, e := range []answers.Encoding{answers.Gzip, answers.Brotli, answers.Zstd} {
		first, got := c.Compress(compressible, e)
		again, _ := c.Compress(compressible, e)
		if got != e || !bytes.Equal(first, again) || expand(t, e.String(), string(first)) != string(compressible) {
			t.Errorf("%v: two calls differ, or the content is wrong", e)
		}
		for _, data := range [][]byte{noise, compressible[:1023], nil} {
			if same, got := c.Compress(data, e); got != answers.Identity || !bytes.Equal(same, data) {
				t.Errorf("%v: %d bytes became %d in %v, want them unchanged", e, len(data), len(same), got)
			}
		}
	}
	if same, got := c.Compress(compressible, answers.Identity); got != answers.Identity || !bytes.Equal(same, compressible) {
		t.Error("identity changes the content")
	}
}

func BenchmarkCompress(b *testing.B) {
	c, err := answers.NewCompressor()
	if err != nil {
		b.Fatal(err)
	}
	var text bytes.Buffer
	for i := range 200 {
		fmt.Fprintf(&text, `{"id":"%d","name":"Product %d","price":{"amount":"%d.99","currency":"EUR"}},`, i, i*7919, i*31%97)
	}
	for _, e := range []answers.Encoding{answers.Gzip, answers.Brotli, answers.Zstd} {
		b.Run(e.String(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(text.Len()))
			for b.Loop() {
				out, _ := c.Compress(text.Bytes(), e)
				b.ReportMetric(float64(len(out))/float64(text.Len()), "ratio")
			}
		})
	}
}
