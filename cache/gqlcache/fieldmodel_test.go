package gqlcache_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/internal/testservers"
)

var (
	fieldSoak = flag.Duration("field-soak", 0, "how long to run random writes and reads of the tracker; 0: a few hundred of them")
	fieldSeed = flag.Uint64("field-seed", 0, "the seed of random writes and reads; 0: another one each time")
)

// With random operations and random SQL, every response is the same as without a cache. Writes of a
// mutation are visible when it returns. Writes that bypass the server are visible at the latest
// after a poll of the outbox.
func TestFieldsAreAsWithoutACache(t *testing.T) {
	for name, redis := range map[string]bool{"memory alone": false, "with Redis": true} {
		t.Run(name, func(t *testing.T) {
			seed := *fieldSeed
			if seed == 0 {
				seed = rand.Uint64()
			}
			t.Logf("-field-seed=%d", seed)
			url, address := testservers.Postgres(t), ""
			if redis {
				address = testservers.Redis(t)
			}
			// Two processes: one may read what the other filled.
			m := &fieldModel{t: t, Rand: rand.New(rand.NewPCG(seed, 1)), sites: []*trackerSite{openTrackerSite(t, url, address, nil)}}
			if redis {
				m.sites = append(m.sites, openTrackerSite(t, url, address, nil))
			}
			m.sites[0].seed()
			m.sites[0].addIssues(5)
			end := time.Now().Add(*fieldSoak)
			for i := 0; i < 60 || time.Now().Before(end); i++ {
				m.step(i)
				if t.Failed() {
					t.Fatalf("failed after %d steps; the last ones:\n%s", i+1, strings.Join(m.history[max(0, len(m.history)-12):], "\n"))
				}
			}
			if m.sites[0].cache.Stats().MemoryHits.Load() == 0 || redis && m.sites[1].cache.Stats().SharedHits.Load() == 0 {
				t.Error("got no hits")
			}
		})
	}
}

type fieldModel struct {
	*rand.Rand
	t       *testing.T
	sites   []*trackerSite
	history []string
}

func (m *fieldModel) one(list ...string) string { return list[m.IntN(len(list))] }

func (m *fieldModel) issue() string {
	return m.one(bug, wish, bug, "00000000-0000-4000-8000-0000000000ff")
}

func (m *fieldModel) viewer() string { return m.one("", ann, bob) }

// step sometimes writes, and compares the responses of some operations.
func (m *fieldModel) step(i int) {
	m.t.Helper()
	switch {
	case m.IntN(3) == 0:
		write := m.sql()
		m.note("psql: " + write)
		if _, err := m.sites[0].db.ExecContext(m.t.Context(), write); err != nil && !strings.Contains(err.Error(), "constraint") {
			m.t.Fatalf("%s: %v", write, err)
		}
		for _, s := range m.sites { // every process learns of the write
			if err := s.cache.CatchUp(m.t.Context()); err != nil {
				m.t.Fatal(err)
			}
		}
	case m.IntN(3) == 0:
		s, viewer, mutation := m.sites[m.IntN(len(m.sites))], m.viewer(), m.mutation()
		m.note(viewer + ": " + mutation)
		// The process that ran the mutation serves nothing older. The others get nothing older from
		// Redis, but may from memory, so they catch up.
		responseTo(m.t, s.cached, viewer, mutation)
		m.same(s, m.viewer(), m.query())
		for _, other := range m.sites {
			if err := other.cache.CatchUp(m.t.Context()); err != nil {
				m.t.Fatal(err)
			}
		}
	case m.IntN(10) == 0:
		ev := cache.Eviction{Tags: []cache.Tag{cache.Coordinate(m.one("Issue.comments", "Query.issue", "Account.issues"))}, Soft: m.IntN(2) == 0}
		m.note(fmt.Sprint("evict ", ev))
		if _, err := m.sites[0].cache.EvictByHand(m.t.Context(), ev); err != nil {
			m.t.Fatal(err)
		}
	}
	for range 1 + m.IntN(4) {
		m.same(m.sites[m.IntN(len(m.sites))], m.viewer(), m.query())
	}
}

func (m *fieldModel) note(what string) { m.history = append(m.history, what) }

func (m *fieldModel) same(s *trackerSite, viewer, query string) {
	m.t.Helper()
	m.note(viewer + ": " + query)
	want := sorted(responseTo(m.t, s.plain, viewer, query))
	for range 2 {
		if got := sorted(responseTo(m.t, s.cached, viewer, query)); got != want {
			m.t.Errorf("viewer %q: %s: got\n%s, want\n%s", viewer, query, got, want)
		}
	}
}

// sorted returns a response with its errors sorted by text. They arrive in the order in which
// fields failed.
func sorted(answer string) string {
	data, errs, _ := strings.Cut(answer, "} ")
	list := strings.Split(strings.ReplaceAll(strings.TrimSpace(errs), "input: ", ""), "\n")
	slices.Sort(list)
	return data + "} " + strings.Join(list, "\n")
}

func (m *fieldModel) sql() string {
	id := m.issue()
	return m.one(
		fmt.Sprintf(`UPDATE issues SET title = 'title %d' WHERE id = '%s'`, m.IntN(100), id),
		fmt.Sprintf(`UPDATE issues SET state = '%s' WHERE id = '%s'`, m.one("OPEN", "CLOSED"), id),
		fmt.Sprintf(`UPDATE issues SET author_id = %s, points = %d.50 WHERE number %% 3 = %d`, m.one("NULL", "'"+ann+"'", "'"+bob+"'"), m.IntN(9), m.IntN(3)),
		fmt.Sprintf(`UPDATE issues SET labels = '["%s"]' WHERE id = '%s'`, m.one("bug", "wish"), id),
		fmt.Sprintf(`UPDATE accounts SET secret = 'secret %d' WHERE handle = '%s'`, m.IntN(100), m.one("ann", "bob")),
		fmt.Sprintf(`UPDATE accounts SET handle = CASE handle WHEN 'ann' THEN 'bob' ELSE 'ann' || '%s' END WHERE handle = '%s'`, m.one("", "a"), m.one("ann", "anna")),
		fmt.Sprintf(`INSERT INTO comments (issue_id, body, author_id) SELECT id, 'comment %d', %s FROM issues WHERE id = '%s'`, m.IntN(100), m.one("NULL", "'"+ann+"'"), id),
		`UPDATE comments SET body = body || '!' WHERE length(body) < 40`,
		fmt.Sprintf(`DELETE FROM comments WHERE issue_id = '%s'`, id),
		fmt.Sprintf(`INSERT INTO watches SELECT '%s', id FROM issues WHERE id = '%s' ON CONFLICT DO NOTHING`, m.one(ann, bob), id),
		`DELETE FROM watches`,
		fmt.Sprintf(`UPDATE members SET role = 'role %d'`, m.IntN(9)),
		fmt.Sprintf(`UPDATE projects SET key = CASE key WHEN 'core' THEN 'heart' ELSE 'core' END, name = 'name %d' WHERE key IN ('core', 'heart')`, m.IntN(9)),
		fmt.Sprintf(`DELETE FROM issues WHERE number = %d AND project_key = 'docs'`, 1+m.IntN(5)),
		fmt.Sprintf(`INSERT INTO issues (project_key, number, title, author_id) VALUES ('docs', %d, 'again', '%s') ON CONFLICT DO NOTHING`, 1+m.IntN(5), ann),
		`TRUNCATE comments`,
	)
}

func (m *fieldModel) mutation() string {
	return m.one(
		fmt.Sprintf(`mutation{setTitle(id:%q,title:"by hand %d"){title comments{body}}}`, m.one(bug, wish), m.IntN(100)),
		fmt.Sprintf(`mutation{setState(id:%q,state:%s){state}}`, m.one(bug, wish), m.one("OPEN", "CLOSED")),
		fmt.Sprintf(`mutation{addComment(issue:%q,body:"too %d"){body}}`, m.one(bug, wish), m.IntN(100)),
		`mutation{redraw}`,
	)
}

// query returns an operation with random arguments, aliases and fields.
func (m *fieldModel) query() string {
	comments := fmt.Sprintf(`comments(first:%d){body mine author{handle}}`, m.IntN(3))
	id := m.issue()
	return m.one(
		fmt.Sprintf(`{issue(id:%q){title state points labels author{handle} %s commentCount score(weights:[%d,0.5]) watched stats{readingTime(perMinute:%d)}}}`,
			id, comments, m.IntN(3), 1+m.IntN(200)),
		fmt.Sprintf(`{issue(id:%q){mentions(word:%q) other:mentions(word:"o") a:score b:score(weights:[2])}}`, id, m.one("e", "too", "!")),
		fmt.Sprintf(`{account(handle:%q){id handle secret issues(state:%s){title %s}}}`, m.one("ann", "bob", "anna"), m.one("OPEN", "CLOSED", "null"), comments),
		fmt.Sprintf(`{project(key:%q){name openCount members{account role load}}}`, m.one("core", "heart", "docs")),
		fmt.Sprintf(`{issues(filter:{state:%s,label:%s}){title}}`, m.one("OPEN", "CLOSED", "null"), m.one(`"bug"`, "null")),
		fmt.Sprintf(`{feed(first:%d){__typename ... on Issue{title mentions} ... on Comment{body mine}}}`, 1+m.IntN(12)),
		fmt.Sprintf(`{a:node(id:%q){id __typename} b:node(id:%q){id ... on Account{handle secret}}}`, id, m.one(ann, bob)),
		fmt.Sprintf(`{assigned(project:%q,author:%s,state:%s){title} written(author:%s)}`, m.one("core", "heart", "docs"),
			m.one("null", `"`+ann+`"`, `"`+bob+`"`), m.one("OPEN", "CLOSED", "null"), m.one("null", `"`+ann+`"`)),
		fmt.Sprintf(`{grid(size:%d) me{handle secret}}`, m.IntN(4)),
	)
}
