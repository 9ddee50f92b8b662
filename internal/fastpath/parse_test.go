package fastpath

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// asNetHTTP returns how a request differs from what net/http reads from the same bytes, or whether
// bytes are left.
func asNetHTTP(x *exchange, p []byte) error {
	buffer := bufio.NewReader(bytes.NewReader(p))
	want, err := http.ReadRequest(buffer)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(want.Body)
	if err != nil {
		return err
	}
	rest, _ := io.ReadAll(buffer)
	got := &x.request
	body, _ := io.ReadAll(got.Body)
	host := want.Header.Values("Host")
	want.Header.Del("Host") // as the server does
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q are left", rest)
	case !bytes.Equal(body, content):
		return fmt.Errorf("content %q, want %q", body, content)
	case len(host) > 0:
		return fmt.Errorf("Host: %q", host)
	case got.Close != want.Close || got.TransferEncoding != nil || want.TransferEncoding != nil || want.Trailer != nil:
		return fmt.Errorf("%+v, want %+v", got, want)
	}
	a := []any{got.Method, *got.URL, got.Proto, got.ProtoMajor, got.ProtoMinor, got.Header, got.ContentLength, got.Host, got.RequestURI, got.Body == http.NoBody}
	b := []any{want.Method, *want.URL, want.Proto, want.ProtoMajor, want.ProtoMinor, want.Header, want.ContentLength, want.Host, want.RequestURI, want.Body == http.NoBody}
	if !reflect.DeepEqual(a, b) {
		return fmt.Errorf("%+v\nwant\n%+v", a, b)
	}
	return nil
}

// A request that parse accepts is the one that net/http reads from the same bytes, to the last
// byte.
func FuzzParse(f *testing.F) {
	c := &choice{}
	for n := range 256 {
		c.rest = []byte{byte(n), byte(n / 3), byte(n / 7), byte(n / 11), byte(n / 13), 9, 9}
		f.Add([]byte(c.request()))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		x := exchanges.Get().(*exchange)
		defer x.release()
		if x.parse(p) {
			if err := asNetHTTP(x, p); err != nil {
				t.Errorf("%q: %v", p, err)
			}
		}
	})
}

func TestParse(t *testing.T) {
	t.Parallel()
	post := func(lines ...string) string {
		return "POST /graphql HTTP/1.1\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
	}
	many := make([]string, maxFields)
	for i := range many {
		many[i] = "X: 1"
	}
	for name, test := range map[string]struct {
		text string
		ok   bool
	}{
		"post":                     {post("Host: shop", "Content-Length: 3") + "abc", true},
		"no content":               {post("Host: shop", "Content-Length: 0"), true},
		"get":                      {"GET /graphql?query=%7Ba%7D HTTP/1.1\r\nHost: [::1]:80\r\nAccept:*/*\r\nCookie: \r\n\r\n", true},
		"keep-alive":               {post("Host: shop", "Connection: keep-alive", "content-length: 3") + "abc", true},
		"one field twice":          {post("Host: shop", "X: 1", "x: 2", "Content-Length: 3") + "abc", true},
		"nothing":                  {"", false},
		"too short":                {post("Host: shop", "Content-Length: 3") + "ab", false},
		"too long":                 {post("Host: shop", "Content-Length: 3") + "abcd", false},
		"two":                      {strings.Repeat(post("Host: shop", "Content-Length: 0"), 2), false},
		"half a head":              {"POST /graphql HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n", false},
		"no length":                {post("Host: shop"), false},
		"a length of get":          {"GET / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n", false},
		"the same length twice":    {post("Host: shop", "Content-Length: 3", "Content-Length: 3") + "abc", false},
		"a list of lengths":        {post("Host: shop", "Content-Length: 3, 3") + "abc", false},
		"a sign":                   {post("Host: shop", "Content-Length: +3") + "abc", false},
		"zeros":                    {post("Host: shop", "Content-Length: 03") + "abc", false},
		"no digits":                {post("Host: shop", "Content-Length: ") + "abc", false},
		"many digits":              {post("Host: shop", "Content-Length: 0000003") + "abc", false},
		"a trailing space":         {post("Host: shop", "Content-Length: 3 ") + "abc", false},
		"a tab":                    {post("Host: shop", "Content-Length:\t3") + "abc", false},
		"a space before":           {post("Host: shop", "Content-Length : 3") + "abc", false},
		"an underscore":            {post("Host: shop", "Content_Length: 4", "Content-Length: 3") + "abc", false},
		"chunks":                   {post("Host: shop", "Transfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n", false},
		"chunks in a mask":         {post("Host: shop", "transfer-encoding: xchunked", "Content-Length: 3") + "abc", false},
		"expectation":              {post("Host: shop", "Expect: 100-continue", "Content-Length: 3") + "abc", false},
		"upgrade":                  {post("Host: shop", "Upgrade: h2c", "Content-Length: 3") + "abc", false},
		"trailer":                  {post("Host: shop", "Trailer: X", "Content-Length: 3") + "abc", false},
		"te":                       {post("Host: shop", "TE: trailers", "Content-Length: 3") + "abc", false},
		"proxy's":                  {post("Host: shop", "Proxy-Connection: x", "Content-Length: 3") + "abc", false},
		"close":                    {post("Host: shop", "Connection: close", "Content-Length: 3") + "abc", false},
		"a field named by another": {post("Host: shop", "Connection: Content-Length", "Content-Length: 3") + "abc", false},
		"folded":                   {post("Host: shop", "X: a", " b", "Content-Length: 3") + "abc", false},
		"no name":                  {post("Host: shop", ": a", "Content-Length: 3") + "abc", false},
		"a bare CR":                {post("Host: shop", "X: a\rb", "Content-Length: 3") + "abc", false},
		"a bare LF":                {post("Host: shop", "X: a\nb", "Content-Length: 3") + "abc", false},
		"NUL":                      {post("Host: shop", "X: a\x00b", "Content-Length: 3") + "abc", false},
		"above ASCII":              {post("Host: shop", "X: \xc3\xa9", "Content-Length: 3") + "abc", false},
		"no host":                  {post("Content-Length: 3") + "abc", false},
		"an empty host":            {post("Host:", "Content-Length: 3") + "abc", false},
		"two hosts":                {post("Host: shop", "Host: shop", "Content-Length: 3") + "abc", false},
		"a strange host":           {post("Host: shop/x", "Content-Length: 3") + "abc", false},
		"too many fields":          {post(append(many, "Host: shop", "Content-Length: 3")...) + "abc", false},
		"asterisk":                 {"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n", false},
		"absolute":                 {"GET http://shop/ HTTP/1.1\r\nHost: shop\r\n\r\n", false},
		"an escape in the path":    {"GET /%61 HTTP/1.1\r\nHost: shop\r\n\r\n", false},
		"a control in the query":   {"GET /?\x7f HTTP/1.1\r\nHost: shop\r\n\r\n", false},
		"HTTP/1.0":                 {"GET / HTTP/1.0\r\nHost: shop\r\n\r\n", false},
		"two spaces":               {"GET  / HTTP/1.1\r\nHost: shop\r\n\r\n", false},
		"an empty line before":     {"\r\nGET / HTTP/1.1\r\nHost: shop\r\n\r\n", false},
		"lines that end by LF":     {"GET / HTTP/1.1\nHost: shop\n\r\n\r\n", false},
	} {
		x := exchanges.Get().(*exchange)
		if ok := x.parse([]byte(test.text)); ok != test.ok {
			t.Errorf("%s: got %v, want the opposite", name, ok)
		} else if ok {
			if err := asNetHTTP(x, []byte(test.text)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		x.release()
	}
}
