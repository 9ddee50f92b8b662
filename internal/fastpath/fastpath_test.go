package fastpath

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of a test; it is only ever used up by a failure.
const patience = 20 * time.Second

// site is a server that answers bodies that begin with "hit" fast.
type site struct {
	*http.Server
	address string
	fast    atomic.Int64 // how many requests were answered without net/http
	before  func(*http.Request)
}

// open starts a site. Without the fast path it has the same handlers, and net/http alone in front.
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
		s.ConnContext = f.ConnContext
		l = f.Listener(l)
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

// post is a request; more are header lines.
func post(body string, more ...string) string {
	return postTo("/graphql", body, more...)
}

func postTo(url, body string, more ...string) string {
	return "POST " + url + " HTTP/1.1\r\nHost: shop\r\n" + strings.Join(append(more, ""), "\r\n") +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

const (
	get  = "GET /graphql?query=x HTTP/1.1\r\nHost: shop\r\n\r\n"
	last = "GET /last HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"
)

var date = regexp.MustCompile(`Date: .*`)

// talk sends segments, one after another, and returns all that comes back, but for dates.
func (s *site) talk(pause time.Duration, segments []string) (string, error) {
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	go func() {
		for _, part := range segments {
			if _, err := io.WriteString(c, part); err != nil {
				return // the server ended it
			}
			time.Sleep(pause)
		}
	}()
	text, err := io.ReadAll(c)
	return date.ReplaceAllString(string(text), "Date: -"), err
}

// repeated is requests that are the same, and known after a few.
func repeated(more ...string) []string {
	var list []string
	for n := range 6 {
		list = append(list, post(fmt.Sprint("hit ", n), more...))
	}
	return list
}

// repeatedIn is the same in another spelling.
func repeatedIn(spell func(string) string) []string {
	list := repeated()
	for i, r := range list {
		list[i] = strings.ReplaceAll(r, "Content-Length:", spell("Content-Length:"))
	}
	return list
}

// Whatever a client sends, and in whatever pieces, it gets what net/http alone answers.
func TestAnswersAsWithoutTheFastPath(t *testing.T) {
	t.Parallel()
	hidden := post("hit 0")                                                              // what is known, in the place of content
	even := "POST /graphql HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\nX: \r\n\r\n" // as long as its content
	even = strings.Replace(even, "X: ", "X: "+strings.Repeat("x", 100-len(even)), 1)
	tests := map[string]struct {
		segments []string
		fast     int64 // least number of fast answers
	}{
		"hits":                     {repeated(), 4},
		"headers":                  {repeated("X-Client: a", "X-Client: b"), 4},
		"other heads":              {append(repeated(), post("hit more"), post("hit 7", "X-Client: c"), post("hit 8")), 5},
		"other lengths":            {append(repeated(), post("hit the sack"), post("hit"), post("hit 10"), strings.Replace(post("hit 11"), "h: 6", "h: 006", 1)), 8},
		"no length":                {append(repeated(), strings.Replace(post(""), "h: 0", "h: ", 1), post("hit 10")), 4},
		"a length of zero":         {append(repeated(), post(""), post("hit 10")), 5},
		"two lengths":              {repeated("Content-Length: 5"), 0},
		"lengths in lower case":    {repeatedIn(strings.ToLower), 4},
		"a long length":            {append(repeated(), strings.Replace(post("hit 11"), "h: 6", "h: 18446744073709551622", 1)), 4},
		"misses":                   {append(repeated(), post("other"), post("hit 7"), post("other"), post("hit 8")), 6},
		"other methods":            {append(repeated(), get, post("hit 7"), get), 5},
		"large":                    {[]string{postTo("/?size=9999", "hit"), postTo("/?size=9999", "hit"), postTo("/?size=9999", "hit"), post("hit")}, 1},
		"two at once":              {append(repeated(), post("hit 7")+post("hit 8"), post("hit 9")), 4},
		"one and a half":           {append(repeated(), post("hit 7")+hidden[:9], hidden[9:], post("hit 9")), 4},
		"two halves":               {append(repeated(), hidden[:9], hidden[9:], post("hit 9")), 4},
		"head and body":            {append(repeated(), hidden[:len(hidden)-5], hidden[len(hidden)-5:], post("hit 9"), post("hit 8")), 6},
		"content like a request":   {append(repeated(), post("XX" + hidden)[:len(post("XX"+hidden))-len(hidden)], hidden), 4},
		"content like a request 2": {append(repeated(), "P", post("XX" + hidden)[1:len(post("XX"+hidden))-len(hidden)], hidden), 4},
		"lines that end by LF":     {append(repeated(), "POST /graphql HTTP/1.1\nHost: shop\nContent-Length: 4\n\n\r\n\r\n", "ABCD", hidden), 4},
		"empty lines before":       {append(repeated(), "\r\n\r\n"+even, hidden, strings.Repeat("x", len(even)-len(hidden))), 4},
		"LF before":                {append(repeated(), "\n", post("hit 7"), post("hit 8")), 4},
		"chunks": {append(repeated(), "POST /graphql HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n"+
			strconv.FormatInt(int64(len(hidden)), 16)+"\r\n", hidden, "\r\n0\r\n\r\n", post("hit 7")), 4},
		"chunks and a length": {append(repeated(), "POST /graphql HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"+
			strconv.FormatInt(int64(len(hidden)), 16)+"\r\n", hidden, "\r\n0\r\n\r\n", post("hit 7")), 4},
		"expecting": {append(repeated(), "POST /graphql HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", "hit 7", post("hit 8")), 4},
		"HTTP/1.0": {[]string{strings.ReplaceAll(hidden, "HTTP/1.1", "HTTP/1.0\r\nConnection: keep-alive"),
			strings.ReplaceAll(hidden, "HTTP/1.1", "HTTP/1.0\r\nConnection: keep-alive"), strings.ReplaceAll(hidden, "HTTP/1.1", "HTTP/1.0\r\nConnection: keep-alive")}, 0},
		"no request":  {append(repeated(), "nonsense\r\n\r\n", post("hit 7")), 4},
		"one at once": {[]string{strings.Join(repeated(), "")}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plain, fast := open(t, false, Options{}), open(t, true, Options{})
			segments := append(test.segments, last)
			for range tries {
				before := fast.fast.Load()
				same(t, plain, fast, 15*time.Millisecond, segments)
				if fast.fast.Load()-before >= test.fast {
					return
				}
			}
			t.Errorf("%d fast answers in %d tries, want %d in one", fast.fast.Load(), tries, test.fast)
		})
	}
}

// tries is how often a busy machine may let requests come together that are meant to come one by one.
const tries = 10

// same asks both sites, and compares their answers.
func same(t *testing.T, plain, fast *site, pause time.Duration, segments []string) {
	t.Helper()
	for range tries {
		want, err := plain.talk(pause, segments)
		got, err2 := fast.talk(pause, segments)
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err2, syscall.ECONNRESET) {
			continue // with a bad request the server ends the connection, and what came before may not be read
		}
		if got != want || err != nil || err2 != nil || want == "" {
			t.Errorf("to %q it answers\n%s%v\nwant\n%s%v", segments, got, err2, want, err)
		}
		return
	}
}

func TestAnswersAsWithoutTheFastPathAtRandom(t *testing.T) {
	t.Parallel()
	plain, fast := open(t, false, Options{}), open(t, true, Options{})
	pool := []string{
		post("hit 1"), post("hit 2"), post("hit 3"), post("hit 4"), post("hit 5"), post("hit more"), post("hit", "X-Client: a"),
		post("other"), get, post("XX" + post("hit 1")), postTo("/?size=9000", "hit"), post("X" + strings.Repeat(post("hit 1"), 40)),
	}
	odd := []string{
		"\r\n", "\n" + post("hit 6"), "POST /graphql HTTP/1.1\nHost: shop\nContent-Length: 5\n\nhit 8",
		"POST /graphql HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhit 9\r\n0\r\n\r\n",
	}
	var group sync.WaitGroup
	for n := range uint64(24) {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, n)) //nolint:gosec // to be repeated
			var segments []string
			for range 60 {
				part := pool[min(random.IntN(len(pool)), random.IntN(len(pool)))]
				if random.IntN(40) == 0 {
					part = odd[random.IntN(len(odd))]
				}
				if random.IntN(40) == 0 {
					cut := random.IntN(len(part))
					segments = append(segments, part[:cut])
					part = part[cut:]
				}
				if i := len(segments) - 1; i >= 0 && random.IntN(40) == 0 {
					segments[i] += part
				} else {
					segments = append(segments, part)
				}
			}
			segments = append(segments, last)
			same(t, plain, fast, 4*time.Millisecond, segments)
		})
	}
	group.Wait()
	t.Logf("%d fast answers", fast.fast.Load())
	if fast.fast.Load() == 0 {
		t.Error("no fast answer")
	}
}

// dial opens a connection that the fast path is used on.
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

// untilFast asks until the answer is a fast one: sooner than net/http can read a byte ahead it takes three requests.
func (s *site) untilFast(t *testing.T, c net.Conn, r *bufio.Reader) {
	t.Helper()
	for range 50 {
		if err := ask(c, r); err != nil {
			t.Fatal(err)
		}
		if s.fast.Load() > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no fast answer")
}

// ask sends a request and reads the answer.
func ask(c net.Conn, r *bufio.Reader) error {
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

// Of a request that comes while another is being answered net/http has read the first byte by then. Those after it are
// answered fast again.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	s := open(t, true, Options{})
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.before = func(*http.Request) { once.Do(func() { close(arrived); <-release }) }
	c, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	answer := make(chan error, 1)
	go func() { answer <- ask(c, r) }()
	<-arrived
	if _, err := io.WriteString(c, post("hit 2")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	close(release)
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond) // for the second answer: two requests in one piece would be another matter
	s.untilFast(t, c, r)
}

// A connection that is in use is not idle, and one that is idle is closed.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	const idle = 400 * time.Millisecond
	s := open(t, true, Options{IdleTimeout: idle, WriteTimeout: patience})
	c, r := s.dial(t)
	for began := time.Now(); time.Since(began) < 3*idle; time.Sleep(idle / 20) {
		if err := ask(c, r); err != nil {
			t.Fatalf("after %v: %v", time.Since(began), err)
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("%v", err)
	}
}

// Who does not read what is answered is cut off.
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
				t.Error("it goes on reading, or waits for ever")
			}
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A server that ends finishes the answer that it is at, and closes the connection.
func TestShutdown(t *testing.T) {
	t.Parallel()
	s := open(t, true, Options{})
	arrived, release := make(chan struct{}), make(chan struct{})
	c, r := s.dial(t)
	s.before = func(*http.Request) { close(arrived); <-release }
	answer := make(chan error, 1)
	go func() { answer <- ask(c, r) }()
	<-arrived
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("%v", err)
	}
}

// A panic ends the connection, as it does in net/http's handlers.
func TestPanic(t *testing.T) {
	t.Parallel()
	s := open(t, true, Options{})
	s.ErrorLog = log.New(io.Discard, "", 0)
	c, r := s.dial(t)
	fast := s.fast.Load()
	s.before = func(*http.Request) { panic("of a test") }
	if err := ask(c, r); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if s.fast.Load() == fast {
		t.Error("it was not on the fast path")
	}
}

// An answer that is not what its header says ends the connection, so that nobody takes the rest of it for the next one.
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
			t.Errorf("%s: no error", name)
		}
		x.release()
	}
}

// connection is one that nobody answers.
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
