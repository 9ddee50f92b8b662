package shapes_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/rs/cors"

	"fieldcache/internal/shapes/starwars"
)

// site is starwars on the network, with the cache and without, each with its own database.
type site struct {
	t           testing.TB
	project     *project
	url, plain  string // of the servers with and without the cache
	db, plainDB *sql.DB
}

// served puts starwars on the network. middleware is inside the Gateway's handler, and alone around
// the other server.
func served(t testing.TB, middleware func(*sql.DB, http.Handler) http.Handler) *site {
	t.Helper()
	shape := shapes["starwars"]
	s := &site{t: t, db: shape.database(t, "sqlite", lite(t)), plainDB: shape.database(t, "sqlite", lite(t))}
	if middleware == nil {
		middleware = func(_ *sql.DB, next http.Handler) http.Handler { return next }
	}
	s.project = shape.open(t, s.db, "")
	schema, around := shape.build(s.plainDB)
	s.url = listen(t, s.project.gateway.Handler(middleware(s.db, s.project.fields)))
	s.plain = listen(t, middleware(s.plainDB, shape.server(s.plainDB, nil, schema, around)))
	return s
}

// lite returns the DSN of a SQLite database in a file.
func lite(t testing.TB) string {
	return "file:" + t.TempDir() + "/shape.db?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)&_txlock=immediate"
}

func listen(t testing.TB, h http.Handler) string {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// send sends a request; headers are "Name: value".
func send(t testing.TB, method, url, body string, headers ...string) (response, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return do(t, r)
}

func do(t testing.TB, r *http.Request) (response, http.Header) {
	t.Helper()
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{w.StatusCode, w.Header.Get("Content-Type"), string(text)}, w.Header
}

// queryBody returns a query as the body of a POST request.
func queryBody(query string) string {
	text, _ := json.Marshal(map[string]string{"query": query}) // a string can always be marshaled
	return string(text)
}

const (
	inJSON = "Content-Type: application/json"
	// everything is what urql accepts.
	everything = "Accept: application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
	leia       = `{character(id:"1001"){name}}`
)

// both sends a request to both servers, checks that the responses are equal, and returns them.
func (s *site) both(method, target, body string, headers ...string) (string, http.Header) {
	s.t.Helper()
	want, wantHeader := send(s.t, method, s.plain+target, body, headers...)
	got, header := send(s.t, method, s.url+target, body, headers...)
	if got != want {
		s.t.Errorf("%s %s %s %v:\n got %+v\nwant %+v", method, target, body, headers, got, want)
	}
	for _, name := range []string{"Allow", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"} {
		if header.Get(name) != wantHeader.Get(name) {
			s.t.Errorf("%s %s %v: %s is %q, want %q", method, target, headers, name, header.Get(name), wantHeader.Get(name))
		}
	}
	return got.Body, header
}

// stored repeats a request until the response comes from memory.
func (s *site) stored(method, target, body string, headers ...string) {
	s.t.Helper()
	eventually(s.t, func() string {
		_, header := s.both(method, target, body, headers...)
		if strings.Contains(header.Get("Cache-Status"), "hit") {
			return ""
		}
		return fmt.Sprintf("%s %s %s %v is not stored: %s", method, target, body, headers, header.Get("Cache-Status"))
	})
}

// A subscription passes the handler on gqlgen's websocket transport, in both protocols, while
// mutations are served.
func TestWebsocketsGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	for protocol, begin := range map[string]string{"graphql-transport-ws": "subscribe", "graphql-ws": "start"} {
		var events [2]string
		for i, url := range []string{s.url, s.plain} {
			c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(url, "http"), &websocket.DialOptions{Subprotocols: []string{protocol}})
			if err != nil {
				t.Fatalf("%s: %v", protocol, err)
			}
			defer c.CloseNow() //nolint:errcheck // it may be closed
			receive := func(what string) string {
				for {
					var m map[string]any
					if err := wsjson.Read(t.Context(), c, &m); err != nil {
						t.Fatalf("%s: %v", protocol, err)
					}
					if m["type"] == what {
						text, _ := json.Marshal(m["payload"]) // it was decoded from JSON
						return string(text)
					}
				}
			}
			write := func(m map[string]any) {
				if err := wsjson.Write(t.Context(), c, m); err != nil {
					t.Fatal(err)
				}
			}
			write(map[string]any{"type": "connection_init"})
			receive("connection_ack")
			write(map[string]any{"id": "1", "type": begin, "payload": map[string]string{"query": `subscription{reviewAdded(episode:JEDI){stars commentary}}`}})
			next := "next"
			if begin == "start" {
				next = "data"
			}
			// Repeat the mutation until the subscription has begun, which no message reports.
			received := make(chan string)
			go func() { received <- receive(next) }()
			for ended := false; !ended; {
				send(t, http.MethodPost, url, queryBody(`mutation{createReview(episode:JEDI,review:{stars:4,commentary:"by wire"}){id}}`), inJSON)
				select {
				case events[i] = <-received:
					ended = true
				default:
				}
			}
			write(map[string]any{"id": "2", "type": begin, "payload": map[string]string{"query": leia}})
			for !strings.Contains(receive(next), "Leia") {
				continue // skips further reviews
			}
		}
		if events[0] != events[1] || !strings.Contains(events[0], "by wire") {
			t.Errorf("%s: got %s, want %s", protocol, events[0], events[1])
		}
	}
}

// Middleware that gives each request its loaders gives one set of them to a websocket, for as long
// as it is open. What they keep is not cached for others after a write.
func TestLoadersOfAWebsocketKeepOldRows(t *testing.T) {
	t.Parallel()
	shape := shapes["dataloader"]
	const streets = `{customers{address{street}}}`
	for name, handler := range map[string]func(*project) http.Handler{
		"in the handler":      func(p *project) http.Handler { return p.whole },
		"without the handler": func(p *project) http.Handler { return p.fields },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := shape.open(t, shape.database(t, "sqlite", lite(t)), "")
			url := listen(t, handler(p))
			c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(url, "http"), &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow() //nolint:errcheck // it may be closed
			exchange := func(message map[string]any, until string) (payload string) {
				if err := wsjson.Write(t.Context(), c, message); err != nil {
					t.Fatal(err)
				}
				for {
					var got struct {
						Type    string
						Payload json.RawMessage
					}
					if err := wsjson.Read(t.Context(), c, &got); err != nil {
						t.Fatal(err)
					}
					if got.Type == "next" {
						payload = string(got.Payload)
					}
					if got.Type == until {
						return payload
					}
				}
			}
			exchange(map[string]any{"type": "connection_init"}, "connection_ack")
			query := func(id string) string {
				return exchange(map[string]any{"id": id, "type": "subscribe", "payload": map[string]string{"query": streets}}, "complete")
			}
			if got := query("1"); !strings.Contains(got, "Fake Street") {
				t.Fatalf("got %s", got)
			}
			for i := range 3 {
				street := fmt.Sprintf("Street %d", i)
				send(t, http.MethodPost, url, queryBody(fmt.Sprintf(`mutation{move(customer:1,street:%q){id}}`, street)), inJSON)
				query(fmt.Sprint("again", i)) // the loader's row is older than the write
				if r, _ := send(t, http.MethodPost, url, queryBody(streets), inJSON); !strings.Contains(r.Body, street) {
					t.Errorf("after a query on the websocket: got %s, want %s", r.Body, street)
				}
			}
		})
	}
}

// A mutation on a websocket evicts before its response is sent.
func TestMutationsOfAWebsocketEvict(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(s.url, "http"), &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow() //nolint:errcheck // it may be closed
	exchange := func(message map[string]any, until string) {
		if err := wsjson.Write(t.Context(), c, message); err != nil {
			t.Fatal(err)
		}
		for m := map[string]any{}; m["type"] != until; {
			if err := wsjson.Read(t.Context(), c, &m); err != nil {
				t.Fatal(err)
			}
		}
	}
	exchange(map[string]any{"type": "connection_init"}, "connection_ack")
	for i := range 5 {
		s.stored(http.MethodPost, "", queryBody(leia), inJSON)
		rename := fmt.Sprintf(`mutation{rename(id:"1001",name:"Leia %d"){name}}`, i)
		send(t, http.MethodPost, s.plain, queryBody(rename), inJSON)
		exchange(map[string]any{"id": fmt.Sprint(i), "type": "subscribe", "payload": map[string]string{"query": rename}}, "next")
		s.both(http.MethodPost, "", queryBody(leia), inJSON)
		exchange(map[string]any{"type": "ping"}, "pong")
	}
}

// Server-sent events are sent as they occur, whatever else the client accepts.
func TestServerSentEventsGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	for _, accept := range []string{"Accept: text/event-stream", everything} {
		if body, _ := s.both(http.MethodPost, "", queryBody(leia), inJSON, accept); !strings.Contains(body, "event: complete") {
			t.Errorf("%s: got %s, want a complete event", accept, body)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(queryBody(`subscription{reviewAdded(episode:JEDI){stars}}`)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", strings.TrimPrefix(accept, "Accept: "))
		w, err := http.DefaultClient.Do(r) // the first event is a comment, sent at once
		if err != nil {
			t.Fatal(err)
		}
		received := make(chan string)
		go func() {
			for lines := bufio.NewScanner(w.Body); lines.Scan(); {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && data != "" {
					received <- data
					return
				}
			}
			received <- "the end"
		}()
		for ended := false; !ended; {
			send(t, http.MethodPost, s.url, queryBody(`mutation{createReview(episode:JEDI,review:{stars:3}){id}}`), inJSON)
			select {
			case data := <-received:
				if ended = true; data != `{"data":{"reviewAdded":{"stars":3}}}` {
					t.Errorf("%s: got the event %s", accept, data)
				}
			default:
			}
		}
		cancel()
		_ = w.Body.Close()
	}
}

// Deferred parts arrive as parts, cached or not.
func TestDeferredPartsGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	query := queryBody(`{hero(episode:EMPIRE){name ... on Human @defer(label:"later"){friends{name} starships{name}}}}`)
	parts := func(url, accept string) (list []string) {
		r, header := send(t, http.MethodPost, url, query, inJSON, accept)
		for _, part := range strings.Split(r.Body, "--"+"-") {
			list = append(list, strings.TrimSpace(part))
		}
		if !strings.HasPrefix(header.Get("Content-Type"), "multipart/mixed") || !strings.Contains(r.Body, `"label":"later"`) {
			t.Errorf("%s: got %s: %s", accept, header.Get("Content-Type"), r.Body)
		}
		return list
	}
	for range 4 {
		accept := "Accept: multipart/mixed;deferSpec=20220824, application/json"
		if got, want := fmt.Sprint(parts(s.url, accept)), fmt.Sprint(parts(s.plain, accept)); got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
		// Without the transport for it, only the first part is sent.
		if body, header := s.both(http.MethodPost, "", query, inJSON); !strings.Contains(body, `"hasNext":true`) || strings.Contains(header.Get("Cache-Status"), "stored") {
			t.Errorf("got %s: %s", header.Get("Cache-Status"), body)
		}
	}
}

// Uploads are mutations, so they evict.
func TestUploadsGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	for i := range 3 {
		s.stored(http.MethodPost, "", queryBody(leia), inJSON)
		body, kind := upload(t, fmt.Sprintf("Leia %d", i))
		s.both(http.MethodPost, "", body, "Content-Type: "+kind)
		if body, _ := s.both(http.MethodPost, "", queryBody(leia), inJSON); !strings.Contains(body, fmt.Sprintf("Leia %d", i)) {
			t.Errorf("after an upload: got %s, want the new name", body)
		}
	}
}

// upload returns a form that renames a character.
func upload(t testing.TB, name string) (body, kind string) {
	var form bytes.Buffer
	m := multipart.NewWriter(&form)
	if err := m.SetBoundary("a-boundary"); err != nil {
		t.Fatal(err)
	}
	for _, field := range [][2]string{
		{"operations", `{"query":"mutation($f:Upload!){renameByFile(id:\"1001\",file:$f){name}}","variables":{"f":null}}`}, {"map", `{"0":["variables.f"]}`},
	} {
		if err := m.WriteField(field[0], field[1]); err != nil {
			t.Fatal(err)
		}
	}
	file, err := m.CreateFormFile("0", "name.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(file, name); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return form.String(), m.FormDataContentType()
}

// Persisted queries are registered by the project's server, and served from memory by their hash.
func TestPersistedQueriesGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	sum := sha256.Sum256([]byte(leia))
	extensions := fmt.Sprintf(`{"persistedQuery":{"version":1,"sha256Hash":%q}}`, hex.EncodeToString(sum[:]))
	byHash := fmt.Sprintf(`{"extensions":%s}`, extensions)
	get := "?extensions=" + url.QueryEscape(extensions)
	for _, c := range [][3]string{{http.MethodPost, "", byHash}, {http.MethodGet, get, ""}} {
		if body, header := s.both(c[0], c[1], c[2], inJSON); !strings.Contains(body, "PersistedQueryNotFound") || !strings.Contains(header.Get("Cache-Control"), "no-store") {
			t.Errorf("before the registration: got %s: %s", header.Get("Cache-Control"), body)
		}
	}
	s.both(http.MethodPost, "", fmt.Sprintf(`{"query":%q,"extensions":%s}`, leia, extensions), inJSON)
	s.stored(http.MethodPost, "", byHash, inJSON)
	s.stored(http.MethodGet, get, "")
	wrong := fmt.Sprintf(`{"query":%q,"extensions":%s}`, `{hero{name}}`, extensions)
	if body, _ := s.both(http.MethodPost, "", wrong, inJSON); !strings.Contains(body, "does not match") {
		t.Errorf("a wrong hash: got %s", body)
	}
}

// A query by GET is cached and has an ETag. Everything that is not a query gets gqlgen's response,
// and so do batches, forms and preflights.
func TestOtherRequestsGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	get := "?query=" + url.QueryEscape(leia)
	s.stored(http.MethodGet, get, "")
	_, header := s.both(http.MethodGet, get, "")
	if r, _ := send(t, http.MethodGet, s.url+get, "", "If-None-Match: "+header.Get("Etag")); r.Status != http.StatusNotModified {
		t.Errorf("with its ETag: got %+v, want 304", r)
	}
	s.stored(http.MethodPost, "", queryBody(leia), inJSON)
	for _, c := range []struct{ method, target, body, kind string }{
		{http.MethodGet, "?query=" + url.QueryEscape(`mutation{rename(id:"1001",name:"x"){name}}`), "", ""},
		{http.MethodGet, "?query=%7Bnone%7D", "", ""},
		{http.MethodGet, "", "", ""},
		{http.MethodHead, get, "", ""},
		{http.MethodPut, "", "x", "text/plain"},
		{http.MethodDelete, "", "", ""},
		{http.MethodOptions, "", "", ""},
		{http.MethodPost, "", "[" + queryBody(leia) + "," + queryBody(leia) + "]", "application/json"},
		{http.MethodPost, "", "{", "application/json"},
		{http.MethodPost, "", "", "application/json"},
		{http.MethodPost, "", queryBody(leia), "text/plain"},
		{http.MethodPost, "", queryBody(leia), "application/json; charset=latin-1"},
		{http.MethodPost, "", "query=" + url.QueryEscape(leia), "application/x-www-form-urlencoded"},
		{http.MethodPost, "", queryBody(leia + strings.Repeat(" ", 100_000)), "application/json"},
	} {
		for range 2 {
			s.both(c.method, c.target, c.body, "Content-Type: "+c.kind)
		}
	}
}

// A client that accepts every transport in each request is served from memory if the response is no
// stream.
func TestClientsThatAcceptStreamsAreAnsweredFromMemory(t *testing.T) {
	t.Parallel()
	shape := shapes["starwars"]
	s := served(t, nil)
	schema, _ := shape.build(s.db)
	bare := newServer(schema, s.project.gateway) // it has no streaming transport
	s.url = listen(t, s.project.gateway.Handler(bare))
	s.plain = listen(t, bare)
	s.stored(http.MethodPost, "", queryBody(leia), inJSON, everything)
	s.stored(http.MethodGet, "?query="+url.QueryEscape(leia), "", everything)
}

// Inside the handler a project can stream, hijack the connection or set deadlines, whatever the
// request looks like.
func TestResponsesAreNotHeldBack(t *testing.T) {
	t.Parallel()
	p := shapes["starwars"].open(t, shapes["starwars"].database(t, "sqlite", lite(t)), "")
	read := make(chan struct{})
	behind := func(h http.HandlerFunc) string { return listen(t, p.gateway.Handler(h)) }
	post := func(url string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(queryBody(leia)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		w, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for name, first := range map[string]func(http.ResponseWriter){
		"Flush": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "first")
			w.(http.Flusher).Flush()
		},
		"a controller's Flush": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "first")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
		},
		"a long body that is no JSON": func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/csv")
			_, _ = io.WriteString(w, "first"+strings.Repeat(" ", 1<<20))
		},
	} {
		w := post(behind(func(w http.ResponseWriter, _ *http.Request) {
			first(w)
			<-read
			_, _ = io.WriteString(w, "second")
		}))
		start := make([]byte, 5)
		if _, err := io.ReadFull(w.Body, start); err != nil || string(start) != "first" {
			t.Errorf("%s: got %q first, %v", name, start, err)
		}
		read <- struct{}{}
		if rest, err := io.ReadAll(w.Body); err != nil || strings.TrimSpace(string(rest)) != "second" {
			t.Errorf("%s: got %d more bytes, %v", name, len(rest), err)
		}
		_ = w.Body.Close()
	}
	w := post(behind(func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = rw.WriteString("HTTP/1.1 299 Mine\r\nContent-Length: 2\r\n\r\nok")
		_ = rw.Flush()
		_ = c.Close()
	}))
	if body, err := io.ReadAll(w.Body); w.StatusCode != 299 || string(body) != "ok" {
		t.Errorf("a hijacked connection: got %s %s %v", w.Status, body, err)
	}
	_ = w.Body.Close()
	w = post(behind(func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		for name, err := range map[string]error{
			"SetReadDeadline": c.SetReadDeadline(time.Now().Add(time.Hour)), "SetWriteDeadline": c.SetWriteDeadline(time.Now().Add(time.Hour)),
			"EnableFullDuplex": c.EnableFullDuplex(),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, `{"mine":true}`)
	}))
	if body, err := io.ReadAll(w.Body); w.StatusCode != http.StatusTeapot || string(body) != `{"mine":true}` {
		t.Errorf("the project's own response: got %s %s %v", w.Status, body, err)
	}
	_ = w.Body.Close()
	// If the inner handler aborts the response, it is aborted.
	c, err := net.Dial("tcp", strings.TrimPrefix(behind(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("an aborted response: got %s, want nothing", got)
	}
}

// CORS works outside the handler and inside it: pages of other origins get their headers on cached
// responses too.
func TestCrossOriginRequestsGoThrough(t *testing.T) {
	t.Parallel()
	library := cors.New(cors.Options{AllowedOrigins: []string{"https://a.example", "https://b.example"}, AllowedHeaders: []string{"Content-Type"}})
	plain := func(_ *sql.DB, next http.Handler) http.Handler { // by hand, without Vary
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if origin := r.Header.Get("Origin"); strings.HasSuffix(origin, ".example") {
				w.Header().Set("Access-Control-Allow-Origin", origin)
			}
			next.ServeHTTP(w, r)
		})
	}
	behind := served(t, func(_ *sql.DB, next http.Handler) http.Handler { return library.Handler(next) })
	byHand := served(t, plain)
	before := served(t, nil)
	before.url = listen(t, library.Handler(before.project.gateway.Handler(before.project.fields)))
	before.plain = listen(t, library.Handler(before.project.fields))
	for name, s := range map[string]*site{"before": before, "behind": behind, "by hand": byHand} {
		if name != "behind" { // it sets Vary in each response, so none is cached
			s.stored(http.MethodPost, "", queryBody(leia), inJSON)
		}
		for range 3 {
			for _, origin := range []string{"https://a.example", "https://b.example", "https://c.test", ""} {
				s.both(http.MethodPost, "", queryBody(leia), inJSON, "Origin: "+origin)
				s.both(http.MethodOptions, "", "", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
			}
		}
	}
}

// A transaction that inner middleware commits evicts before the response ends, even if the response
// is not buffered.
func TestTransactionsOfMiddlewareAreEvicted(t *testing.T) {
	t.Parallel()
	s := served(t, func(db *sql.DB, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Writes") == "" {
				next.ServeHTTP(w, r)
				return
			}
			tx, err := db.BeginTx(r.Context(), nil)
			if err != nil {
				t.Error(err)
				return
			}
			next.ServeHTTP(w, r.WithContext(starwars.WithTx(r.Context(), tx)))
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
		})
	})
	for i := range 4 {
		name := fmt.Sprintf("Leia %d", i)
		form, kind := upload(t, name)
		for _, body := range []struct {
			text, kind string
			chunked    bool
		}{
			{queryBody(fmt.Sprintf(`mutation{rename(id:"1001",name:%q){name}}`, name)), "application/json", false},
			{queryBody(fmt.Sprintf(`mutation{rename(id:"1001",name:%q){name}}`, name+" in chunks")), "application/json", true},
			{form, kind, false},
		} {
			s.stored(http.MethodPost, "", queryBody(leia), inJSON)
			var want string
			for _, url := range []string{s.plain, s.url} {
				var reader io.Reader = strings.NewReader(body.text)
				if body.chunked {
					reader = io.MultiReader(reader) // hides the length
				}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, reader)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", body.kind)
				r.Header.Set("Writes", "yes")
				got, _ := do(t, r)
				if want = max(want, got.Body); got.Body != want {
					t.Errorf("got %s, want %s", got.Body, want)
				}
			}
			s.both(http.MethodPost, "", queryBody(leia), inJSON)
		}
	}
}

// What another extension adds to a response after the Gateway belongs to one request and is not
// cached.
func TestWhatIsAddedToAResponseIsNotStored(t *testing.T) {
	t.Parallel()
	shape := shapes["starwars"]
	p := shape.open(t, shape.database(t, "sqlite", lite(t)), "")
	schema, _ := shape.build(p.db)
	for _, order := range []string{"before", "behind"} {
		srv := newServer(schema)
		requests := 0
		add := func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
			responses := next(ctx)
			return func(ctx context.Context) *graphql.Response {
				r := responses(ctx)
				if r != nil {
					requests++
					r.Extensions = map[string]any{"request": requests}
				}
				return r
			}
		}
		if order == "before" {
			srv.AroundOperations(add)
		}
		srv.Use(p.gateway)
		if order == "behind" {
			srv.AroundOperations(add)
		}
		h := p.gateway.Handler(srv)
		for i := 1; i < 6; i++ {
			r, header := request(t, h, leia)
			if want := fmt.Sprintf(`{"data":{"character":{"name":"Leia"}},"extensions":{"request":%d}}`, i); r.Body != want {
				t.Errorf("%s: %s: got %s, want %s", order, header.Get("Cache-Status"), r.Body, want)
			}
		}
	}
}
