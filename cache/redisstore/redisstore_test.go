package redisstore_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
	"fieldcache/cache/storetest"
	"fieldcache/internal/testservers"
)

func TestMain(m *testing.M) { testservers.Main(m) }

func open(t testing.TB, o redisstore.Options) *redisstore.Store {
	s, err := redisstore.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return redisstore.Patient(s)
}

// patient is a timeout that is not exceeded even on a loaded machine. These tests are not about
// time.
const patient = 10 * time.Second

func client(t testing.TB, url string) *redis.Client {
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestStore(t *testing.T) {
	t.Parallel()
	for name, prefix := range map[string]string{"no prefix": "", "a prefix": "shop:"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) cache.Store {
				return open(t, redisstore.Options{URLs: []string{testservers.Redis(t)}, Prefix: prefix, Timeout: patient})
			})
		})
	}
}

var (
	stock = cache.Item{Key: "{product:7}:stock", MaxAge: 30 * time.Second}
	user  = cache.Item{Key: "user:42", Tags: []cache.Tag{"{User}"}, MaxAge: time.Minute}
)

func begin(t *testing.T, s cache.Store, items ...cache.Item) []cache.Ticket {
	t.Helper()
	ts, err := s.Begin(t.Context(), items)
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

func fill(t *testing.T, s cache.Store, item cache.Item, ticket cache.Ticket, data string) int {
	t.Helper()
	now := time.Now()
	n, err := s.Fill(t.Context(), []cache.Fill{{Item: item, Ticket: ticket,
		Entry: &cache.Entry{Data: []byte(data), Loaded: now, Ends: now.Add(item.MaxAge)}}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A load may take 3 s and still fill.
func TestFencesEnd(t *testing.T) {
	t.Parallel()
	url := testservers.Redis(t)
	s, err := redisstore.New(redisstore.Options{URLs: []string{url}, Timeout: patient})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if begin(t, s, user)[0] == nil {
		t.Fatal("got no ticket")
	}
	// -2 ns: it has ended already, on a busy machine.
	if d := client(t, url).PTTL(t.Context(), "{user:42}:g").Val(); d == -1 || d > 3*time.Second {
		t.Errorf("the fence lives %v, want at most 3s", d)
	}
}

// TestKeys checks what redis-cli shows.
func TestKeys(t *testing.T) {
	t.Parallel()
	url := testservers.Redis(t)
	s, c, ctx := open(t, redisstore.Options{URLs: []string{url}, Timeout: patient}), client(t, url), t.Context()
	ts := begin(t, s, user, stock)
	if n := c.Exists(ctx, "{user:42}:g", "{product:7}:stock:g").Val(); n != 2 {
		t.Errorf("got %d fences, want 2", n)
	}
	fill(t, s, user, ts[0], `{"id":42,"name":"Ada"}`)
	fill(t, s, stock, ts[1], `{"stock":3}`)

	var got map[string]any
	if err := json.Unmarshal([]byte(c.Get(ctx, "user:42").Val()), &got); err != nil {
		t.Fatal(err)
	}
	if v, _ := got["value"].(map[string]any); v["name"] != "Ada" {
		t.Errorf("got %v under user:42", got)
	}
	for _, field := range []string{"loaded", "ends"} {
		if _, err := time.Parse(time.RFC3339, got[field].(string)); err != nil {
			t.Errorf("%s: got error %v", field, err)
		}
	}
	if d := c.TTL(ctx, "{product:7}:stock").Val(); d <= 0 || d > 30*time.Second {
		t.Errorf("got TTL %v of the stock, want 30s at most", d)
	}
	if n := c.Exists(ctx, "{user:42}:g", "{product:7}:stock:g").Val(); n != 0 {
		t.Error("a fill left its fence behind")
	}
	if _, err := s.Evict(ctx, cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{"user:42"}}}); err != nil {
		t.Fatal(err)
	}
	if n := c.Exists(ctx, "user:42").Val(); n != 0 {
		t.Error("user:42 exists after its eviction")
	}
	for _, key := range c.Keys(ctx, "*").Val() {
		if c.PTTL(ctx, key).Val() <= 0 {
			t.Errorf("%s has no time to live", key)
		}
	}
}

func TestOnlyOneLoadHoldsTheFence(t *testing.T) {
	t.Parallel()
	s := open(t, redisstore.Options{URLs: []string{testservers.Redis(t)}, Timeout: patient})
	first, second := begin(t, s, stock)[0], begin(t, s, stock)[0]
	if first == nil || second != nil {
		t.Fatalf("got tickets %v and %v, want the first only", first, second)
	}
	if fill(t, s, stock, second, `1`) != 0 || fill(t, s, stock, first, `2`) != 1 || fill(t, s, stock, first, `3`) != 0 {
		t.Error("want only the first load to fill, and only once")
	}
}

// A fence that expired while its load was paused is different from the fence of the next load.
func TestATokenIsNobodyElses(t *testing.T) {
	t.Parallel()
	url := testservers.Redis(t)
	s, c := open(t, redisstore.Options{URLs: []string{url}, Timeout: patient}), client(t, url)
	paused := begin(t, s, stock)[0]
	c.Del(t.Context(), "{product:7}:stock:g") // as if it expired
	next := begin(t, s, stock)[0]
	if fill(t, s, stock, paused, `"old"`) != 0 || fill(t, s, stock, next, `"new"`) != 1 {
		t.Error("the paused load filled, or kept the next load from filling")
	}
}

func TestForeignContentsAreMisses(t *testing.T) {
	t.Parallel()
	url := testservers.Redis(t)
	s, c, ctx := open(t, redisstore.Options{URLs: []string{url}, Timeout: patient}), client(t, url), t.Context()
	for name, put := range map[string]func(){
		"no JSON":          func() { c.Set(ctx, "{product:7}:stock", "hello", 0) },
		"other JSON":       func() { c.Set(ctx, "{product:7}:stock", `{"a":1}`, 0) },
		"another type":     func() { c.RPush(ctx, "{product:7}:stock", "x") },
		"an expired entry": func() { c.Set(ctx, "{product:7}:stock", `{"value":1,"ends":"2020-01-01T00:00:00Z"}`, 0) },
	} {
		c.Del(ctx, "{product:7}:stock")
		put()
		if es, err := s.Get(ctx, []cache.Item{stock}); err != nil || es[0] != nil {
			t.Errorf("%s: got %v, error %v", name, es, err)
		}
	}
	if fill(t, s, stock, begin(t, s, stock)[0], `1`) != 1 {
		t.Error("foreign contents could not be overwritten")
	}
}

func TestOneRoundTrip(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	s, c, ctx := open(t, redisstore.Options{URLs: []string{server.URL()}, Timeout: patient}), client(t, server.URL()), t.Context()
	var items []cache.Item
	for i := range 20 {
		items = append(items, cache.Item{Key: cache.Entity("user", string(rune('a'+i))), Tags: user.Tags, MaxAge: time.Minute})
	}
	for i, ticket := range begin(t, s, items...) {
		fill(t, s, items[i], ticket, `1`)
	}
	c.ConfigResetStat(ctx)
	if es, err := s.Get(ctx, items); err != nil || es[0] == nil || es[19] == nil {
		t.Fatalf("got %v, error %v", es, err)
	}
	stats := c.Info(ctx, "commandstats").Val()
	if !strings.Contains(stats, "cmdstat_mget:calls=1,") || strings.Contains(stats, "cmdstat_get:") || strings.Contains(stats, "cmdstat_eval") {
		t.Errorf("a batch of 20 was read with\n%s", stats)
	}
}

// Scripts are sent again to a server that has lost them.
func TestScriptFlush(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	s, c := open(t, redisstore.Options{URLs: []string{server.URL()}, Timeout: patient}), client(t, server.URL())
	for i := range 3 {
		c.ScriptFlush(t.Context())
		if _, err := s.Evict(t.Context(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{stock.Key}}}); err != nil {
			t.Fatal(err)
		}
		if fill(t, s, stock, begin(t, s, stock)[0], `1`) != 1 {
			t.Errorf("fill %d was refused", i)
		}
	}
}

func TestOthersHear(t *testing.T) {
	t.Parallel()
	o := redisstore.Options{URLs: []string{testservers.RedisServer(t).URL()}, Timeout: patient}
	writer, reader := open(t, o), open(t, o)
	own, received := listen(t, writer), listen(t, reader)
	receives(t, received, writer)
	receives(t, own, reader)
	tags := cache.Eviction{Tags: []cache.Tag{"{users}"}}
	if _, err := writer.Evict(t.Context(), cache.Write{Eviction: tags}); err != nil {
		t.Fatal(err)
	}
	for ev := range received {
		if len(ev.Tags) == 1 && ev.Tags[0] == "{users}" {
			break
		}
	}
	if len(own) > 0 {
		t.Errorf("the writer received its own message: %v", <-own)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o    redisstore.Options
		want string // in the error; "" for none
	}{
		"one server":             {redisstore.Options{URLs: []string{"redis://127.0.0.1:6379/3"}}, ""},
		"TLS":                    {redisstore.Options{URLs: []string{"rediss://u:p@127.0.0.1:6379"}}, ""},
		"a socket":               {redisstore.Options{URLs: []string{"unix:///run/redis.sock"}}, ""},
		"a cluster":              {redisstore.Options{URLs: []string{"redis://a:1", "redis://b:1"}}, ""},
		"Sentinel":               {redisstore.Options{URLs: []string{"redis://a:1", "redis://b:1/2"}, SentinelMaster: "m"}, ""},
		"no address":             {redisstore.Options{}, "Options.URLs is required"},
		"another scheme":         {redisstore.Options{URLs: []string{"http://a"}}, "allowed are redis://"},
		"a hidden password":      {redisstore.Options{URLs: []string{"redis://u:hunter2@a:x:y"}}, "address 1"},
		"a cluster's database":   {redisstore.Options{URLs: []string{"redis://a:1/2", "redis://b:1/2"}}, "database 0 only"},
		"TLS here and not there": {redisstore.Options{URLs: []string{"rediss://a:1", "redis://b:1"}}, "or none is"},
		"two sockets":            {redisstore.Options{URLs: []string{"unix:///a", "unix:///b"}}, "single server"},
		"no effect":              {redisstore.Options{URLs: []string{"redis://a:1?read_timeout=5s"}}, "parameter read_timeout has no effect"},
		"braces":                 {redisstore.Options{URLs: []string{"redis://a:1"}, Prefix: "{x}"}, "braces"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := c.o.Check()
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got error %v, want none", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got error %v, want %q", err, c.want)
			case err != nil && strings.Contains(err.Error(), "hunter2"):
				t.Errorf("error %v contains the password", err)
			}
		})
	}
}

func BenchmarkGet20(b *testing.B) {
	url := testservers.Redis(b)
	s := open(b, redisstore.Options{URLs: []string{url}, Timeout: patient})
	var items []cache.Item
	for i := range 20 {
		items = append(items, cache.Item{Key: cache.Entity("user", string(rune('a'+i))), MaxAge: time.Minute})
	}
	ts, err := s.Begin(b.Context(), items)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	var fills []cache.Fill
	for i := range items {
		fills = append(fills, cache.Fill{Item: items[i], Ticket: ts[i], Entry: &cache.Entry{Data: []byte(`{"id":1,"name":"Ada Lovelace"}`), Loaded: now, Ends: now.Add(time.Hour)}})
	}
	if n, err := s.Fill(b.Context(), fills); n != 20 || err != nil {
		b.Fatal(n, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Get(b.Context(), items); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkServerCPU measures the server's CPU time of a batch of 20 keys, relative to a plain MGET
// of the same keys. The batch also reads the generation of a tag.
func BenchmarkServerCPU(b *testing.B) {
	url := testservers.RedisServer(b).URL()
	s, plain := open(b, redisstore.Options{URLs: []string{url}, Timeout: patient}), client(b, url)
	var items []cache.Item
	var names []string
	for i := range 20 {
		items = append(items, cache.Item{Key: cache.Entity("user", fmt.Sprint(i)), Tags: []cache.Tag{"{User}"}, MaxAge: time.Hour})
		names = append(names, string(items[i].Key))
	}
	ts, err := s.Begin(b.Context(), items)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	var fills []cache.Fill
	for i := range items {
		fills = append(fills, cache.Fill{Item: items[i], Ticket: ts[i], Entry: &cache.Entry{
			Data: []byte(`{"id":1,"name":"Ada Lovelace","bio":"Wrote the first program."}`), Loaded: now, Ends: now.Add(time.Hour), Seen: cache.SnapshotAfter(7),
		}})
	}
	if n, err := s.Fill(b.Context(), fills); n != len(items) || err != nil {
		b.Fatal(n, err)
	}
	used := func() (seconds float64) {
		info := plain.Info(b.Context(), "cpu").Val()
		for line := range strings.Lines(info) {
			for _, name := range []string{"used_cpu_sys_main_thread:", "used_cpu_user_main_thread:"} {
				if v, ok := strings.CutPrefix(strings.TrimSpace(line), name); ok {
					f, err := strconv.ParseFloat(v, 64)
					if err != nil {
						b.Fatal(err)
					}
					seconds += f
				}
			}
		}
		return seconds
	}
	var batch, mget float64
	const round = 200 // calls of one kind, then of the other
	for n := 0; n < b.N; n += round {
		began := used()
		for range round {
			if es, err := s.Get(b.Context(), items); err != nil || es[0] == nil {
				b.Fatal(err)
			}
		}
		between := used()
		for range round {
			if err := plain.MGet(b.Context(), names...).Err(); err != nil {
				b.Fatal(err)
			}
		}
		batch += between - began
		mget += used() - between
	}
	b.ReportMetric(batch/mget, "cpu/MGET")
}

// Evictions are published in messages of limited size. Quiet evictions are not published.
func TestFault27MessagesAreBounded(t *testing.T) {
	t.Parallel()
	url := testservers.Redis(t)
	s := open(t, redisstore.Options{URLs: []string{url}, Timeout: patient})
	c := client(t, url)
	sub := c.Subscribe(t.Context(), fmt.Sprint("evictions:", c.Options().DB))
	t.Cleanup(func() { _ = sub.Close() })
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	received := map[cache.Key]bool{}
	messages := sub.Channel(redis.WithChannelSize(1000))
	var ev cache.Eviction
	for i := range 400 {
		ev.Keys = append(ev.Keys, cache.Entity("user", strconv.Itoa(i)))
	}
	for i := range 100 {
		ev.Keys[0] = cache.Entity("user", fmt.Sprint("of ", i))
		if _, err := s.Evict(t.Context(), cache.Write{Xid: uint64(i), Eviction: cache.Eviction{Keys: append([]cache.Key{}, ev.Keys...)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Evict(t.Context(), cache.Write{Quiet: true, Eviction: cache.Eviction{Keys: []cache.Key{"nobody is told"}}}); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.After(patient)
	for !received[cache.Entity("user", "of 0")] || len(received) < 399 {
		select {
		case m := <-messages:
			var note struct{ Writes []cache.Write }
			if err := json.Unmarshal([]byte(m.Payload), &note); err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, w := range note.Writes {
				for _, k := range w.Keys {
					received[k] = true
				}
				n += len(w.Keys)
			}
			if n > 1000 || received["nobody is told"] {
				t.Fatalf("got a message of %d names, want at most 1000 and none of a quiet eviction", n)
			}
		case <-deadline:
			t.Fatalf("received %d names, want at least 399", len(received))
		}
	}
}

// Look returns what is cached under a key, whatever its tags are, and nothing that others have
// stored there.
func TestLook(t *testing.T) {
	t.Parallel()
	url := testservers.Redis(t)
	s := open(t, redisstore.Options{URLs: []string{url}})
	item := cache.Item{Key: "{users}:list:first=2", Tags: []cache.Tag{"{users}", "{User}"}, MaxAge: time.Minute}
	tickets, err := s.Begin(t.Context(), []cache.Item{item})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	e := &cache.Entry{Data: []byte(`["1","2"]`), Loaded: now, Ends: now.Add(time.Minute)}
	if n, err := s.Fill(t.Context(), []cache.Fill{{Item: item, Ticket: tickets[0], Entry: e}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	got, err := s.Look(t.Context(), item.Key)
	if err != nil || got == nil || string(got.Data) != `["1","2"]` || !slices.Equal(got.Tags, []cache.Tag{"{User}", "{users}"}) {
		t.Errorf("got %+v, error %v", got, err)
	}
	if got, err := s.Look(t.Context(), "user:1"); got != nil || err != nil {
		t.Errorf("no entry: got %+v, error %v", got, err)
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	if err := client.Set(t.Context(), "user:1", "theirs", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Look(t.Context(), "user:1"); got != nil || err != nil {
		t.Errorf("foreign value: got %+v, error %v", got, err)
	}
}
