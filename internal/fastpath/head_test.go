package fastpath

import (
	"bytes"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestFieldsAreWrittenAsNetHTTPDoes(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]http.Header{
		"none":                  {},
		"a usual one":           {"Etag": {`"abc"`}},
		"usual ones":            {"Content-Type": {"text/plain"}, "Content-Length": {"5"}, "Age": {"0"}, "Cache-Control": {"max-age=60, public"}},
		"others":                {"X-Request-Id": {"7"}, "Set-Cookie": {"a=b", "c=d"}, "Age": {"1"}},
		"several values":        {"Vary": {"Origin", "Authorization"}},
		"no values":             {"Vary": {}, "Age": nil},
		"an empty value":        {"Vary": {""}},
		"spaces around":         {"Vary": {"  Origin\t "}, "X-Other": {" x "}},
		"line breaks":           {"Vary": {"a\r\nSet-Cookie: b=c"}, "X-Other": {"a\nb"}, "Etag": {"a\rb"}},
		"a name that cannot be": {"X Y": {"z"}, "": {"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var want bytes.Buffer
			got := appendFields([]byte("HTTP/1.1 200 OK\r\n"), header)
			if err := header.Write(&want); err != nil {
				t.Fatal(err)
			}
			if want := "HTTP/1.1 200 OK\r\n" + want.String(); string(got) != want {
				t.Errorf("got %q,\nwant %q as from net/http", got, want)
			}
		})
	}
}

func TestDateIsTheSecondOfTheResponse(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		for range 4 {
			now := time.Now()
			if got, want := dateField(now), "Date: "+now.UTC().Format(http.TimeFormat)+"\r\n"; got != want {
				t.Errorf("the date is %q, want %q", got, want)
			}
			time.Sleep(400 * time.Millisecond)
		}
	})
}

func BenchmarkHead(b *testing.B) {
	header := http.Header{
		"Cache-Control": {"max-age=60, public"}, "Age": {"7"}, "Etag": {`"0123456789abcdef0123"`}, "Vary": {"Accept, Accept-Encoding"},
		"Cache-Status": {"fieldcache; hit; ttl=41"}, "Content-Type": {"application/graphql-response+json; charset=utf-8"},
		"Content-Length": {"173"}, "X-Content-Type-Options": {"nosniff"},
	}
	x := &exchange{header: header}
	b.ReportAllocs()
	for b.Loop() {
		x.answer, x.head = answer{}, x.head[:0]
		x.WriteHeader(http.StatusOK)
	}
}
