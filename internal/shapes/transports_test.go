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

// site is starwars on the network, with the cache and without, each on a database of its own.
type site struct {
	t           testing.TB
	project     *project
	url, plain  string // of the server with the cache, and of the one without
	db, plainDB *sql.DB
}

// served puts starwars on the network. middleware stands behind the Gateway's handler, and alone before the other server.
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

// lite is a database in a file.
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

// asked is a query as the body of a POST.
func asked(query string) string {
	text, _ := json.Marshal(map[string]string{"query": query}) // a text can be marshaled
	return string(text)
}

const (
	inJSON = "Content-Type: application/json"
	// everything is what urql accepts.
	everything = "Accept: application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed"
	leia       = `{character(id:"1001"){name}}`
)

// both sends the same to both servers, and returns what they answer alike.
func (s *site) both(method, target, body string, headers ...string) (string, http.Header) {
	s.t.Helper()
	want, wantHeader := send(s.t, method, s.plain+target, body, headers...)
	got, header := send(s.t, method, s.url+target, body, headers...)
	if got != want {
		s.t.Errorf("%s %s %s %v\n got %+v\nwant %+v", method, target, body, headers, got, want)
	}
	for _, name := range []string{"Allow", "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"} {
		if header.Get(name) != wantHeader.Get(name) {
			s.t.Errorf("%s %s %v: %s: %q, want %q", method, target, headers, name, header.Get(name), wantHeader.Get(name))
		}
	}
	return got.Body, header
}

// stored asks until the answer comes from memory.
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

// A subscription goes through the handler by gqlgen's websocket transport, in both of its protocols, while mutations are answered.
func TestWebsocketsGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	for protocol, begin := range map[string]string{"graphql-transport-ws": "subscribe", "graphql-ws": "start"} {
		var told [2]string
		for i, url := range []string{s.url, s.plain} {
			c, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(url, "http"), &websocket.DialOptions{Subprotocols: []string{protocol}})
			if err != nil {
				t.Fatalf("%s: %v", protocol, err)
			}
			defer c.CloseNow() //nolint:errcheck // it may be closed
			said := func(what string) string {
				for {
					var m map[string]any
					if err := wsjson.Read(t.Context(), c, &m); err != nil {
						t.Fatalf("%s: %v", protocol, err)
					}
					if m["type"] == what {
						text, _ := json.Marshal(m["payload"]) // it came as JSON
						return string(text)
					}
				}
			}
			tell := func(m map[string]any) {
				if err := wsjson.Write(t.Context(), c, m); err != nil {
					t.Fatal(err)
				}
			}
			tell(map[string]any{"type": "connection_init"})
			said("connection_ack")
			tell(map[string]any{"id": "1", "type": begin, "payload": map[string]string{"query": `subscription{reviewAdded(episode:JEDI){stars commentary}}`}})
			next := "next"
			if begin == "start" {
				next = "data"
			}
			// It is told once the subscription has begun, which no message says.
			heard := make(chan string)
			go func() { heard <- said(next) }()
			for ended := false; !ended; {
				send(t, http.MethodPost, url, asked(`mutation{createReview(episode:JEDI,review:{stars:4,commentary:"by wire"}){id}}`), inJSON)
				select {
				case told[i] = <-heard:
					ended = true
				default:
				}
			}
			tell(map[string]any{"id": "2", "type": begin, "payload": map[string]string{"query": leia}})
			for !strings.Contains(said(next), "Leia") {
				continue // further reviews
			}
		}
		if told[0] != told[1] || !strings.Contains(told[0], "by wire") {
			t.Errorf("%s: %s, want %s", protocol, told[0], told[1])
		}
	}
}

// Server-sent events are sent as they come, whatever else the client accepts.
func TestServerSentEventsGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	for _, accept := range []string{"Accept: text/event-stream", everything} {
		if body, _ := s.both(http.MethodPost, "", asked(leia), inJSON, accept); !strings.Contains(body, "event: complete") {
			t.Errorf("%s: %s", accept, body)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(asked(`subscription{reviewAdded(episode:JEDI){stars}}`)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", strings.TrimPrefix(accept, "Accept: "))
		w, err := http.DefaultClient.Do(r) // the first event is a comment, which is sent at once
		if err != nil {
			t.Fatal(err)
		}
		heard := make(chan string)
		go func() {
			for lines := bufio.NewScanner(w.Body); lines.Scan(); {
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && data != "" {
					heard <- data
					return
				}
			}
			heard <- "the end"
		}()
		for ended := false; !ended; {
			send(t, http.MethodPost, s.url, asked(`mutation{createReview(episode:JEDI,review:{stars:3}){id}}`), inJSON)
			select {
			case data := <-heard:
				if ended = true; data != `{"data":{"reviewAdded":{"stars":3}}}` {
					t.Errorf("%s: %s", accept, data)
				}
			default:
			}
		}
		cancel()
		_ = w.Body.Close()
	}
}

// What is deferred comes in its part, with what is cached and without.
func TestDeferredPartsGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	query := asked(`{hero(episode:EMPIRE){name ... on Human @defer(label:"later"){friends{name} starships{name}}}}`)
	parts := func(url, accept string) (list []string) {
		r, header := send(t, http.MethodPost, url, query, inJSON, accept)
		for _, part := range strings.Split(r.Body, "--"+"-") {
			list = append(list, strings.TrimSpace(part))
		}
		if !strings.HasPrefix(header.Get("Content-Type"), "multipart/mixed") || !strings.Contains(r.Body, `"label":"later"`) {
			t.Errorf("%s: %s: %s", accept, header.Get("Content-Type"), r.Body)
		}
		return list
	}
	for range 4 {
		accept := "Accept: multipart/mixed;deferSpec=20220824, application/json"
		if got, want := fmt.Sprint(parts(s.url, accept)), fmt.Sprint(parts(s.plain, accept)); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		// Without the transport for it the first part is all there is.
		if body, header := s.both(http.MethodPost, "", query, inJSON); !strings.Contains(body, `"hasNext":true`) || strings.Contains(header.Get("Cache-Status"), "stored") {
			t.Errorf("%s: %s", header.Get("Cache-Status"), body)
		}
	}
}

// Uploads are mutations that evict.
func TestUploadsGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	for i := range 3 {
		s.stored(http.MethodPost, "", asked(leia), inJSON)
		body, kind := upload(t, fmt.Sprintf("Leia %d", i))
		s.both(http.MethodPost, "", body, "Content-Type: "+kind)
		if body, _ := s.both(http.MethodPost, "", asked(leia), inJSON); !strings.Contains(body, fmt.Sprintf("Leia %d", i)) {
			t.Errorf("after an upload: %s", body)
		}
	}
}

// upload is a form that renames a character.
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

// Persisted queries are registered by the server behind, and answered from memory by their hash.
func TestPersistedQueriesGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	sum := sha256.Sum256([]byte(leia))
	extensions := fmt.Sprintf(`{"persistedQuery":{"version":1,"sha256Hash":%q}}`, hex.EncodeToString(sum[:]))
	byHash := fmt.Sprintf(`{"extensions":%s}`, extensions)
	get := "?extensions=" + url.QueryEscape(extensions)
	for _, c := range [][3]string{{http.MethodPost, "", byHash}, {http.MethodGet, get, ""}} {
		if body, header := s.both(c[0], c[1], c[2], inJSON); !strings.Contains(body, "PersistedQueryNotFound") || !strings.Contains(header.Get("Cache-Control"), "no-store") {
			t.Errorf("before it is registered: %s: %s", header.Get("Cache-Control"), body)
		}
	}
	s.both(http.MethodPost, "", fmt.Sprintf(`{"query":%q,"extensions":%s}`, leia, extensions), inJSON)
	s.stored(http.MethodPost, "", byHash, inJSON)
	s.stored(http.MethodGet, get, "")
	wrong := fmt.Sprintf(`{"query":%q,"extensions":%s}`, `{hero{name}}`, extensions)
	if body, _ := s.both(http.MethodPost, "", wrong, inJSON); !strings.Contains(body, "does not match") {
		t.Errorf("a wrong hash: %s", body)
	}
}

// A query by GET is stored, with an ETag; whatever is no query is answered as gqlgen does, and so are a batch, a form and a preflight.
func TestOtherRequestsGoThrough(t *testing.T) {
	t.Parallel()
	s := served(t, nil)
	get := "?query=" + url.QueryEscape(leia)
	s.stored(http.MethodGet, get, "")
	_, header := s.both(http.MethodGet, get, "")
	if r, _ := send(t, http.MethodGet, s.url+get, "", "If-None-Match: "+header.Get("Etag")); r.Status != http.StatusNotModified {
		t.Errorf("its ETag: %+v", r)
	}
	s.stored(http.MethodPost, "", asked(leia), inJSON)
	for _, c := range []struct{ method, target, body, kind string }{
		{http.MethodGet, "?query=" + url.QueryEscape(`mutation{rename(id:"1001",name:"x"){name}}`), "", ""},
		{http.MethodGet, "?query=%7Bnone%7D", "", ""},
		{http.MethodGet, "", "", ""},
		{http.MethodHead, get, "", ""},
		{http.MethodPut, "", "x", "text/plain"},
		{http.MethodDelete, "", "", ""},
		{http.MethodOptions, "", "", ""},
		{http.MethodPost, "", "[" + asked(leia) + "," + asked(leia) + "]", "application/json"},
		{http.MethodPost, "", "{", "application/json"},
		{http.MethodPost, "", "", "application/json"},
		{http.MethodPost, "", asked(leia), "text/plain"},
		{http.MethodPost, "", asked(leia), "application/json; charset=latin-1"},
		{http.MethodPost, "", "query=" + url.QueryEscape(leia), "application/x-www-form-urlencoded"},
		{http.MethodPost, "", asked(leia + strings.Repeat(" ", 100_000)), "application/json"},
	} {
		for range 2 {
			s.both(c.method, c.target, c.body, "Content-Type: "+c.kind)
		}
	}
}

// A client that names every transport that it knows in each request is answered from memory where the answer is no stream.
func TestClientsThatAcceptStreamsAreAnsweredFromMemory(t *testing.T) {
	t.Parallel()
	shape := shapes["starwars"]
	s := served(t, nil)
	schema, _ := shape.build(s.db)
	bare := newServer(schema, s.project.gateway) // it has no transport that streams
	s.url = listen(t, s.project.gateway.Handler(bare))
	s.plain = listen(t, bare)
	s.stored(http.MethodPost, "", asked(leia), inJSON, everything)
	s.stored(http.MethodGet, "?query="+url.QueryEscape(leia), "", everything)
}

// Who streams, takes the connection over, or sets deadlines behind the handler can do so, whatever the request looks like.
func TestResponsesAreNotHeldBack(t *testing.T) {
	t.Parallel()
	p := shapes["starwars"].open(t, shapes["starwars"].database(t, "sqlite", lite(t)), "")
	read := make(chan struct{})
	behind := func(h http.HandlerFunc) string { return listen(t, p.gateway.Handler(h)) }
	post := func(url string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(asked(leia)))
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
			t.Errorf("%s: %q, %v", name, start, err)
		}
		read <- struct{}{}
		if rest, err := io.ReadAll(w.Body); err != nil || strings.TrimSpace(string(rest)) != "second" {
			t.Errorf("%s: %d bytes, %v", name, len(rest), err)
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
		t.Errorf("a connection that was taken over: %s %s %v", w.Status, body, err)
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
		t.Errorf("a response of its own: %s %s %v", w.Status, body, err)
	}
	_ = w.Body.Close()
	// A handler that breaks the response off breaks it off.
	c, err := net.Dial("tcp", strings.TrimPrefix(behind(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(c); len(got) > 0 {
		t.Errorf("a response that was broken off: %s", got)
	}
}

// CORS works before the handler and behind it: a page of another origin gets its headers also from memory.
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
		if name != "behind" { // it sets Vary in each response: none is stored
			s.stored(http.MethodPost, "", asked(leia), inJSON)
		}
		for range 3 {
			for _, origin := range []string{"https://a.example", "https://b.example", "https://c.test", ""} {
				s.both(http.MethodPost, "", asked(leia), inJSON, "Origin: "+origin)
				s.both(http.MethodOptions, "", "", "Origin: "+origin, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type")
			}
		}
	}
}

// A transaction that middleware behind the handler commits is evicted before the response ends, also that of a request
// whose response is not held back.
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
			{asked(fmt.Sprintf(`mutation{rename(id:"1001",name:%q){name}}`, name)), "application/json", false},
			{asked(fmt.Sprintf(`mutation{rename(id:"1001",name:%q){name}}`, name+" in chunks")), "application/json", true},
			{form, kind, false},
		} {
			s.stored(http.MethodPost, "", asked(leia), inJSON)
			var want string
			for _, url := range []string{s.plain, s.url} {
				var reader io.Reader = strings.NewReader(body.text)
				if body.chunked {
					reader = io.MultiReader(reader) // whose length is not known
				}
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, reader)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", body.kind)
				r.Header.Set("Writes", "yes")
				got, _ := do(t, r)
				if want = max(want, got.Body); got.Body != want {
					t.Errorf("%s, want %s", got.Body, want)
				}
			}
			s.both(http.MethodPost, "", asked(leia), inJSON)
		}
	}
}

// What another extension puts into a response after the Gateway has seen it is one request's: it is not stored.
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
			r, header := ask(t, h, leia)
			if want := fmt.Sprintf(`{"data":{"character":{"name":"Leia"}},"extensions":{"request":%d}}`, i); r.Body != want {
				t.Errorf("%s: %s: %s, want %s", order, header.Get("Cache-Status"), r.Body, want)
			}
		}
	}
}
