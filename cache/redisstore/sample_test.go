package redisstore_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/redisstore"
	"fieldcache/internal/testservers"
)

func TestSample(t *testing.T) {
	t.Parallel()
	url := testservers.Redis(t)
	s, server := open(t, redisstore.Options{URLs: []string{url}, Prefix: "s:", Timeout: patient}), client(t, url)
	if got, err := s.Sample(t.Context()); err != nil || got.Keys != 0 || got.Drawn != 0 || len(got.Kinds) != 0 || got.Bytes == 0 {
		t.Errorf("empty database: got %+v, error %v", got, err)
	}
	values := map[string]any{"elsewhere": "x"}
	for i := range 900 {
		values[fmt.Sprintf("s:user:%d", i)] = strings.Repeat("x", 1000)
	}
	for i := range 300 {
		values["s:"+string(cache.Entity("product", fmt.Sprint(i)).Part("price"))] = "1"
	}
	if err := server.MSet(t.Context(), values).Err(); err != nil {
		t.Fatal(err)
	}
	got, err := s.Sample(t.Context())
	if err != nil || got.Keys != 1201 || got.Drawn != 200 {
		t.Fatalf("drew %d of %d keys, want 200 of 1201; error %v", got.Drawn, got.Keys, err)
	}
	all := 0.0
	kinds := map[string]redisstore.SampledKind{}
	for _, k := range got.Kinds {
		all += k.Keys
		kinds[k.Kind] = k
	}
	// Three of four keys are users, so about 150 of 200 drawn keys are. Fewer than 100 or more than
	// 190 occur once in 10^8 samples.
	users, prices := kinds["user"], kinds["{product}:price"]
	if math.Abs(all-1201) > 0.01 || users.Keys < 600 || users.Keys > 1141 || prices.Keys < 60 {
		t.Errorf("1201 keys, 900 users and 300 prices: got the estimates %v", got.Kinds)
	}
	if each := users.Bytes / users.Keys; each < 1000 || each > 2000 {
		t.Errorf("got %v bytes for a value of 1000 bytes", each)
	}
}

// A user who may not query sizes gets the numbers of keys. A user who may not draw keys gets an
// error.
func TestSampleWithFewRights(t *testing.T) {
	t.Parallel()
	server := testservers.RedisServer(t)
	admin := client(t, server.URL())
	if err := admin.Set(t.Context(), "user:1", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	as := func(user, rules string) (redisstore.Sample, error) {
		t.Helper()
		if err := admin.Do(t.Context(), append([]any{"ACL", "SETUSER", user, "on", ">secret", "~*"}, fields(rules)...)...).Err(); err != nil {
			t.Fatal(err)
		}
		return open(t, redisstore.Options{URLs: []string{server.URL()}, Username: user, Password: "secret", Timeout: patient}).Sample(t.Context())
	}
	if got, err := as("nosizes", "+@all -memory -info"); err != nil || got.Bytes != 0 || got.Keys != 1 || len(got.Kinds) != 1 || got.Kinds[0] != (redisstore.SampledKind{Kind: "user", Keys: 1}) {
		t.Errorf("without MEMORY and INFO: got %+v, error %v", got, err)
	}
	if _, err := as("nokeys", "+@all -randomkey"); !errors.Is(err, cache.ErrRefused) || !strings.Contains(err.Error(), "randomkey") {
		t.Errorf("without RANDOMKEY: got error %v", err)
	}
}

// The sample counts the keys of each primary of a Cluster.
func sampleReadsEveryNode(t *testing.T, d deployment) {
	s := open(t, d.Options)
	for i := range 60 { // so that each node has some
		begin(t, s, cache.Item{Key: cache.Entity("sampled", fmt.Sprint(i)), MaxAge: time.Minute})
	}
	var want int64
	for _, server := range d.servers {
		n, err := server.DBSize(t.Context()).Result()
		if err != nil || n == 0 {
			t.Fatalf("got %d keys on a node, error %v", n, err)
		}
		want += n
	}
	if got, err := s.Sample(t.Context()); err != nil || want == 0 || got.Keys != uint64(want) || got.Drawn != 200 {
		t.Errorf("want %d keys, drew %d of %d, error %v", want, got.Drawn, got.Keys, err)
	}
}
