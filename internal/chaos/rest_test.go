package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// settle is how long after the last fault and write everything is at rest.
const settle = 2 * time.Second

// atRest checks, after some time without faults and writes, that every gateway returns what the
// rows say, a new one too, and that every value in Redis equals its row and has a TTL.
func (s *site) atRest() {
	s.t.Helper()
	s.pass(s.t.Context(), settle)
	want := s.rows()
	for _, g := range s.gateways {
		diff(s, "gateway "+g.name, s.answers(g), want)
	}
	// Entries that must be refused may stay in Redis until they are read. So a gateway with an
	// empty memory reads everything, which replaces them. On a busy machine Redis may miss its
	// deadline: then another gateway tries.
	var wrong []string
	for range 3 {
		newcomer := s.add()
		s.noLoadUnderWay()
		diff(s, "gateway "+newcomer.name+", which has just started,", s.answers(newcomer), want)
		s.readStoredCategories(newcomer)
		if wrong = s.storedUnlikeRows(); len(wrong) == 0 {
			return
		}
	}
	for _, w := range wrong[:min(len(wrong), 5)] {
		s.t.Errorf("at rest: %s", w)
	}
	if len(wrong) > 5 {
		s.t.Errorf("at rest: %d keys in Redis are wrong", len(wrong))
	}
}

// noLoadUnderWay waits until there is no fence. A gateway that was killed during a load has left
// one, and the keys under it cannot be filled until it expires.
func (s *site) noLoadUnderWay() {
	s.t.Helper()
	s.eventually("no load is under way", func(ctx context.Context) error {
		return s.eachKey(ctx, func(ctx context.Context, c redis.Cmdable, key string) error {
			if !strings.HasSuffix(key, ":g") {
				return nil
			}
			const fence = 3 * time.Second
			left, err := c.PTTL(ctx, key).Result()
			if err == nil && 0 < left && left <= fence {
				err = fmt.Errorf("%s has %v left", key, left)
			}
			return err
		})
	})
}

// readStoredCategories has a gateway read every category that has entries in Redis. Products have
// left most of the categories. A list that was evicted by its tag stays, to be refused, until it is
// read or expires.
func (s *site) readStoredCategories(g *gateway) {
	s.t.Helper()
	named := map[string]bool{}
	form := regexp.MustCompile(`^\{products\}:category=([^:]+):`)
	if err := s.eachKey(s.t.Context(), func(_ context.Context, _ redis.Cmdable, key string) error {
		if m := form.FindStringSubmatch(key); m != nil {
			named[m[1]] = true
		}
		return nil
	}); err != nil {
		s.t.Fatal(err)
	}
	for some := range slices.Chunk(slices.Sorted(maps.Keys(named)), 20) {
		var b strings.Builder
		for i, name := range some {
			fmt.Fprintf(&b, " c%d: products(category: %q, first: 5) { totalCount nodes { id } }", i, name)
		}
		var any map[string]json.RawMessage
		s.mustQuery(g, "{"+b.String()+" }", &any)
	}
}

// diff reports where got differs from the rows.
func diff(s *site, who string, got, want map[string]string) {
	s.t.Helper()
	all := slices.Sorted(maps.Keys(want))
	for k := range got {
		if _, ok := want[k]; !ok {
			all = append(all, k)
		}
	}
	n := 0
	for _, k := range all {
		if got[k] != want[k] {
			if n++; n <= 5 {
				s.t.Errorf("at rest: %s returned for %s: %q, want %q", who, k, got[k], want[k])
			}
		}
	}
	if n > 5 {
		s.t.Errorf("at rest: %s returned %d wrong values", who, n)
	}
}

// rows returns what a correct gateway returns, read from the database: text by name.
func (s *site) rows() map[string]string {
	s.t.Helper()
	want := map[string]string{}
	for _, statement := range []string{
		`SELECT 'user ' || id, name || ', ' || coalesce(bio, '') FROM users`,
		`SELECT 'user ' || id, '' FROM generate_series(1, (SELECT max(id) + 3 FROM users)) AS id WHERE id NOT IN (SELECT id FROM users)`,
		`SELECT 'users', count(*) || ' ' || string_agg(id::text, ' ' ORDER BY id) FROM users`,
		`SELECT 'product ' || id, concat_ws(', ', name, category, stock, price_cents) FROM products`,
		`SELECT 'reviews of ' || p.id, count(r.id) || ' ' || coalesce(round(avg(r.rating), 2)::float8::text, '') || ' ' ||
			coalesce(string_agg(r.id::text, ' ' ORDER BY r.id), '') FROM products p LEFT JOIN reviews r ON r.product_id = p.id GROUP BY p.id`,
		`SELECT 'category ' || category, string_agg(id::text, ' ' ORDER BY id) FROM products GROUP BY category`,
		`SELECT 'reviews by 1', count(*)::text FROM reviews WHERE author_id = 1`,
	} {
		rows, err := s.db.Query(s.t.Context(), statement)
		if err != nil {
			s.t.Fatal(err)
		}
		var name, text string
		if _, err := pgx.ForEachRow(rows, []any{&name, &text}, func() error { want[name] = text; return nil }); err != nil {
			s.t.Fatalf("%s: %v", statement, err)
		}
	}
	return want
}

// rest is a gateway's response about everything but single users.
type rest struct {
	Users struct {
		TotalCount int
		Nodes      []node
	}
	Products struct {
		Nodes []struct {
			ID, Name, Category string
			Stock              int
			Price              struct{ Amount string }
			AverageRating      *float64
			Reviews            struct {
				TotalCount int
				Nodes      []node
			}
		}
	}
	User struct{ Reviews struct{ TotalCount int } }
}

type node struct{ ID string }

func ids(nodes []node) string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.ID)
	}
	return strings.Join(all, " ")
}

// answers returns what a gateway returns for the names of [site.rows].
func (s *site) answers(g *gateway) map[string]string {
	s.t.Helper()
	got := map[string]string{}
	var all rest
	s.mustQuery(g, `{ users(first: 100) { totalCount nodes { id } }
		products(first: 20) { nodes { id name category stock price { amount } averageRating
			reviews(first: 100) { totalCount nodes { id } } } }
		user(id: 1) { reviews(first: 1) { totalCount } } }`, &all)
	got["users"] = fmt.Sprint(all.Users.TotalCount, " ", ids(all.Users.Nodes))
	got["reviews by 1"] = strconv.Itoa(all.User.Reviews.TotalCount)
	for _, p := range all.Products.Nodes {
		cents := strings.TrimLeft(strings.Replace(p.Price.Amount, ".", "", 1), "0")
		got["product "+p.ID] = fmt.Sprintf("%s, %s, %d, %s", p.Name, p.Category, p.Stock, cents)
		mean := ""
		if p.AverageRating != nil {
			mean = strconv.FormatFloat(*p.AverageRating, 'f', -1, 64)
		}
		got["reviews of "+p.ID] = fmt.Sprint(p.Reviews.TotalCount, " ", mean, " ", ids(p.Reviews.Nodes))
		var in struct{ Products struct{ Nodes []node } }
		s.mustQuery(g, fmt.Sprintf(`{ products(category: %q, first: 5) { totalCount nodes { id } } }`, p.Category), &in)
		got["category "+p.Category] = ids(in.Products.Nodes)
	}
	var last int
	if err := s.db.QueryRow(s.t.Context(), `SELECT max(id) + 3 FROM users`).Scan(&last); err != nil {
		s.t.Fatal(err)
	}
	for first := 1; first <= last; first += 25 {
		var b strings.Builder
		for id := first; id < min(first+25, last+1); id++ {
			fmt.Fprintf(&b, " u%d: user(id: %[1]d) { name bio }", id)
		}
		var some map[string]*struct{ Name, Bio string }
		s.mustQuery(g, "{"+b.String()+" }", &some)
		for alias, u := range some {
			got["user "+alias[1:]] = ""
			if u != nil {
				got["user "+alias[1:]] = u.Name + ", " + u.Bio
			}
		}
	}
	return got
}

// mustQuery sends a query that must succeed.
func (s *site) mustQuery(g *gateway, operation string, into any) {
	s.t.Helper()
	s.eventually("gateway "+g.name+" does not mark its answer as stale", func(context.Context) error { // it may be stale on a busy machine
		a, err := s.query(s.t.Context(), g, operation, nil)
		if err == nil {
			err = a.into(into)
		}
		if err != nil {
			s.t.Fatalf("gateway %s: %v", g.name, err)
		}
		if a.stale {
			return errors.New("the database is there")
		}
		return nil
	})
}

// eachKey calls f for every key in Redis. Only tests do that.
func (s *site) eachKey(ctx context.Context, f func(ctx context.Context, c redis.Cmdable, key string) error) error {
	var one sync.Mutex
	scan := func(ctx context.Context, c *redis.Client) error {
		keys := c.Scan(ctx, 0, "", 1000).Iterator()
		for keys.Next(ctx) {
			one.Lock()
			err := f(ctx, c, keys.Val())
			one.Unlock()
			if err != nil {
				return err
			}
		}
		return keys.Err()
	}
	if c, ok := s.stored.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, scan)
	}
	return scan(ctx, s.stored.(*redis.Client))
}

// storedUnlikeRows compares every entity and every list in Redis with the database, looks for keys
// without a TTL, and returns what is wrong.
func (s *site) storedUnlikeRows() (wrong []string) {
	s.t.Helper()
	compared := map[string]int{}
	err := s.eachKey(s.t.Context(), func(ctx context.Context, c redis.Cmdable, key string) error {
		left, err := c.PTTL(ctx, key).Result()
		if err != nil {
			return err
		}
		if left == -1 {
			wrong = append(wrong, key+" in Redis has no time to live")
		}
		text, err := c.Get(ctx, key).Bytes()
		if err == redis.Nil || redis.HasErrorPrefix(err, "WRONGTYPE") {
			return nil // it has expired meanwhile, or holds no value
		} else if err != nil {
			return err
		}
		for _, form := range forms {
			m := form.key.FindStringSubmatch(key)
			if m == nil || strings.HasSuffix(key, ":g") {
				continue // a fence or a generation belongs to another key
			}
			compared[form.name]++
			value, err := storedValue(text)
			if err == nil {
				err = form.compare(s, m, value)
			}
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("%s in Redis is %s: %v", key, text, err))
			}
			return nil
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, form := range forms {
		if compared[form.name] == 0 {
			wrong = append(wrong, "Redis holds no "+form.name+": there was nothing to compare")
		}
	}
	s.t.Logf("values compared with their rows: %v", compared)
	return wrong
}

// storedValue returns the value of an entry in Redis.
func storedValue(text []byte) (json.RawMessage, error) {
	var entry struct{ Value json.RawMessage }
	if err := json.Unmarshal(text, &entry); err != nil {
		return nil, err
	}
	if entry.Value == nil {
		return nil, fmt.Errorf("there is no value")
	}
	return entry.Value, nil
}

// forms are the kinds of values in Redis, recognized by their keys.
var forms = []struct {
	name    string
	key     *regexp.Regexp
	compare func(s *site, key []string, value json.RawMessage) error
}{
	{name: "entity", key: regexp.MustCompile(`^(user|product|review|order|country):([^:]+)$`), compare: compareRow},
	{name: "part", key: regexp.MustCompile(`^\{product:(\d+)\}:(price|stock|rating)$`), compare: comparePart},
	{name: "list", key: regexp.MustCompile(`^\{(users|products|countries)\}:(?:category=([^:]+):)?list:?(.*)$`), compare: compareList},
	{name: "list of an entity", key: regexp.MustCompile(`^\{(product|user):(\d+)\}:(reviews|orders):list:?(.*)$`), compare: compareOwned},
	{name: "count", key: regexp.MustCompile(`^\{(users|products)\}:(?:category=([^:]+):)?count$`), compare: compareCount},
	{name: "count of an entity", key: regexp.MustCompile(`^\{(product|user):(\d+)\}:(reviews|orders):count$`), compare: compareOwnedCount},
}

// json1 returns the JSON that a statement selects, or nil.
func (s *site) json1(statement string, args ...any) (any, error) {
	var text []byte
	if err := s.db.QueryRow(s.t.Context(), statement, args...).Scan(&text); err == pgx.ErrNoRows || text == nil {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var v any
	return v, json.Unmarshal(text, &v)
}

// within returns an error unless want has everything in got; want may have more.
func within(got, want any) error {
	g, ok := got.(map[string]any)
	w, ok2 := want.(map[string]any)
	if !ok || !ok2 {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("it should be %v", want)
		}
		return nil
	}
	for name, value := range g {
		should, known := w[name]
		if !known {
			return fmt.Errorf("the row has no %s", name)
		}
		if fmt.Sprint(value) == fmt.Sprint(should) || sameMoment(value, should) {
			continue
		}
		return fmt.Errorf("its %s should be %v", name, should)
	}
	return nil
}

func sameMoment(a, b any) bool {
	x, err := time.Parse(time.RFC3339Nano, fmt.Sprint(a))
	if err != nil {
		return false
	}
	y, err := time.Parse(time.RFC3339Nano, fmt.Sprint(b))
	return err == nil && x.Equal(y)
}

func compareJSON(s *site, value json.RawMessage, statement string, args ...any) error {
	want, err := s.json1(statement, args...)
	if err != nil {
		return err
	}
	var got any
	if err := json.Unmarshal(value, &got); err != nil {
		return err
	}
	return within(got, want)
}

func compareRow(s *site, key []string, value json.RawMessage) error {
	table, column := map[string]string{"user": "users", "product": "products", "review": "reviews", "order": "orders", "country": "countries"}[key[1]], "id"
	if key[1] == "country" {
		column = "code"
	}
	return compareJSON(s, value, fmt.Sprintf(`SELECT to_jsonb(x) FROM %s x WHERE %s::text = $1`, table, column), key[2])
}

func comparePart(s *site, key []string, value json.RawMessage) error {
	if key[2] == "rating" {
		return compareJSON(s, value, `SELECT jsonb_build_object('sum', coalesce(sum(rating), 0), 'count', count(*))
			FROM reviews WHERE product_id::text = $1`, key[1])
	}
	return compareJSON(s, value, `SELECT to_jsonb(x) FROM products x WHERE id::text = $1`, key[1])
}

// window parses a list's arguments, as in first=20,after=40.
func window(args string) (first, after int) {
	for pair := range strings.SplitSeq(args, ",") {
		name, value, _ := strings.Cut(pair, "=")
		n, _ := strconv.Atoi(value)
		switch name {
		case "first":
			first = n
		case "after":
			after = n
		}
	}
	return first, after
}

// page compares a list with its rows; condition selects them.
func page(s *site, value json.RawMessage, args, table, condition string, more ...any) error {
	first, after := window(args)
	return compareJSON(s, value, fmt.Sprintf(`WITH w AS (SELECT id FROM %s WHERE id > $1 AND (%s) ORDER BY id LIMIT $2 + 1)
		SELECT jsonb_build_object('ids', coalesce((SELECT jsonb_agg(id ORDER BY id) FROM (SELECT id FROM w ORDER BY id LIMIT $2) AS x), '[]'),
			'more', (SELECT count(*) > $2 FROM w))`, table, condition), append([]any{after, first}, more...)...)
}

func compareList(s *site, key []string, value json.RawMessage) error {
	if key[1] == "countries" {
		return compareJSON(s, value, `SELECT jsonb_agg(code ORDER BY code) FROM countries`)
	}
	if key[2] != "" {
		return page(s, value, key[3], key[1], "category = $3", key[2])
	}
	return page(s, value, key[3], key[1], "true")
}

// owner returns the column that a list of a table is selected by.
func owner(kind, collection string) string {
	switch {
	case kind == "product":
		return "product_id"
	case collection == "orders":
		return "customer_id"
	}
	return "author_id"
}

func compareOwned(s *site, key []string, value json.RawMessage) error {
	return page(s, value, key[4], key[3], owner(key[1], key[3])+"::text = $3", key[2])
}

func compareCount(s *site, key []string, value json.RawMessage) error {
	if key[2] != "" {
		return compareJSON(s, value, `SELECT to_jsonb(count(*)) FROM products WHERE category = $1`, key[2])
	}
	return compareJSON(s, value, fmt.Sprintf(`SELECT to_jsonb(count(*)) FROM %s`, key[1]))
}

func compareOwnedCount(s *site, key []string, value json.RawMessage) error {
	return compareJSON(s, value, fmt.Sprintf(`SELECT to_jsonb(count(*)) FROM %s WHERE %s::text = $1`, key[3], owner(key[1], key[3])), key[2])
}
