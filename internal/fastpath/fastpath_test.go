package fastpath

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// patience limits every wait of a test. Only a failure uses it up.
const patience = time.Minute

// site is a server that serves bodies that begin with "hit" on the fast path.
type site struct {
	*http.Server
	address string
	fast    atomic.Int64 // how many requests were served without net/http
	before  func(*http.Request)
}

// open starts a site. Without the fast path it has the same handlers behind net/http alone.
func open(t *testing.T, fast bool, o Options) *site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{address: l.Addr().String(), before: func(*http.Request) {}}
	o.Serve, o.Next = s.serve, http.HandlerFunc(next)
	if o.IdleTimeout == 0 {
		o.IdleTimeout, o.WriteTimeout = patience, patience
	}
	f := New(o)
	s.Server = &http.Server{Handler: f, IdleTimeout: o.IdleTimeout, ReadTimeout: patience, WriteTimeout: o.WriteTimeout}
	if fast {
		l = f.Attach(s.Server, l)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	return s
}

func (s *site) serve(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || !bytes.HasPrefix(body, []byte("hit")) {
		r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), r.Body))
		return false
	}
	if _, ok := w.(*exchange); ok {
		s.fast.Add(1)
	}
	s.before(r)
	answer := fmt.Sprintf("%s %s %s of %d for %q by %s", r.Method, r.Host, r.URL, r.ContentLength, body, r.Header["X-Client"])
	if size, err := strconv.Atoi(r.URL.Query().Get("size")); err == nil {
		answer += strings.Repeat("x", size)
	}
	w.Header()["Content-Type"] = []string{"text/plain"}
	w.Header()["Vary"] = []string{"Accept", "Origin"}
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(answer))}
	_, _ = io.WriteString(w, answer)
	return true
}

func next(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "next: %s %s %q %v by %s", r.Method, r.URL, body, err, r.Header["X-Client"])
}

// post returns a request; more are header lines.
func post(body string, more ...string) string { return message("/hit", body, more...) }

func postTo(target, body string) string { return message(target, body) }

const get = "GET /hit?query=x HTTP/1.1\r\nHost: shop\r\n\r\n"

var date = regexp.MustCompile(`Date: .*`)

// repeated returns similar requests.
func repeated(more ...string) []string {
	var list []string
	for n := range 6 {
		list = append(list, post(fmt.Sprint("hit ", n), more...))
	}
	return list
}

// Whatever a client sends, and in whatever pieces, it gets what net/http alone would respond. Plain
// requests are served fast, from the second one until one is not plain.
func TestAnswersAsWithoutTheFastPath(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	hidden := post("hit 0") // a request inside a body
	chunks := "POST /hit HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n"
	for name, test := range map[string]struct {
		segments []string
		fast     int64
	}{
		"hits":                      {repeated(), 5},
		"headers":                   {repeated("X-Client: a", "X-Client: b"), 5},
		"heads that never repeat":   {[]string{post("hit", "X: 1"), post("hit", "X: 2"), post("hit", "X: 3")}, 2},
		"lengths":                   {[]string{post("hit"), post("hit the sack"), post("hit"), post(""), post("hit")}, 3},
		"misses":                    {append(repeated(), post("other"), post("hit 7"), post("other"), post("hit 8")), 7},
		"unread content":            {append(repeated(), postTo("/unread", hidden), post("hit 7")), 6},
		"other methods":             {append(repeated(), get, get, post("hit 7"), post("hit 8")), 7},
		"asterisk":                  {append(repeated(), "OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n", post("hit 7")), 5},
		"HEAD":                      {append(repeated(), "HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n", post("hit 7")), 5},
		"two lengths":               {append(repeated(), post("hit 7", "Content-Length: 5"), post("hit 8")), 5},
		"two at once":               {append(repeated(), post("hit 7")+post("hit 8"), post("hit 9")), 5},
		"one and a half":            {append(repeated(), post("hit 7")+hidden[:9], hidden[9:], post("hit 9")), 5},
		"two halves":                {append(repeated(), hidden[:9], hidden[9:], post("hit 9")), 5},
		"head and body":             {append(repeated(), hidden[:len(hidden)-5], hidden[len(hidden)-5:], post("hit 9")), 5},
		"larger than the buffer":    {append(repeated(), post("hit"+strings.Repeat("x", 5000)), post("hit 9")), 5},
		"content like a request":    {append(repeated(), post("XX" + hidden)[:len(post("XX"+hidden))-len(hidden)], hidden), 5},
		"content like a request 2":  {append(repeated(), "P", post("XX" + hidden)[1:len(post("XX"+hidden))-len(hidden)], hidden), 5},
		"lines that end by LF":      {append(repeated(), "POST /hit HTTP/1.1\nHost: shop\nContent-Length: 4\n\n\r\n\r\n", "ABCD", hidden), 5},
		"empty lines before":        {append(repeated(), "\r\n\r\n"+hidden, hidden), 5},
		"an empty line":             {append(repeated(), get, get, "\r\n", hidden), 6},
		"chunks":                    {append(repeated(), chunks+"\r\n"+strconv.FormatInt(int64(len(hidden)), 16)+"\r\n", hidden, "\r\n0\r\n\r\n", post("hit 7")), 5},
		"chunks and a length":       {append(repeated(), chunks+"Content-Length: 4\r\n\r\n"+strconv.FormatInt(int64(len(hidden)), 16)+"\r\n", hidden, "\r\n0\r\n\r\n", post("hit 7")), 5},
		"expecting":                 {append(repeated(), "POST /hit HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", "hit 7", post("hit 8")), 5},
		"no request":                {append(repeated(), "nonsense\r\n\r\n", post("hit 7")), 5},
		"all at once":               {[]string{strings.Join(repeated(), "")}, 0},
		"close after the responses": {append(repeated(), postTo("/ask-to-close", ""), post("hit 7")), 5},
		"a panic":                   {append(repeated(), postTo("/panic", ""), post("hit 7")), 5},
		"close after a hit":         {append(repeated(), post("hit and close"), post("hit 7")), 6},
	} {
		var list []segment
		for _, text := range test.segments {
			list = append(list, segment{[]byte(text), true})
		}
		before := j.answered.Load()
		if err := j.check(list); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if fast := j.answered.Load() - before; fast != test.fast {
			t.Errorf("%s: got %d fast responses, want %d", name, fast, test.fast)
		}
	}
}

// A fast client may send its next request before net/http stops reading ahead. One byte of it is
// read ahead, and it is served fast all the same.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	j := newJudge(t)
	var list []segment
	for range 10 {
		list = append(list, segment{[]byte(postTo("/wait-for-more", "")), true}, segment{[]byte(post("hit")), false})
	}
	if err := j.check(list); err != nil {
		t.Error(err)
	}
	if n := j.answered.Load(); n != 10 {
		t.Errorf("got %d fast responses, want 10", n)
	}
}

// dial opens a connection on which the fast path is active.
func (s *site) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	s.untilFast(t, c, r)
	return c, r
}

// untilFast sends requests until one is served fast: net/http serves the first one.
func (s *site) untilFast(t *testing.T, c net.Conn, r *bufio.Reader) {
	t.Helper()
	for range 2 {
		if err := roundTrip(c, r); err != nil {
			t.Fatal(err)
		}
	}
	if s.fast.Load() == 0 {
		t.Fatal("no request was served fast")
	}
}

// roundTrip sends a request and reads the response.
func roundTrip(c net.Conn, r *bufio.Reader) error {
	if _, err := io.WriteString(c, post("hit 1")); err != nil {
		return err
	}
	response, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// A connection in use is not idle; an idle one is closed.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Minute
		j := newJudge(t)
		f := New(Options{Serve: j.hit, Next: http.HandlerFunc(j.next), IdleTimeout: idle, WriteTimeout: time.Hour})
		s, l := &http.Server{IdleTimeout: idle}, newPipes()
		fast := f.Attach(s, l)
		go func() { _ = s.Serve(fast) }()
		defer s.Close()
		p := newPipe("client", nil)
		p.open = true
		l.accept <- p
		for n := range 10 {
			p.send(post("hit"))
			synctest.Wait()
			if got := strings.Count(p.answered(), "200 OK"); got != n+1 {
				t.Fatalf("got %d responses, want %d", got, n+1)
			}
			time.Sleep(idle / 2)
		}
		if j.answered.Load() != 9 {
			t.Errorf("got %d fast responses, want 9", j.answered.Load())
		}
		select {
		case <-p.done:
			t.Fatal("the connection was closed while it was in use")
		default:
		}
		time.Sleep(idle / 2)
		synctest.Wait()
		select {
		case <-p.done:
		default:
			t.Error("the idle connection was not closed")
		}
	})
}

// A client that does not read its responses is disconnected.
func TestWriteTimeout(t *testing.T) {
	t.Parallel()
	s := open(t, true, Options{IdleTimeout: patience, WriteTimeout: 300 * time.Millisecond})
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	for sent := 0; ; sent++ {
		if _, err := io.WriteString(c, postTo("/?size=1000000", "hit")); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the server still reads, or waits forever")
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// On shutdown the server finishes the current response and closes the connection.
func TestShutdown(t *testing.T) {
	t.Parallel()
	s := open(t, true, Options{})
	arrived, release := make(chan struct{}), make(chan struct{})
	c, r := s.dial(t)
	s.before = func(*http.Request) { close(arrived); <-release }
	answer := make(chan error, 1)
	go func() { answer <- roundTrip(c, r) }()
	<-arrived
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("got %v after the shutdown, want EOF", err)
	}
}

// A panic closes the connection, as it does in net/http's handlers.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := open(t, true, Options{})
	s.ErrorLog = log.New(io.Discard, "", 0)
	c, r := s.dial(t)
	fast := s.fast.Load()
	s.before = func(*http.Request) { panic("of a test") }
	if err := roundTrip(c, r); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got the error %v, want a closed connection", err)
	}
	if s.fast.Load() == fast {
		t.Error("the request was not served on the fast path")
	}
}

// A response that does not match its Content-Length closes the connection, so that the rest is not
// taken for the next response.
func TestContentLength(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(http.ResponseWriter){
		"none":  func(w http.ResponseWriter) { _, _ = io.WriteString(w, "answer") },
		"short": func(w http.ResponseWriter) { w.Header().Set("Content-Length", "9"); _, _ = io.WriteString(w, "answer") },
		"long":  func(w http.ResponseWriter) { w.Header().Set("Content-Length", "1"); _, _ = io.WriteString(w, "answer") },
	} {
		x := exchanges.Get().(*exchange)
		x.to = connection(t)
		write(x)
		if err := x.finish(); err == nil {
			t.Errorf("%s: got no error", name)
		}
		x.release()
	}
}

// connection returns a connection whose other end does not respond.
func connection(t *testing.T) *net.TCPConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// If net/http does not do what the request implies, the connection leaves the fast path for good.
func TestGivesUp(t *testing.T) {
	t.Parallel()
	request := func(length int64) *http.Request {
		return &http.Request{Method: http.MethodPost, ProtoMajor: 1, ProtoMinor: 1, ContentLength: length}
	}
	for name, do := range map[string]func(c *conn){
		"another length":      func(c *conn) { c.serving(request(4)) },
		"a second request":    func(c *conn) { c.serving(request(3)); c.serving(request(3)) },
		"no request":          func(c *conn) { c.finished() },
		"finished twice":      func(c *conn) { c.serving(request(3)); c.finished(); c.finished() },
		"more content":        func(c *conn) { _, _ = c.Read(make([]byte, c.size)) },
		"reads while serving": func(c *conn) { c.serving(request(3)); _, _ = c.Read(make([]byte, c.size)) },
		"a read that fails": func(c *conn) {
			c.serving(request(3))
			c.finished()
			_ = c.stream.Close()
			_, _ = c.Read(make([]byte, c.size))
		},
		"something left over": func(c *conn) { c.serving(request(3)); c.finished(); _, _ = c.Read(make([]byte, c.size-1)) },
	} {
		text := post("hit")
		f := New(Options{Serve: func(http.ResponseWriter, *http.Request) bool { return true }})
		c := &conn{stream: newPipe("client", []segment{{[]byte(text), true}, {[]byte(text), true}}), f: f}
		if n, err := c.Read(make([]byte, 4096)); n != len(text) || err != nil || c.plain.Load() {
			t.Fatal(n, err)
		}
		if do(c); !c.plain.Load() {
			t.Errorf("%s: the connection is still on the fast path", name)
		}
	}
}
