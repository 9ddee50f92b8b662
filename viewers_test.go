package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldcache/db"
	"fieldcache/internal/config"
	"fieldcache/internal/serve"
)

// choices supplies the decisions of a random run. The run ends when they are used up.
type choices struct{ left []byte }

// of returns a number below n, which is at most 256.
func (c *choices) of(n int) int {
	if len(c.left) == 0 {
		return 0
	}
	b := c.left[0]
	c.left = c.left[1:]
	return int(b) % n
}

func (c *choices) one(list ...string) string { return list[c.of(len(list))] }

// maker generates operations over the schema. Only the user themself may see the private fields
// that they select.
type maker struct {
	*choices
	fragments []string
	aliases   int
}

// operation generates a document. Its variable takes the id of a user.
func (c *choices) operation() string {
	m := &maker{choices: c}
	fields := m.root()
	if m.of(3) == 0 {
		fields += " " + m.root()
	}
	return "query Q($id: ID! = 8) { " + fields + " x: user(id: $id) { " + m.name("email") + " } }" + strings.Join(m.fragments, "")
}

// name returns a field under its name or under an alias that does not reveal the field.
func (m *maker) name(field string) string {
	if m.of(2) == 0 {
		return field
	}
	m.aliases++
	return fmt.Sprintf("a%d: %s", m.aliases, field)
}

func (m *maker) root() string {
	m.aliases++
	a := fmt.Sprintf("r%d: ", m.aliases)
	switch m.of(6) {
	case 0, 1:
		return a + "me { " + m.user(2) + " }"
	case 2:
		return a + "user(id: " + m.one("8", "9", "10") + ") { " + m.user(2) + " }"
	case 3:
		return a + "users(first: 10) { nodes { " + m.user(1) + " } }"
	case 4:
		return a + `search(text: "a", first: 10) { __typename ` + m.on("User", m.user(1)) + " ... on Product { " + m.name("stock") + " } }"
	}
	return a + "product(id: 7) { reviews(first: 5) { nodes { author { " + m.user(1) + " } } } }"
}

// user selects fields of a user; depth limits how often they lead to another user.
func (m *maker) user(depth int) string {
	fields := m.name("id")
	for range 1 + m.of(3) {
		switch m.of(5) {
		case 0, 1:
			fields += " " + m.on("User", m.name("email"))
		case 2:
			fields += " " + m.on("User", m.name("bio"))
		case 3:
			if depth > 0 {
				m.aliases++
				fields += fmt.Sprintf(" o%d: orders(first: 3) { nodes { customer { cid: id %s } lines { quantity } } }", m.aliases, m.user(depth-1))
			}
		case 4:
			if depth > 0 {
				m.aliases++
				fields += fmt.Sprintf(" v%d: reviews(first: 2) { nodes { author { %s } } }", m.aliases, m.user(depth-1))
			}
		}
	}
	return m.on("User", fields)
}

// on selects fields of a type in a named fragment, or in an inline one with or without a directive.
func (m *maker) on(typ, fields string) string {
	switch m.of(3) {
	case 0:
		name := fmt.Sprintf("F%d", len(m.fragments))
		m.fragments = append(m.fragments, " fragment "+name+" on "+typ+" { "+fields+" }")
		return "..." + name
	case 1:
		if typ == "User" {
			return "... on User { " + fields + " }"
		}
	}
	return "... on " + typ + " @include(if: true) { " + fields + " }"
}

// viewer is a client, and the only user whose private data it may see; an admin sees everything.
type viewer struct{ name, token, sees string }

func viewers(t testing.TB) []viewer {
	t.Helper()
	token := func(user int64, role string) string {
		text, err := serve.SignToken(config.Config{JWTSecret: secret, TokenUser: user, TokenRole: role, TokenTTL: 24 * time.Hour}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	return []viewer{{"nobody", "", "none"}, {"user 8", token(8, ""), "8"}, {"user 9", token(9, ""), "9"}, {"an admin", token(10, config.AdminRole), "all"}}
}

// emails returns the e-mail addresses of all users by id.
func emails(t testing.TB, d *db.DB) map[string]string {
	t.Helper()
	var rows []struct{ ID, Email string }
	if err := d.Bun().NewSelect().Table("users").Column("id", "email").Scan(t.Context(), &rows); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, r := range rows {
		all[r.ID] = r.Email
	}
	return all
}

var (
	anyEmail    = regexp.MustCompile(`[\w.+-]+@[\w.-]+`)
	anyCustomer = regexp.MustCompile(`"cid":"(\d+)"`)
)

// question is a request that is sent again and again.
type question struct{ method, target, body string }

// mixing is a run of random requests by several viewers.
type mixing struct {
	*choices
	cached, plain *front            // plain reads everything from the database
	viewers       []viewer          // the last one is an admin
	emails        map[string]string // by user
	requests      []question
	truth         map[[2]string]string // bodies by viewer and request
	tags          map[string]string    // bodies by ETag
	seen          map[string][]string  // ETags by target, of all viewers
	counts        struct{ requests, hits, unmodified, private int }
}

var viewersEnviron = []string{"DATABASE_URL=sqlite::memory:", "JWT_SECRET=" + secret, "MAX_ALIASES=200", "MAX_COMPLEXITY=1000000", "LOG_LEVEL=error"}

func newMixing(t testing.TB, d *db.DB, decisions []byte) *mixing {
	m := &mixing{
		choices: &choices{decisions}, viewers: viewers(t), emails: emails(t, d), truth: map[[2]string]string{}, tags: map[string]string{}, seen: map[string][]string{},
		cached: openFront(t, d, viewersEnviron...), plain: openFront(t, d, append(viewersEnviron, "ANSWER_CACHE=false")...),
	}
	var operations []string
	for range 4 {
		operations = append(operations, m.operation())
	}
	for range 12 {
		m.requests = append(m.requests, m.question(operations))
	}
	return m
}

// question returns a request for one of the operations, or for a batch of them.
func (m *mixing) question(operations []string) question {
	single := func() string {
		variables := m.one(``, `,"variables":{"id":8}`, `,"variables":{"id":"9"}`, `,"variables":{"id":"10"}`)
		return fmt.Sprintf(`{"query":%q%s}`, m.one(operations...), variables+m.one(``, ``, `,"operationName":"Q"`, `,"extensions":{"clientLibrary":{"name":"x"}}`))
	}
	switch m.of(6) {
	case 0:
		return question{http.MethodPost, "/graphql", "[" + single() + "," + single() + "]"}
	case 1:
		return question{http.MethodPost, "/graphql", "[" + single() + "]"}
	case 2, 3:
		return question{http.MethodPost, "/graphql", single()}
	}
	parameters := url.Values{"query": {m.one(operations...)}, "variables": {m.one("", `{"id":"9"}`, `{"id":10}`)}}
	return question{http.MethodGet, "/graphql?" + parameters.Encode(), ""}
}

// run sends requests until the decisions are used up.
func (m *mixing) run(t testing.TB) {
	for len(m.left) > 0 && !t.Failed() {
		switch m.of(64) {
		case 0: // a write makes some responses stale
			bio := fmt.Sprint("bio ", m.of(256))
			m.cached.change(t, fmt.Sprintf(`mutation { updateUser(id: %d, input: {bio: %q}) { email } }`, 8+m.of(3), bio), "Authorization: Bearer "+m.viewers[3].token)
			clear(m.truth)
		default:
			m.step(t)
		}
	}
}

// step sends a random request of a random viewer to both gateways and compares the bodies.
func (m *mixing) step(t testing.TB) {
	from, q := m.viewers[m.of(len(m.viewers))], m.requests[m.of(len(m.requests))]
	headers := []string{m.one("Accept: application/json", "Accept: application/graphql-response+json"), m.one("Accept-Encoding: identity", "Accept-Encoding: gzip")}
	if q.method == http.MethodPost {
		headers = append(headers, "Content-Type: application/json")
	}
	if seen := m.seen[q.target]; len(seen) > 0 && m.of(2) == 0 {
		headers = append(headers, "If-None-Match: "+m.one(seen[max(0, len(seen)-256):]...))
	}
	if from.token != "" {
		headers = append(headers, "Authorization: Bearer "+from.token)
	}
	want := m.expected(t, from.token, q)
	r, got := m.cached.send(t, q.method, q.target, q.body, headers...)
	m.counts.requests++
	if isHit(r.Header.Get("Cache-Status")) {
		m.counts.hits++
	}
	tag := r.Header.Get("Etag")
	if r.StatusCode == http.StatusNotModified {
		m.counts.unmodified++
		if got = m.tags[tag]; q.method != http.MethodGet || headers[len(headers)-1] != "If-None-Match: "+tag && headers[len(headers)-2] != "If-None-Match: "+tag {
			t.Errorf("%s %s: got 304 for the ETag %s, sent with %q", q.method, q.target, tag, headers)
		}
	} else if r.Header.Get("Content-Encoding") == "gzip" {
		got = gunzip(t, got)
	}
	if got != want || strings.Contains(got, `"errors"`) {
		t.Errorf("%s sent %s %s %s %q\ngot  %s\nwant %s\n%d %v", from.name, q.method, q.target, q.body, headers, got, want, r.StatusCode, r.Header)
		return
	}
	if _, known := m.tags[tag]; !known && tag != "" {
		m.tags[tag] = got
		m.seen[q.target] = append(m.seen[q.target], tag)
	}
	m.judge(t, from.name, from.sees, got, r.Header.Get("Cache-Control"))
}

// judge reports data that the viewer may not see, and private data that is marked public.
func (m *mixing) judge(t testing.TB, name, sees, got, control string) {
	t.Helper()
	found := anyEmail.FindAllString(got, -1)
	for _, email := range found {
		if sees != "all" && email != m.emails[sees] {
			t.Errorf("%s sees the e-mail %s: %s", name, email, got)
		}
	}
	customers := anyCustomer.FindAllStringSubmatch(got, -1)
	for _, customer := range customers {
		if sees != "all" && customer[1] != sees {
			t.Errorf("%s sees orders of user %s: %s", name, customer[1], got)
		}
	}
	if len(found)+len(customers) > 0 {
		m.counts.private++
		if strings.Contains(control, "public") {
			t.Errorf("private data of %s is marked public: %s %s", name, control, got)
		}
	}
}

// expected returns the database's response to a viewer. It is read again only after a write.
func (m *mixing) expected(t testing.TB, token string, q question) string {
	t.Helper()
	key := [2]string{token, q.target + q.body}
	if _, ok := m.truth[key]; !ok {
		_, m.truth[key] = m.plain.send(t, q.method, q.target, q.body,
			"Accept: application/json", "Content-Type: application/json", "Authorization: "+bearer(token), "Cache-Control: no-cache")
	}
	return m.truth[key]
}

func bearer(token string) string {
	if token == "" {
		return ""
	}
	return "Bearer " + token
}

func gunzip(t testing.TB, body string) string {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// decisions returns n pseudo-random bytes for a seed.
func decisions(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b) // never fails
	return b
}

// Whatever viewers request in whatever order, each gets what the database returns for them. The
// clock is fake, so the number of hits does not depend on the machine.
func TestViewersNeverMix(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := database(t, viewersEnviron...)
		for seed := range uint64(2) {
			m := newMixing(t, d, decisions(seed, 1400))
			m.run(t)
			c := m.counts
			t.Logf("seed %d: %d requests, %d hits, %d not modified, %d with private data",
				seed, c.requests, c.hits, c.unmodified, c.private)
			if c.hits < c.requests/3 || c.unmodified == 0 || c.private < c.requests/10 {
				t.Error("the run proves little: too few hits, 304s or private responses")
			}
		}
	})
}

func FuzzViewersNeverMix(f *testing.F) {
	f.Add(decisions(1000, 600))
	d := database(f, viewersEnviron...)
	f.Fuzz(func(t *testing.T, decisions []byte) {
		newMixing(t, d, decisions[:min(len(decisions), 2000)]).run(t)
	})
}

// A request with a cookie may belong to a user even if it has no token. It gets no private response
// that was cached for anonymous requests, on a connection with known heads or another. Private
// responses vary by Cookie.
func TestFault03CookieWithoutToken(t *testing.T) {
	t.Parallel()
	p := startAs(t, patientGateway, "LOG_LEVEL=info", "JWT_SECRET="+secret, "IDENTITY_HEADERS=Cookie, X-User")
	get := func(query string, headers ...string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.graphql, strings.NewReader(`{"query":"`+query+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		for i := 0; i+1 < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, string(body)
	}
	const private, public = "{ user(id: 42) { email } }", "{ user(id: 42) { name } }"
	const varies = "Accept, Accept-Encoding, Authorization, Cookie, X-User"
	for range 4 {
		get(private)
		get(public)
	}
	if r, body := get(private); !isHit(r.Header.Get("Cache-Status")) || strings.Join(r.Header["Vary"], ", ") != varies {
		t.Errorf("anonymous: got %s %v, want a hit", body, r.Header)
	}
	for _, header := range []string{"Cookie", "X-User"} {
		for range 3 {
			if r, body := get(private, header, "session=8"); isHit(r.Header.Get("Cache-Status")) || strings.Join(r.Header["Vary"], ", ") != varies {
				t.Errorf("with %s: got %s %v, want no hit", header, body, r.Header)
			}
		}
		if r, body := get(public, header, "session=8"); !isHit(r.Header.Get("Cache-Status")) {
			t.Errorf("public data, with %s: got %s %v, want a hit", header, body, r.Header)
		}
	}
	// A token is checked even if the response is cached.
	for _, query := range []string{private, public} {
		if r, body := get(query, "Authorization", "Bearer x"); r.StatusCode != http.StatusUnauthorized || !strings.Contains(strings.Join(r.Header["Vary"], ", "), "Authorization") {
			t.Errorf("a bad token: got %d %s %v, want 401", r.StatusCode, body, r.Header)
		}
	}
}
