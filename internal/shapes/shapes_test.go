package shapes_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/lru"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/prometheus/client_golang/prometheus"
	_ "modernc.org/sqlite"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/shapes/batches"
	"fieldcache/internal/shapes/dataloader"
	"fieldcache/internal/shapes/models"
	"fieldcache/internal/shapes/products"
	"fieldcache/internal/shapes/starwars"
	"fieldcache/internal/testservers"
)

// shape is a project: its tables, how its server is built, and its operations.
type shape struct {
	tables string
	// build makes a new schema and a wrapper for the project's server.
	build func(db *sql.DB) (graphql.ExecutableSchema, func(http.Handler) http.Handler)
	// use are the project's own extensions.
	use       func(db *sql.DB) []graphql.HandlerExtension
	queries   []string // a query, or one with variables as {"query": …, "variables": …}; the whole response is cached
	others    []string // likewise, but the whole response is not cached, mostly since it has errors
	mutations []string
	shared    int // values that a new process finds in Redis, at least
}

var shapes = map[string]shape{
	"starwars": {
		tables: starwars.Tables,
		build: func(db *sql.DB) (graphql.ExecutableSchema, func(http.Handler) http.Handler) {
			return starwars.NewExecutableSchema(starwars.Config{Resolvers: &starwars.Resolver{DB: db}}), nil
		},
		queries: []string{
			`{hero{name ... on Droid{primaryFunction} friends{name}}}`,
			`{hero(episode:EMPIRE){__typename id name appearsIn ... on Human{height(unit:FOOT) mass starships{name length(unit:FOOT) history}}}}`,
			`{hero(episode:null){id}}`,
			`{human(id:"1000"){friends{name friends{name appearsIn}} starships{id length}}}`,
			`{human(id:"1000"){friendsConnection(first:1){totalCount pageInfo{startCursor endCursor hasNextPage} edges{cursor node{name}} friends{name}}}}`,
			`{human(id:"1000"){friendsConnection(first:2,after:"Y3Vyc29yMQ=="){edges{cursor node{__typename name friendsConnection{totalCount}}}}}}`,
			`{human(id:"9"){name}}`,
			`{a:character(id:"2000"){...c} b:character(id:"1002"){...c} c:character(id:"9"){...c}} fragment c on Character{name friends{id} friendsConnection{edges{node{id}} pageInfo{endCursor}}}`,
			`{search(text:"a"){__typename ... on Human{name mass} ... on Droid{primaryFunction} ... on Starship{name history}}}`,
			`{search(text:"nobody"){__typename}}`,
			`{reviews(episode:EMPIRE){id stars commentary time}}`,
			`{reviews(episode:NEWHOPE){id}}`,
			`{reviews(episode:JEDI){id stars commentary}}`,
			`{"query":"query($e:Episode!,$s:Time){reviews(episode:$e,since:$s){id time}}","variables":{"e":"EMPIRE","s":"2020-01-01T00:00:00Z"}}`,
			`{"query":"query($e:Episode!,$s:Time){reviews(episode:$e,since:$s){id time}}","variables":{"e":"EMPIRE","s":"2021-01-01T00:00:00+02:00"}}`,
			`{starship(id:"3000"){name meters:length feet:length(unit:FOOT)}}`,
		},
		others: []string{
			`{human(id:"1000"){friendsConnection(after:"nonsense"){totalCount}}}`,
			`{human(id:"2000"){name}}`,
			`{starship(id:"3000"){nonsense}}`,
			`{__typename __schema{queryType{name}}}`,
		},
		shared: 3,
		mutations: []string{
			`mutation{createReview(episode:EMPIRE,review:{stars:4,commentary:"new",time:"2024-05-06T07:08:09Z"}){id stars commentary time}}`,
			`mutation{createReview(episode:NEWHOPE,review:{stars:1}){id time}}`,
			`mutation{createReview(episode:JEDI,review:{stars:9}){id}}`,
			`mutation{befriend(character:"1002",friend:"2001"){name friends{name} friendsConnection{totalCount}}}`,
			`mutation{befriend(character:"1002",friend:"2001"){name}}`,
			`mutation{rename(id:"1001",name:"Leia Organa"){name friends{name}} again:rename(id:"2001",name:"R2"){name}}`,
		},
	},
	"dataloader": {
		tables: dataloader.Tables,
		build: func(db *sql.DB) (graphql.ExecutableSchema, func(http.Handler) http.Handler) {
			r := &dataloader.Resolver{DB: db}
			return dataloader.NewExecutableSchema(dataloader.Config{Resolvers: r}), r.Loaders
		},
		queries: []string{
			`{customers{id name address{street country} orders{id date amount items{name place}}}}`,
			`{customers{name orders(over:"1.00"){amount}}}`,
			`{torture1d(customerIds:[2,1,2,9]){id name address{id}}}`,
			`{torture1d(customerIds:[]){id}}`,
			`{torture1d{id}}`,
			`{torture2d(customerIds:[[1],[2,3],[],[1,9]]){name address{street} orders{amount items{name}}}}`,
			`{"query":"query($ids:[[Int!]]){torture2d(customerIds:$ids){id}}","variables":{"ids":[[3],null]}}`,
			`{"query":"query($ids:[Int!]){torture1d(customerIds:$ids){id}}","variables":{"ids":3}}`,
			`{"query":"query($v:Any){echo(any:$v)}","variables":{"v":{"b":[1,2.5,"x",null],"a":{"z":true}}}}`,
			`{"query":"query($v:Any){echo(any:$v)}","variables":{"v":{"b":[1,2.5,"x"],"a":{"z":true}}}}`,
			`{echo(any:{a:1,b:[true]},over:"2.25")}`,
			`{echo}`,
		},
		others: []string{
			`{echo(over:"x")}`,
		},
		shared: 10,
		mutations: []string{
			`mutation{move(customer:1,street:"New Street"){name address{street}}}`,
			`mutation{move(customer:9,street:"No Street"){name}}`,
			`mutation{order(customer:2,amount:"7.05",items:["One","Two"]){id date amount items{name place}}}`,
			`mutation{order(customer:3,amount:"0.00"){id}}`,
			`mutation{cancel(order:1) again:cancel(order:1)}`,
		},
	},
	"products": {
		tables: products.Tables,
		build: func(db *sql.DB) (graphql.ExecutableSchema, func(http.Handler) http.Handler) {
			return products.NewExecutableSchema(products.Config{Resolvers: &products.Resolver{DB: db}}), nil
		},
		queries: []string{
			`{topProducts{id upc name price weight shipping manufacturer{id name}}}`,
			`{topProducts(first:1){duty shipping(perKilo:2) manufacturer{products{upc manufacturer{name}}}}}`,
		},
		others: []string{
			`{_service{sdl}}`,
			entities(`... on Product{upc name price shipping}`, `{"__typename":"Product","upc":"top-1"}`, `{"__typename":"Product","upc":"top-3"}`),
			entities(`... on Product{upc manufacturer{name}}`, `{"__typename":"Product","manufacturer":{"id":"m1"},"id":"p1"}`, `{"__typename":"Product","manufacturer":{"id":"m2"},"id":"p1"}`),
			entities(`__typename ... on Manufacturer{name products{upc price}} ... on Product{id}`, `{"__typename":"Manufacturer","id":"m1"}`, `{"__typename":"Product","upc":"top-2"}`),
			entities(`... on Product{name}`, `{"__typename":"Product","upc":"none"}`, `{"__typename":"Product","upc":"top-2"}`),
			entities(`... on Product{duty}`, `{"__typename":"Product","upc":"top-1","tariff":10}`, `{"__typename":"Product","upc":"top-1","tariff":20}`),
			entities(`... on Product{duty}`, `{"__typename":"Product","upc":"top-1","tariff":30}`),
			entities(`... on Product{name}`, `{"__typename":"Unknown","upc":"none"}`),
		},
		shared: 5,
		mutations: []string{
			`mutation{reprice(upc:"top-1",price:12){price shipping manufacturer{name products{price}}}}`,
			`mutation{reprice(upc:"none",price:12){price}}`,
			`mutation{transfer(manufacturer:"m1",id:"p2",to:"m2"){manufacturer{name} upc}}`,
			`mutation{transfer(manufacturer:"m1",id:"p9",to:"m2"){upc}}`,
			`mutation{reprice(upc:"top-3",price:2000){shipping}}`,
		},
	},
	"batches": {
		tables: batches.Tables,
		build: func(db *sql.DB) (graphql.ExecutableSchema, func(http.Handler) http.Handler) {
			return batches.NewExecutableSchema(batches.Config{Resolvers: &batches.Resolver{DB: db}}), nil
		},
		use: func(db *sql.DB) []graphql.HandlerExtension {
			return []graphql.HandlerExtension{batches.Transactions{DB: db}}
		},
		queries: []string{
			`{notes{id title color pinned tags writer{name notes{title tags}}}}`,
			`{notes(filter:{}){id tags(prefix:"ab") all:tags related{id tags}}}`,
			`{notes(filter:{color:null}){id}}`,
			`{notes(filter:{color:RED,pinned:null}){id}}`,
			`{notes(filter:{pinned:false,title:"Third <b>"}){id}}`,
			`{notes(filter:null){id}}`,
			`{"query":"query($f:NoteFilter){notes(filter:$f){id}}","variables":{"f":{"color":null,"pinned":null}}}`,
			`{"query":"query($f:NoteFilter){notes(filter:$f){id}}","variables":{}}`,
			`{"query":"query($c:Color){notes(filter:{color:$c}){id}}","variables":{}}`,
			`{"query":"query($c:Color){notes(filter:{color:$c}){id}}","variables":{"c":null}}`,
			`{note(id:"n1"){title newestTag related{title}}}`,
			`{note(id:"none"){id}}`,
			`{matching(fields:{title:"First"}){id}}`,
			`{matching(fields:{color:null}){id}}`,
			`{matching(fields:{color:RED}){id}}`,
			`{matching(fields:{}){id}}`,
			`{settings{theme size digest palette{front back}}}`,
			`{badges{label count}}`,
		},
		others: []string{
			`{note(id:"n4"){title tags newestTag writer{name}}}`,
			`{notes{newestTag}}`,
		},
		shared: 10,
		mutations: []string{
			`mutation{change(id:"n1",changes:{title:"Changed",color:null}){title color tags writer{notes{title}}}}`,
			`mutation{change(id:"n2",changes:{pinned:false}){title pinned}}`,
			`mutation{change(id:"none",changes:{}){id}}`,
			`mutation{patch(id:"n2",fields:{color:GREEN,title:"Patched"}){title color}}`,
			`mutation{patch(id:"n3",fields:{color:null}){color}}`,
			`mutation{a:change(id:"n3",changes:{title:"kept?"}){title} spill(id:"n3"){title}}`,
			`mutation{set(name:"size",value:"99"){size digest palette{back}}}`,
			`mutation{set(name:"back",value:"blue"){palette{back}} other:set(name:"theme",value:null){theme}}`,
			`mutation{set(name:"other",value:"1"){digest}}`,
		},
	},
	"models": {
		tables: models.Tables,
		build: func(db *sql.DB) (graphql.ExecutableSchema, func(http.Handler) http.Handler) {
			return models.NewExecutableSchema(models.Config{Resolvers: &models.Resolver{DB: db}}), nil
		},
		queries: []string{
			`{nodes{__typename id name ... on Leaf{score unit worth} ... on Branch{leaves{id name score}}}}`,
			`{l1:pick(id:"l1"){id name} l2:pick(id:"l2"){id name ... on Leaf{score}} b:pick(id:"b1"){id ... on Branch{leaves{score}}} n:pick(id:"none"){id} t:pick(id:"typed"){id}}`,
			`{l1:anything(id:"l1"){__typename ... on Leaf{id score}} l2:anything(id:"l2"){... on Leaf{id score worth}} b:anything(id:"b1"){... on Branch{id leaves{id}}}}`,
			`{tree(depth:5){name size leaf{id score} left{name size right{size leaf{id}} left{left{leaf{id}}}}}}`,
			`{tree(depth:0){name}}`,
			`{grid{id name score unit}}`,
			`{page{total items{id score}}}`,
			`{blow(how:"typed")}`,
			`{a:priced b:priced(least:"1.05") c:priced(least:"1.5") d:priced(unit:ONE) e:priced(unit:TWO) f:priced(when:"2024-01-01T00:00:00Z") g:priced(when:"2023-12-31T23:30:00-01:00") h:priced(unit:null)}`,
			`{a:find{name} b:find(by:null){name} c:find(by:{}){name} d:find(by:{name:null}){name} e:find(by:{name:""}){name} f:find(by:{unit:ONE}){name} g:find(by:{unit:null}){name} h:find(by:{unit:TWO}){name}}`,
			`{a:find(by:{tags:null}){name} b:find(by:{tags:[]}){name} c:find(by:{tags:[null]}){name} d:find(by:{tags:"null"}){name} e:find(by:{tags:[""]}){name} f:find(by:{tags:["a,b"]}){name} g:find(by:{tags:["a","b"]}){name} h:find(by:{tags:"a"}){name}}`,
			`{a:find(by:{nested:{}}){name} b:find(by:{nested:{nested:null}}){name} c:find(by:{nested:{nested:{name:"x"}}}){name} d:find(by:{nested:null}){name}}`,
			`{"query":"query($n:String,$s:Search,$t:[String]){a:find(by:{name:$n,tags:$t}){name} b:find(by:$s){name}}","variables":{}}`,
			`{"query":"query($n:String,$s:Search,$t:[String]){a:find(by:{name:$n,tags:$t}){name} b:find(by:$s){name}}","variables":{"n":null,"s":null,"t":null}}`,
			`{"query":"query($n:String,$s:Search,$t:[String]){a:find(by:{name:$n,tags:$t}){name} b:find(by:$s){name}}","variables":{"n":"null","s":{"tags":["x",null]},"t":"x"}}`,
			`{now}`,
		},
		others: []string{
			`{values{id name upper}}`,
			`{values{id upper(prefix:"y")}}`,
			`{blow(how:"add")}`,
			`{blow(how:"panic")}`,
			`{blow(how:"both")}`,
			`{blow(how:"timeout")}`,
			`{priced(least:"x")}`,
			`{priced(least:"0.13")}`,
		},
		shared: 10,
		mutations: []string{
			`mutation{put(id:"l1",name:"Anna"){id name ... on Leaf{score}}}`,
			`mutation{put(id:"l2",name:null){id name ... on Leaf{score}}}`,
			`mutation{put(id:"b1",name:"B"){id name ... on Branch{leaves{score}}}}`,
			`mutation{put(id:"zz",name:"B"){id}}`,
		},
	},
}

// entities returns the query that a federation router sends.
func entities(selection string, representations ...string) string {
	return fmt.Sprintf(`{"query":"query($r:[_Any!]!){_entities(representations:$r){%s}}","variables":{"r":[%s]}}`, selection, strings.Join(representations, ","))
}

// project is a server of a shape.
type project struct {
	t       testing.TB
	db      *sql.DB
	gateway *gqlcache.Gateway
	metrics *prometheus.Registry
	log     *syncBuffer

	plain, fields, whole http.Handler // without the cache, with the field cache alone, and with the Gateway's handler around it
}

// syncBuffer is a log that can be read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// server builds a server like those of real projects.
func (s shape) server(db *sql.DB, gateway *gqlcache.Gateway, schema graphql.ExecutableSchema, around func(http.Handler) http.Handler) http.Handler {
	srv := handler.New(schema)
	srv.SetRecoverFunc(func(_ context.Context, p any) error { return fmt.Errorf("recovered: %v", p) })
	srv.AddTransport(transport.Websocket{})
	srv.AddTransport(transport.Options{})
	srv.AddTransport(transport.SSE{})
	srv.AddTransport(transport.MultipartMixed{})
	srv.AddTransport(transport.MultipartForm{})
	srv.AddTransport(transport.UrlEncodedForm{})
	srv.AddTransport(transport.GET{})
	srv.AddTransport(transport.POST{})
	srv.Use(extension.Introspection{})
	srv.Use(extension.AutomaticPersistedQuery{Cache: lru.New[string](100)})
	srv.Use(extension.FixedComplexityLimit(1000))
	if gateway != nil {
		srv.Use(gateway)
	}
	if s.use != nil {
		for _, e := range s.use(db) {
			srv.Use(e)
		}
	}
	if around == nil {
		return srv
	}
	return around(srv)
}

// newServer builds a server without streaming transports.
func newServer(schema graphql.ExecutableSchema, extensions ...graphql.HandlerExtension) *handler.Server {
	srv := handler.New(schema)
	srv.AddTransport(transport.GET{})
	srv.AddTransport(transport.POST{})
	for _, e := range extensions {
		srv.Use(e)
	}
	return srv
}

// open starts a process of a project with the cache on a database.
func (s shape) open(t testing.TB, db *sql.DB, redis string) *project {
	t.Helper()
	p := &project{t: t, db: db, metrics: prometheus.NewRegistry(), log: &syncBuffer{}}
	schema, around := s.build(db)
	o := gqlcache.Options{Database: db, Metrics: p.metrics, Log: slog.New(slog.NewTextHandler(p.log, nil))}
	if redis != "" {
		o.Redis = []string{redis}
	}
	var err error
	if p.gateway, err = gqlcache.Open(t.Context(), schema, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	p.fields = s.server(db, p.gateway, schema, around)
	p.whole = p.gateway.Handler(p.fields)
	schema, around = s.build(db)
	p.plain = s.server(db, nil, schema, around)
	return p
}

func (p *project) close() {
	if err := p.gateway.Close(); err != nil {
		p.t.Error(err)
	}
}

// database opens a database with the shape's tables.
func (s shape) database(t testing.TB, driver, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if _, err := db.ExecContext(t.Context(), s.tables); err != nil {
		t.Fatal(err)
	}
	return db
}

// response is the part of an HTTP response that the cache must not change.
type response struct {
	Status      int
	ContentType string
	Body        string
}

// request sends a query, or a complete JSON body, by POST.
func request(t testing.TB, h http.Handler, query string) (response, http.Header) {
	t.Helper()
	body := query
	if !strings.HasPrefix(query, `{"query"`) {
		text, err := json.Marshal(map[string]string{"query": query})
		if err != nil {
			t.Fatal(err)
		}
		body = string(text)
	}
	r := httptest.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, "/query", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{w.Code, w.Header().Get("Content-Type"), string(text)}, w.Header()
}

// same compares the responses with and without the cache.
func (p *project) same(when string, queries []string) {
	p.t.Helper()
	for _, q := range queries {
		want, _ := request(p.t, p.plain, q)
		for at, h := range map[string]http.Handler{"the field cache": p.fields, "a whole response": p.whole} {
			for i := range 3 {
				if got, header := request(p.t, h, q); got != want {
					p.t.Errorf("%s, %s (request %d, %s): %s\n got %+v\nwant %+v", when, at, i+1, header.Get("Cache-Status"), q, got, want)
				}
			}
		}
	}
}

// missed returns a query of the list whose whole response is not served from memory, and why. It
// returns "" if there is none.
func (p *project) missed(queries []string) string {
	for _, q := range queries {
		if _, header := request(p.t, p.whole, q); !strings.Contains(header.Get("Cache-Status"), "hit") {
			return fmt.Sprintf("%s is not stored: %s, %s\n%s", q, header.Get("Cache-Status"), header.Get("Cache-Control"), p.log)
		}
	}
	return ""
}

// counted returns how many values were served from a tier.
func (p *project) counted(tier string) (n int) {
	families, err := p.metrics.Gather()
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "fieldcache_hits_total" && l.GetName() == "tier" && l.GetValue() == tier {
					n += int(m.GetCounter().GetValue())
				}
			}
		}
	}
	return n
}

// The responses of every shape equal those without the cache: at first, from the cache, after each
// mutation, and in a new process that finds the values in Redis.
func TestShapesAreAnsweredAsWithoutTheCache(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, on := range []string{"SQLite and memory", "PostgreSQL and Redis"} {
				t.Run(on, func(t *testing.T) {
					t.Parallel()
					database := func() *sql.DB {
						if on == "SQLite and memory" {
							return s.database(t, "sqlite", lite(t))
						}
						return s.database(t, "pgx", testservers.Postgres(t))
					}
					redis := ""
					if on != "SQLite and memory" {
						redis = testservers.Redis(t)
					}
					db := database()
					p := s.open(t, db, redis)
					all := slices.Concat(s.queries, s.others)
					// The mutations of a twin, a project with another database of the same content,
					// give the expected responses.
					other := database()
					alone, around := s.build(other)
					twin := s.server(other, nil, alone, around)

					p.same("at first", all)
					eventually(t, func() string { return p.missed(s.queries) })
					for _, m := range s.mutations {
						want, _ := request(t, twin, m)
						if got, _ := request(t, p.whole, m); got != want {
							t.Errorf("%s:\n got %+v\nwant %+v", m, got, want)
						}
						p.same("after "+m, all)
						for _, q := range all {
							want, _ := request(t, twin, q)
							if got, _ := request(t, p.plain, q); got != want {
								t.Fatalf("the two databases of the test differ: %s: got %+v, want %+v", q, got, want)
							}
						}
					}
					if redis != "" {
						eventually(t, func() string { // a Redis that responds slowly is not used for a while
							fresh := s.open(t, db, redis)
							fresh.same("by a process that has just started", all)
							if n := fresh.counted("redis"); n < s.shared {
								return fmt.Sprintf("a process that has just started got %d values from Redis, want %d or more\n%s", n, s.shared, fresh.log)
							}
							return ""
						})
					}
				})
			}
		})
	}
}

// eventually calls fault until it returns "".
func eventually(t testing.TB, fault func() string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		complaint := fault()
		if complaint == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatal(complaint)
		}
	}
}
