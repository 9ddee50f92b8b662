package gqlcache_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	goredis "github.com/redis/go-redis/v9"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/memstore"
	"fieldcache/cache/outbox"
	"fieldcache/cache/pgxwatch"
	"fieldcache/cache/policy"
	"fieldcache/cache/redisstore"
	"fieldcache/internal/testservers"
	"fieldcache/internal/tracker"
)

// trackerSite is the tracker on a database of its own, with the cache and without it.
type trackerSite struct {
	t      testing.TB
	db     *sql.DB
	cached *executor.Executor
	plain  *executor.Executor
	cache  *cache.Cache
	fields *gqlcache.Fields
	rows   *outbox.RowTags
	tables *tracker.Resolver // behind the cache
	log    *syncBuffer
	closes []func() error
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

// patience is the lease and the Redis timeout of a site. It is long, so that hits remain hits on a
// busy machine.
const patience = 10 * time.Second

// siteOption changes the options of a site.
type siteOption func(*siteOptions)

type siteOptions struct {
	fields gqlcache.FieldsOptions
	cache  cache.Options
	shadow []string
	// resolvers replaces the resolvers behind the cache.
	resolvers func(*tracker.Resolver) tracker.ResolverRoot
	// shared wraps the Redis store.
	shared func(*redisstore.Store) cache.Store
}

func newTrackerSite(t testing.TB) *trackerSite {
	return openTrackerSite(t, testservers.Postgres(t), "", nil)
}

// openTrackerSite opens a process of its own on a database, and creates missing tables. It uses
// Redis unless the URL is empty. If motto is not nil, it resolves the field of that name.
func openTrackerSite(t testing.TB, url, redis string, motto func(context.Context) (*string, error), with ...siteOption) *trackerSite {
	ctx := t.Context()
	s := &trackerSite{t: t, log: &syncBuffer{}}
	o := siteOptions{shared: func(r *redisstore.Store) cache.Store { return r }}
	o.cache.Lease, o.cache.Timeout = patience, patience
	for _, option := range with {
		option(&o)
	}
	t.Cleanup(s.close)
	watch := new(cache.Watch)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	direct := stdlib.OpenDB(*config)
	direct.SetMaxOpenConns(4)
	s.closing(direct.Close)
	config.Tracer = pgxwatch.New(watch)
	s.db = direct
	traced := stdlib.OpenDB(*config)
	traced.SetMaxOpenConns(8)
	s.closing(traced.Close)
	var there bool
	if err := direct.QueryRowContext(ctx, "SELECT to_regclass('issues') IS NOT NULL").Scan(&there); err != nil {
		t.Fatal(err)
	}
	if !there {
		s.exec(tracker.Tables)
	}

	s.tables = &tracker.Resolver{DB: traced}
	var resolvers tracker.ResolverRoot = root{s.tables, motto}
	if o.resolvers != nil {
		resolvers = o.resolvers(s.tables)
	}
	plan, err := gqlcache.PlanFields(tracker.NewExecutableSchema(tracker.Config{Resolvers: resolvers}))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range plan.Rows() {
		names = append(names, r.Table)
	}
	place := outbox.PostgreSQL("")
	found, err := place.Describe(ctx, direct, names...)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := outbox.NewRowTags(func(table string) (outbox.TableInfo, bool) { i, ok := found[table]; return i, ok }, plan.Rows()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := place.Install(ctx, direct, rows.Tables()); err != nil {
		t.Fatal(err)
	}
	memory, err := memstore.New(memstore.Options{MaxBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(s.log, nil))
	box, err := outbox.New(direct, place, rows.Evictions)
	if err != nil {
		t.Fatal(err)
	}
	o.cache.Memory, o.cache.Outbox, o.cache.Watch, o.cache.Log = memory, box, watch, log
	if redis != "" {
		store, err := redisstore.New(redisstore.Options{URLs: []string{redis}, Timeout: o.cache.Timeout, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		o.cache.Shared = o.shared(store)
	}
	if o.cache.Shadow, err = gqlcache.Shadowed(plan.Schema().Schema(), o.shadow); err != nil {
		t.Fatal(err)
	}
	if s.cache, err = cache.New(o.cache); err != nil {
		t.Fatal(err)
	}
	s.closing(s.cache.Close)
	o.fields.Cache, o.fields.Plan, o.fields.Rows, o.fields.Log, o.fields.CatchUp = s.cache, plan, rows, log, true
	if o.fields.Viewer == nil {
		o.fields.Viewer = tracker.ViewerOf
	}
	fields, err := gqlcache.NewFields(o.fields)
	if err != nil {
		t.Fatal(err)
	}
	s.fields, s.rows = fields, rows
	s.cached = executor.New(plan.Schema())
	s.cached.Use(fields)
	s.plain = executor.New(tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{DB: direct}}))
	return s
}

// root has the tracker's resolvers, but another one for motto.
type root struct {
	*tracker.Resolver
	motto func(context.Context) (*string, error)
}

type rootQuery struct {
	tracker.QueryResolver
	motto func(context.Context) (*string, error)
}

// Query implements [tracker.ResolverRoot].
func (r root) Query() tracker.QueryResolver {
	if r.motto == nil {
		return r.Resolver.Query()
	}
	return rootQuery{r.Resolver.Query(), r.motto}
}

// Motto implements [tracker.QueryResolver].
func (q rootQuery) Motto(ctx context.Context) (*string, error) { return q.motto(ctx) }

func (s *trackerSite) closing(close func() error) { s.closes = append(s.closes, close) }

// close closes the parts of the process, the newest first.
func (s *trackerSite) close() {
	for _, close := range slices.Backward(s.closes) {
		if err := close(); err != nil {
			s.t.Error(err)
		}
	}
	s.closes = nil
}

func (s *trackerSite) exec(statement string, args ...any) {
	s.t.Helper()
	if _, err := s.db.ExecContext(context.Background(), statement, args...); err != nil {
		s.t.Fatalf("%.60s: %v", statement, err)
	}
}

// responseTo returns the data of a response as JSON, followed by its errors.
func responseTo(t testing.TB, e *executor.Executor, viewer, query string) string {
	t.Helper()
	return responseIn(t, context.Background(), e, viewer, query)
}

func responseIn(t testing.TB, ctx context.Context, e *executor.Executor, viewer, query string) string {
	t.Helper()
	ctx = graphql.StartOperationTrace(tracker.WithViewer(ctx, viewer))
	rc, errs := e.CreateOperationContext(ctx, &graphql.RawParams{Query: query})
	if errs != nil {
		t.Fatalf("%s: %v", query, errs)
	}
	responses, ctx := e.DispatchOperation(ctx, rc)
	r := responses(ctx)
	return fmt.Sprintf("%s %v", r.Data, r.Errors)
}

// same fails the test unless the cached server returns the same response as the plain one, at the
// latest after the outbox was polled.
func (s *trackerSite) same(viewer, query string) {
	s.t.Helper()
	want := responseTo(s.t, s.plain, viewer, query)
	s.eventually(query+": the cached server does not return "+want, func() bool { return responseTo(s.t, s.cached, viewer, query) == want })
}

// eventually fails the test unless is returns true within a minute.
func (s *trackerSite) eventually(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatal(what, s.log)
		}
	}
}

const (
	ann  = "00000000-0000-4000-8000-00000000000a"
	bob  = "00000000-0000-4000-8000-00000000000b"
	bug  = "00000000-0000-4000-8000-000000000001"
	wish = "00000000-0000-4000-8000-000000000002"
)

func (s *trackerSite) seed() {
	s.exec(`INSERT INTO accounts (id, handle, secret) VALUES ($1, 'ann', 'a'), ($2, 'bob', 'b')`, ann, bob)
	s.exec(`INSERT INTO projects VALUES ('core', 'Core'), ('docs', 'Documentation')`)
	s.exec(`INSERT INTO members VALUES ('core', $1, 'lead'), ('core', $2, 'dev')`, ann, bob)
	s.exec(`INSERT INTO issues (id, project_key, number, title, author_id, points, labels) VALUES
		($1, 'core', 1, 'It fails', $3, 1.50, '["bug"]'), ($2, 'core', 2, 'Do more', NULL, NULL, '[]')`, bug, wish, ann)
	s.exec(`INSERT INTO comments (id, issue_id, author_id, body) VALUES ('00000000-0000-4000-8000-0000000000c1', $1, $2, 'Me too')`, bug, bob)
	s.exec(`INSERT INTO watches VALUES ($1, $2)`, bob, bug)
}

func TestFieldsAreCachedByTheirDirectivesAlone(t *testing.T) {
	s := newTrackerSite(t)
	s.seed()
	queries := []string{
		`{account(handle:"ann"){id handle secret issues{title} open:issues(state:OPEN){number}}}`,
		`{project(key:"core"){name openCount members{account role load}}}`,
		fmt.Sprintf(`{issue(id:%q){title state points labels author{handle} comments{body mine author{handle}} commentCount mentions score more:score(weights:[2]) watched stats{words readingTime}}}`, bug),
		fmt.Sprintf(`{issue(id:%q){title}}`, strings.ToUpper(bug)),
		`{issues{title} closed:issues(filter:{state:CLOSED}){title} bugs:issues(filter:{label:"bug",state:null}){title}}`,
		`{feed{__typename ... on Issue{title} ... on Comment{body}}}`,
		fmt.Sprintf(`{a:node(id:%q){id __typename} b:node(id:%q){id ... on Account{handle}} c:node(id:"00000000-0000-4000-8000-0000000000ff"){id}}`, bug, ann),
		`{grid(size:4) me{handle secret} motto}`,
	}
	check := func(when string) {
		t.Helper()
		for _, q := range queries {
			for _, viewer := range []string{"", ann, bob} {
				s.same(viewer, q)
				if first, again := responseTo(t, s.cached, viewer, q), responseTo(t, s.plain, viewer, q); first != again {
					t.Errorf("%s, %s: got %s, want %s", when, q, first, again)
				}
			}
		}
	}
	check("at first")
	for _, q := range queries {
		if strings.Contains(q, "{issues{") {
			continue // Query.issues declares no rows
		}
		s.eventually(q+": sources are called although nothing changed", func() bool {
			loads := s.cache.Stats().Loads.Load()
			responseTo(t, s.cached, ann, q)
			return s.cache.Stats().Loads.Load() == loads
		})
	}
	for _, write := range []string{
		`UPDATE issues SET title = 'It fails still' WHERE number = 1`,
		`UPDATE issues SET state = 'CLOSED' WHERE number = 2`,
		`UPDATE issues SET author_id = NULL WHERE number = 1`,
		`UPDATE accounts SET handle = 'anna' WHERE handle = 'ann'`,
		`UPDATE accounts SET handle = 'ann', secret = 'other' WHERE handle = 'anna'`,
		`INSERT INTO comments (issue_id, body) SELECT id, 'one more' FROM issues`,
		`UPDATE comments SET body = body || '!'`,
		`DELETE FROM watches`,
		`UPDATE members SET role = 'guest' WHERE role = 'dev'`,
		`UPDATE projects SET name = 'Heart' WHERE key = 'core'`,
		`DELETE FROM issues WHERE number = 1`,
		`TRUNCATE accounts, issues, comments, members, watches`,
	} {
		s.exec(write)
		check(write)
	}
}

func TestMutationsEvictBeforeTheyAnswer(t *testing.T) {
	s := newTrackerSite(t)
	s.seed()
	issue := fmt.Sprintf(`{issue(id:%q){title state commentCount comments{body}} feed{... on Issue{title}}}`, bug)
	open := `{project(key:"core"){openCount} account(handle:"ann"){issues(state:OPEN){title}}}`
	s.same(ann, issue)
	s.same(ann, open)
	for _, mutation := range []string{
		fmt.Sprintf(`mutation{setTitle(id:%q,title:"new"){title comments{body}}}`, bug),
		fmt.Sprintf(`mutation{setState(id:%q,state:CLOSED){state} again:setTitle(id:%q,title:"newer"){title}}`, bug, bug),
		fmt.Sprintf(`mutation{addComment(issue:%q,body:"and"){body}}`, bug),
		fmt.Sprintf(`mutation{setState(id:%q,state:OPEN){state}}`, bug),
	} {
		responseTo(t, s.cached, ann, mutation)
		for _, q := range []string{issue, open} {
			if got, want := responseTo(t, s.cached, ann, q), responseTo(t, s.plain, ann, q); got != want {
				t.Errorf("right after %s: got %s, want %s", mutation, got, want)
			}
		}
	}
}

// Rows may match an argument that is null or omitted. It then stands for any row, or for rows with
// NULL. A write that changes the column of such a field evicts it in both cases.
func TestArgumentsThatMayBeNull(t *testing.T) {
	s := newTrackerSite(t)
	s.seed()
	var queries []string
	for _, author := range []string{"", "author:null", fmt.Sprintf("author:%q", ann), fmt.Sprintf("author:%q", bob)} {
		for _, state := range []string{"", "state:null", "state:OPEN", "state:CLOSED"} {
			queries = append(queries, fmt.Sprintf(`{assigned(project:"core",%s %s){number}}`, author, state))
		}
		queries = append(queries, strings.ReplaceAll(fmt.Sprintf(`{written(%s)}`, author), "()", ""))
	}
	for _, write := range []string{
		"SELECT 1",
		`UPDATE issues SET author_id = NULL WHERE number = 1`,
		fmt.Sprintf(`UPDATE issues SET author_id = '%s' WHERE number = 2`, bob),
		fmt.Sprintf(`UPDATE issues SET author_id = '%s' WHERE number = 2`, ann),
		`UPDATE issues SET state = 'CLOSED' WHERE number = 2`,
		`UPDATE issues SET state = 'OPEN', author_id = NULL WHERE number = 2`,
		`UPDATE issues SET project_key = 'docs' WHERE number = 2`,
		`INSERT INTO issues (project_key, number, title) VALUES ('core', 3, 'of nobody')`,
		`DELETE FROM issues WHERE number = 1`,
	} {
		s.exec(write)
		if err := s.cache.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, q := range queries {
			if got, want := responseTo(t, s.cached, "", q), responseTo(t, s.plain, "", q); got != want {
				t.Errorf("after %s: %s: got %s, want %s", write, q, got, want)
			}
		}
		for _, q := range queries {
			s.eventually(q+": the database is queried although nothing changed", func() bool {
				loads := s.cache.Stats().Loads.Load()
				responseTo(t, s.cached, "", q)
				return s.cache.Stats().Loads.Load() == loads
			})
		}
	}
}

func TestMutationsEvictByName(t *testing.T) {
	s := newTrackerSite(t)
	drawn := func() uint64 {
		loads := s.cache.Stats().Loads.Load()
		responseTo(t, s.cached, "", `{grid(size:3)}`)
		return s.cache.Stats().Loads.Load() - loads
	}
	s.eventually("the grid is loaded again although nothing changed", func() bool { drawn(); return drawn() == 0 })
	responseTo(t, s.cached, "", `mutation{redraw}`)
	if drawn() != 1 {
		t.Error("a mutation did not evict the tag of its directive")
	}
	if drawn() != 0 {
		t.Error("the grid was not cached again")
	}
}

// A client that disconnects does not undo what its mutation did: every process learns of the eviction.
func TestMutationsEvictByNameAlthoughTheirClientHasGone(t *testing.T) {
	t.Parallel()
	url := testservers.Postgres(t)
	one, other := openTrackerSite(t, url, "", nil), openTrackerSite(t, url, "", nil)
	drawn := func() uint64 {
		loads := other.cache.Stats().Loads.Load()
		responseTo(t, other.cached, "", `{grid(size:3)}`)
		return other.cache.Stats().Loads.Load() - loads
	}
	other.eventually("the grid is loaded again although nothing changed", func() bool { drawn(); return drawn() == 0 })
	client, leave := context.WithCancel(t.Context())
	one.cached.AroundFields(func(ctx context.Context, next graphql.Resolver) (any, error) {
		defer leave()
		return next(ctx)
	})
	responseIn(t, client, one.cached, "", `mutation{redraw}`)
	other.eventually("another process still serves the grid from before the mutation", func() bool { return drawn() == 1 })
}

// A second process reads from Redis what the first one loaded.
func TestFieldsComeBackFromRedis(t *testing.T) {
	url, redis := testservers.Postgres(t), testservers.Redis(t)
	first := openTrackerSite(t, url, redis, nil)
	first.seed()
	queries := []string{
		`{account(handle:"ann"){id handle secret issues{title labels points} open:issues(state:OPEN){number}}}`,
		`{project(key:"core"){name openCount members{account role load}}}`,
		fmt.Sprintf(`{issue(id:%q){title author{handle} comments{body createdAt author{handle}} commentCount score watched stats{readingTime}}}`, bug),
		`{feed{__typename ... on Issue{title} ... on Comment{body}} grid(size:4) motto me{handle}}`,
		fmt.Sprintf(`{a:node(id:%q){__typename id} b:node(id:%q){__typename id} c:node(id:"00000000-0000-4000-8000-0000000000ff"){id}}`, bug, ann),
	}
	fresh := func(when string) {
		t.Helper()
		missing := "another process asks its sources"
		defer func() {
			if t.Failed() {
				t.Log(missing, first.log)
			}
		}()
		// A process takes the fences of the values that it lacks, which keeps the first process
		// from filling them. So it stays open until it has filled them, however late its poll is,
		// while the next process reads.
		var last *trackerSite
		defer func() {
			if last != nil {
				last.close()
			}
		}()
		first.eventually(when+": not all values come from Redis", func() bool {
			for _, q := range queries {
				// Bypass the caches, so that values that Redis did not accept last time are filled
				// again.
				responseIn(t, cache.NoCache(context.Background()), first.cached, ann, q)
				if got, want := responseTo(t, first.cached, ann, q), responseTo(t, first.plain, ann, q); got != want {
					missing = fmt.Sprintf("%s: %s, want %s", q, got, want)
					return false
				}
			}
			second := openTrackerSite(t, url, redis, nil)
			if last != nil {
				last.close()
			}
			last = second
			for _, q := range queries {
				before := second.cache.Stats().Loads.Load()
				got, want := responseTo(t, second.cached, ann, q), responseTo(t, first.plain, ann, q)
				if got != want {
					t.Fatalf("%s: %s: got %s in another process, want %s", when, q, got, want)
				}
				if second.cache.Stats().Loads.Load() > before {
					missing = q
					if err := second.cache.CatchUp(t.Context()); err != nil {
						t.Fatal(err)
					}
					return false
				}
			}
			return second.cache.Stats().SharedHits.Load() > 0
		})
	}
	fresh("at first")
	first.exec(`UPDATE issues SET title = 'It fails still' WHERE number = 1`)
	fresh("after a write")
	o, err := goredis.ParseURL(redis)
	if err != nil {
		t.Fatal(err)
	}
	client := goredis.NewClient(o)
	defer func() { _ = client.Close() }()
	keys := keysOf(t, redis, "query:project*")
	for _, key := range keys { // so that another release, whose Go type has changed, does not take the value
		if document, err := client.Get(t.Context(), key).Result(); err != nil || !strings.Contains(document, `"shape":"`) {
			t.Errorf("%s: got %s, error %v; want a document with the shape of its Go type", key, document, err)
		}
	}
	if len(keys) == 0 {
		t.Error("got no key of Query.project")
	}
}

// A value that JSON cannot represent is cached in the process that loaded it, and evicted by writes,
// but is not stored in Redis. The log reports its field once.
func TestValuesThatJSONCannotRepresentStayInMemory(t *testing.T) {
	url, redis := testservers.Postgres(t), testservers.Redis(t)
	first := openTrackerSite(t, url, redis, nil)
	first.seed()
	first.exec(`UPDATE issues SET points = 'NaN' WHERE number = 1`)
	second := openTrackerSite(t, url, redis, nil)
	query := fmt.Sprintf(`{issue(id:%q){number title}}`, bug)
	for _, title := range []string{"It fails again", "It fails still"} {
		first.exec(`UPDATE issues SET title = $1 WHERE number = 1`, title)
		for i, s := range []*trackerSite{first, second} {
			s.eventually(fmt.Sprintf("process %d does not have the value in memory", i+1), func() bool {
				if got := responseTo(t, s.cached, ann, query); !strings.Contains(got, title) {
					return false // the write is not polled yet
				}
				before := s.cache.Stats().Loads.Load()
				if got, want := responseTo(t, s.cached, ann, query), responseTo(t, s.plain, ann, query); got != want {
					t.Fatalf("process %d: got %s, want %s", i+1, got, want)
				}
				return s.cache.Stats().Loads.Load() == before
			})
			if n := s.cache.Stats().SharedHits.Load(); n != 0 {
				t.Errorf("process %d had %d hits in Redis, want none", i+1, n)
			}
		}
	}
	for i, s := range []*trackerSite{first, second} {
		if n := strings.Count(s.log.String(), "do not survive JSON"); n != 1 || !strings.Contains(s.log.String(), "coordinate=Query.issue ") {
			t.Errorf("process %d reported it %d times, want once with the coordinate Query.issue:\n%s", i+1, n, s.log)
		}
	}
}

// Right after a mutation was acknowledged, another process reads from Redis alone. It gets nothing
// older.
func TestMutationsEvictFromRedis(t *testing.T) {
	url, redis := testservers.Postgres(t), testservers.Redis(t)
	first := openTrackerSite(t, url, redis, nil)
	first.seed()
	q := fmt.Sprintf(`{issue(id:%q){title} feed{... on Issue{title}} account(handle:"ann"){issues{title}}}`, bug)
	for i := range 8 {
		responseTo(t, first.cached, ann, q)
		title := fmt.Sprint("title ", i)
		responseTo(t, first.cached, ann, fmt.Sprintf(`mutation{setTitle(id:%q,title:%q){title}}`, bug, title))
		other := openTrackerSite(t, url, redis, nil)
		defer other.close()
		if got := responseTo(t, other.cached, ann, q); strings.Count(got, title+`"`) != 3 {
			t.Fatalf("got %s from another process right after %q was acknowledged", got, title)
		}
	}
}

// Loads of several viewers are carried together. Each viewer gets its own values.
func TestPrivateFieldsOfManyViewersAtOnce(t *testing.T) {
	s := newTrackerSite(t)
	s.seed()
	queries := map[string]string{
		`{me{id handle secret}}`: "", `{a:account(handle:"ann"){secret} b:account(handle:"bob"){secret}}`: "",
		fmt.Sprintf(`{issue(id:%q){watched}}`, bug): "",
	}
	for range 5 {
		var wg sync.WaitGroup
		for q := range queries {
			for _, viewer := range []string{"", ann, bob} {
				want := responseTo(t, s.plain, viewer, q)
				for range 4 {
					wg.Go(func() {
						if got := responseTo(t, s.cached, viewer, q); got != want {
							t.Errorf("viewer %q: %s: got %s, want %s", viewer, q, got, want)
						}
					})
				}
			}
		}
		wg.Wait()
		if t.Failed() {
			return // each comparison below would wait until it times out
		}
		s.exec(`UPDATE accounts SET secret = secret || '!'`) // so that everything is loaded again
		s.exec(`DELETE FROM watches`)
		for q := range queries {
			for _, viewer := range []string{"", ann, bob} {
				s.same(viewer, q)
			}
		}
	}
}

func TestResolversSayHowTheirValuesAreCached(t *testing.T) {
	for _, test := range []struct {
		name   string
		say    func(context.Context) error
		evict  cache.Tag // between the second request and the third
		calls  []int     // calls of the resolver after each request
		answer string
	}{
		{"nothing", func(context.Context) error { return nil }, "", []int{1, 1, 1}, `{"motto":"x"} `},
		{"restricted", func(ctx context.Context) error {
			gqlcache.Restrict(ctx, gqlcache.Hint{MaxAge: new(time.Second)})
			return nil
		}, "", []int{1, 2, 3}, `{"motto":"x"} `},
		{"a hint", func(ctx context.Context) error {
			gqlcache.SetHint(ctx, gqlcache.Hint{Scope: new(cache.Private)})
			return nil
		}, "", []int{1, 2, 3}, `{"motto":"x"} `},
		{"a tag that is evicted", func(ctx context.Context) error { gqlcache.Tag(ctx, "wall"); return nil }, cache.Named("wall"), []int{1, 1, 2}, `{"motto":"x"} `},
		{"a tag that is not evicted", func(ctx context.Context) error { gqlcache.Tag(ctx, "wall"); return nil }, cache.Named("door"), []int{1, 1, 1}, `{"motto":"x"} `},
		{"an error", func(context.Context) error { return errors.New("no motto") }, "", []int{1, 2, 3}, `{"motto":null} input:1:2: motto no motto`},
		{"an error beside the value", func(ctx context.Context) error { graphql.AddErrorf(ctx, "half a motto"); return nil }, "", []int{1, 2, 3}, `{"motto":"x"} input: motto half a motto`},
		{"a panic", func(context.Context) error { panic("no motto") }, "", []int{1, 2, 3}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			calls := 0
			s := openTrackerSite(t, testservers.Postgres(t), "", func(ctx context.Context) (*string, error) {
				calls++
				if err := test.say(ctx); err != nil {
					return nil, err
				}
				return new("x"), nil
			})
			for i, want := range test.calls {
				if i == 2 && test.evict != "" {
					if _, err := s.cache.EvictByHand(t.Context(), cache.Eviction{Tags: []cache.Tag{test.evict}}); err != nil {
						t.Fatal(err)
					}
				}
				got := responseTo(t, s.cached, "", `{motto}`)
				if calls != want || test.answer != "" && strings.TrimSpace(got) != strings.TrimSpace(test.answer) {
					t.Errorf("request %d: got %d calls of the resolver, want %d; got response %s, want %s", i+1, calls, want, got, test.answer)
				}
			}
		})
	}
}

func TestPlansTellWhatHasNoEffect(t *testing.T) {
	plan, err := gqlcache.PlanFields(tracker.NewExecutableSchema(tracker.Config{Resolvers: &tracker.Resolver{}}))
	if err != nil {
		t.Fatal(err)
	}
	if w := plan.Warnings(); len(w) != 0 {
		t.Errorf("got warnings %q, want none", w)
	}
	byHand := gqlparser.MustLoadSchema(&ast.Source{Input: policy.Directives + "type Query { a: Int @cacheControl(maxAge: 60) }"})
	plan, err = gqlcache.PlanFields(&graphql.ExecutableSchemaMock{SchemaFunc: func() *ast.Schema { return byHand }})
	if err != nil || len(plan.Warnings()) != 1 || !strings.Contains(plan.Warnings()[0], "gqlgen") {
		t.Errorf("a schema that gqlgen did not generate: got error %v, warnings %q", err, plan.Warnings())
	}
}
