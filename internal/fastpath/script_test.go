package fastpath

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// script returns what a client sends over one connection, in pieces. Most of it suits the fast
// path, so that the fast path is active when something else comes.
func script(choices []byte) []segment {
	c := &choice{choices}
	var list []segment
	for range c.below(5) {
		list = append(list, segment{[]byte(message("/hit", "hit")), true})
	}
	for len(c.rest) > 0 && len(list) < 200 {
		list = c.cut(list, c.request())
	}
	return list
}

// choice takes decisions from bytes.
type choice struct{ rest []byte }

func (c *choice) below(n int) int {
	if len(c.rest) == 0 {
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return int(b) % n
}

func pick[T any](c *choice, list ...T) T { return list[c.below(len(list))] }

// message returns a POST request; more are header lines.
func message(target, body string, more ...string) string {
	return "POST " + target + " HTTP/1.1\r\nHost: shop\r\n" + strings.Join(append(more, ""), "\r\n") +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// request returns a random next request.
func (c *choice) request() string {
	switch c.below(12) {
	case 0:
		return c.odd()
	case 1, 2:
		return c.hidden()
	case 3:
		return pick(c, "GET /hit?n=", "GET /read?query=%7B", "GET /?") + strconv.Itoa(c.below(100)) + " HTTP/1.1\r\nHost: shop\r\n" + c.fields() + "\r\n"
	}
	return message(pick(c, "/hit", "/hit", "/hit", "/hit?q", "/read", "/unread", "/half"), c.body(), c.lines()...)
}

func (c *choice) lines() []string {
	return [][]string{nil, nil, {"Accept: */*"}, {"X-Request-Id: " + strconv.Itoa(c.below(256))}, {"x-client: a", "X-CLIENT: b"},
		{"Connection: keep-alive"}, {"Content-Type: application/json", "User-Agent: A client (of a test)"}, {"X-Empty:"}}[c.below(8)]
}

func (c *choice) fields() string { return strings.Join(append(c.lines(), ""), "\r\n") }

func (c *choice) body() string {
	text := pick(c, "hit ", "hit ", "hit", "miss ", "")
	return text + strings.Repeat("x", pick(c, 0, 1, 2, 3, 4, 5, c.below(256), c.below(256), 5000))
}

// hidden returns a request whose body looks like another request and is about as long as its head.
func (c *choice) hidden() string {
	inner := pick(c, message("/hit", "hit smuggled"), "GET /hit?smuggled HTTP/1.1\r\nHost: shop\r\n\r\n")
	outer := message(pick(c, "/unread", "/half", "/read", "/hit"), inner)
	head := strings.Index(outer, "\r\n\r\n") + 4
	wish := head + pick(c, 0, 0, 1, -1, c.below(64))
	switch body := len(inner); {
	case wish > body:
		inner = strings.Repeat("\r\n", (wish-body)/2) + strings.Repeat("x", (wish-body)%2) + inner
	case wish < body:
		// Grow the head instead.
		return message("/unread", inner, "X-Filler: "+strings.Repeat("y", body-wish))
	}
	return message(pick(c, "/unread", "/half", "/read"), inner)
}

// odd returns a request outside the subset of the fast path, valid or not.
func (c *choice) odd() string {
	body := c.body()
	n := strconv.Itoa(len(body))
	post := "POST /read HTTP/1.1\r\nHost: shop\r\n"
	chunk := strconv.FormatInt(int64(len(body)), 16) + "\r\n" + body + "\r\n0\r\n"
	if body == "" {
		chunk = "0\r\n"
	}
	list := []string{
		"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"OPTIONS /read HTTP/1.1\r\nHost: shop\r\n\r\n",
		"HEAD /hit HTTP/1.1\r\nHost: shop\r\n\r\n",
		"HEAD /read HTTP/1.1\r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"GET /read HTTP/1.1\r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"GET http://shop/read HTTP/1.1\r\nHost: other\r\n\r\n",
		"DELETE /read HTTP/1.1\r\nHost: shop\r\n\r\n",
		post + "Transfer-Encoding: chunked\r\n\r\n" + chunk + "\r\n",
		post + "Transfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n" + chunk + "X-End: 1\r\n\r\n",
		post + "Content-Length: " + n + "\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + "\r\n",
		post + "Transfer-Encoding: identity\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "Transfer-Encoding : chunked\r\n\r\n" + chunk + "\r\n",
		post + "Expect: 100-continue\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST /unread HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "Expect: something\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "Content-Length: " + n + "\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "Content-Length: " + n + "\r\nContent-Length: 7\r\n\r\n" + body,
		post + "Content-Length: " + n + ", " + n + "\r\n\r\n" + body,
		post + "Content-Length: +" + n + "\r\n\r\n" + body,
		post + "Content-Length: 0" + n + "\r\n\r\n" + body,
		post + "Content-Length:\t" + n + " \r\n\r\n" + body,
		post + "Content-Length: \r\n\r\n" + body,
		post + "Content-Length: 0x5\r\n\r\n" + body,
		post + "Content-Length: 18446744073709551621\r\n\r\n" + body,
		post + "Content-Length: -1\r\n\r\n" + body,
		post + "Content_Length: 3\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "\r\n" + body,
		"POST /read HTTP/1.0\r\nHost: shop\r\nConnection: keep-alive\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST /read HTTP/1.0\r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST /read HTTP/1.0\r\n\r\n",
		post + "Connection: close\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "Connection: keep-alive, close\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST /read HTTP/1.1\nHost: shop\nContent-Length: " + n + "\n\n" + body,
		"POST /read HTTP/1.1\r\nHost: shop\nContent-Length: " + n + "\r\n\r\n" + body,
		"\r\n\r\n" + post + "Content-Length: " + n + "\r\n\r\n" + body,
		"\n" + post + "Content-Length: " + n + "\r\n\r\n" + body,
		"\r\n", "\n", " ", "\x00", "x",
		post + "X-Folded: a\r\n b\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + " Content-Length: " + n + "\r\n\r\n" + body,
		post + "X: a\rContent-Length: 3\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "X: a\x00b\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "X: \xc3\xa9\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "Host: other\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST /read HTTP/1.1\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST /read HTTP/1.1\r\nHost: a b\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST /%72ead HTTP/1.1\r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST /%zz HTTP/1.1\r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST //shop/read HTTP/1.1\r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST  /read HTTP/1.1\r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST /read HTTP/1.1 \r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"POST /read HTTP/2.0\r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		"post /read HTTP/1.1\r\nHost: shop\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "Pragma: no-cache\r\nContent-Length: " + n + "\r\n\r\n" + body,
		post + "TE: trailers\r\nContent-Length: " + n + "\r\n\r\n" + body,
		message("/ask-to-close", body), message("/panic", body),
		"nonsense\r\n\r\n", body,
		post + strings.Repeat("X-Many: 1\r\n", 40) + "Content-Length: " + n + "\r\n\r\n" + body,
	}
	if c.below(8) == 0 { // the bytes themselves
		n := c.below(64)
		n = min(n, len(c.rest))
		raw := string(c.rest[:n])
		c.rest = c.rest[n:]
		return raw
	}
	return list[c.below(len(list))]
}

// cut appends a request to what was sent before: joined to it, by itself, or in pieces.
func (c *choice) cut(list []segment, text string) []segment {
	b := []byte(text)
	late := c.below(4) != 0
	switch c.below(30) {
	case 0: // joined to the last segment
		if len(list) > 0 {
			last := &list[len(list)-1]
			last.text = append(bytes.Clone(last.text), b...)
			return list
		}
	case 1: // byte by byte
		if len(b) < 400 {
			for i := range b {
				list = append(list, segment{b[i : i+1], late && i == 0})
			}
			return list
		}
	case 2, 3: // in two pieces
		at := c.below(256)
		if at < len(b) {
			return append(list, segment{b[:at], late}, segment{b[at:], c.below(2) == 0})
		}
	case 4: // only a part of it
		b = b[:min(len(b), c.below(256))]
	}
	return append(list, segment{b, late})
}

// describe formats a script.
func describe(list []segment) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%v %.300q\n", s.late, s.text)
	}
	return b.String()
}
