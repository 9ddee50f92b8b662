package fastpath

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"fieldcache/internal/testservers"
)

func TestMain(m *testing.M) { testservers.Main(m) }

// client is one of the clients that share a proxy.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dialClient(t *testing.T, address string) *client {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &client{t, c, bufio.NewReader(c)}
}

// roundTrip sends a request and returns the body of the response.
func (c *client) roundTrip(request string) (string, error) {
	if _, err := io.WriteString(c, request); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// Request smuggling: an attacker makes the end of a request unclear to the server, and hides
// another request in a body that no handler reads. A victim shares the proxy's connection to the
// server. Its requests still arrive as sent, and it gets its own responses.
func TestFault25SmugglingThroughHAProxy(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	j.serve(t, l, true)
	proxy, err := url.Parse(testservers.HAProxy(t, l.Addr().String()).URL())
	if err != nil {
		t.Fatal(err)
	}
	attacker, victim := dialClient(t, proxy.Host), dialClient(t, proxy.Host)
	unclear := []string{
		"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nabcde",
		"POST /hit HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhit\r\n0\r\n\r\n",
		message("/unread", "abc"),
		message("/hit", "hit 1") + message("/hit", "hit 2"), // pipelined
	}
	filler := "X-Filler: " + strings.Repeat("x", 100)
	// As the proxy rewrites it, so that the server has seen the same head.
	hidden := strings.NewReplacer("Host:", "host:", "X-Filler:", "x-filler:", "Content-Length:", "content-length:").
		Replace(message("/hit", "hit smuggled", filler))
	warm := func(c *client) {
		t.Helper()
		if _, err := c.roundTrip(message("/ask-to-close", "")); err != nil { // the next connection is a new one
			t.Fatal(err)
		}
		for n := range 5 {
			request := message("/hit", fmt.Sprint("hit by who is warm ", n), filler)
			if body, err := c.roundTrip(request); err != nil || !strings.Contains(body, fmt.Sprint("warm ", n)) {
				t.Fatalf("%q: %v", body, err)
			}
		}
	}
	n := 0
	for _, first := range unclear {
		for more := -4; more <= 4; more += 2 {
			warm(attacker)
			pipelined := strings.Count(first, "POST /hit")
			if _, err := attacker.roundTrip(first); err != nil {
				t.Fatal(err)
			}
			for range pipelined - 1 {
				if _, err := attacker.roundTrip(""); err != nil {
					t.Fatal(err)
				}
			}
			// Make the head about as long as the body, whatever the proxy makes of it.
			attack := message("/unread", hidden)
			head := len(attack) - len(hidden)
			attack = message("/unread", hidden, "X-Filler: "+strings.Repeat("x", max(len(hidden)-head-12+more, 0)))
			// Send the body after the handler was called, as over a slow network.
			calls := j.calls.Load()
			if _, err := io.WriteString(attacker, strings.TrimSuffix(attack, hidden)); err != nil {
				t.Fatal(err)
			}
			for began := time.Now(); j.calls.Load() == calls && time.Since(began) < patience; time.Sleep(time.Millisecond) {
			}
			if body, err := attacker.roundTrip(hidden); err != nil || !strings.HasPrefix(body, "POST /unread") {
				t.Fatalf("%q: %v", body, err)
			}
			n++
			mine := message("/read", fmt.Sprint("miss of the victim ", n), "Authorization: Bearer secret")
			body, err := victim.roundTrip(mine)
			if err != nil || !strings.Contains(body, fmt.Sprintf(`"miss of the victim %d"`, n)) || !strings.Contains(body, "secret") {
				t.Fatalf("after %q and a head of %+d the victim got %q, %v", first, more, body, err)
			}
		}
	}
	if j.answered.Load() == 0 {
		t.Error("no request was served fast")
	}
}
