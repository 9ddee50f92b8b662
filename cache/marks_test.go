package cache

import (
	"slices"
	"testing"
)

// A message may tell of only a part of a transaction. A later poll evicts the rest of it.
func TestOnlyWhatIsKnownOfATransactionIsNoNews(t *testing.T) {
	var k known
	k.add(Write{Xid: 7, Eviction: Eviction{Keys: []Key{"user:1"}, Tags: []Tag{"{users}"}}})
	whole := Write{Xid: 7, Eviction: Eviction{Keys: []Key{"user:1", "user:2"}, Tags: []Tag{"{users}", "{orders}"}}}
	for _, test := range []struct {
		name  string
		write Write
		want  Eviction
	}{
		{"the rest of the transaction", whole, Eviction{Keys: []Key{"user:2"}, Tags: []Tag{"{orders}"}}},
		{"another transaction", Write{Xid: 8, Eviction: whole.Eviction}, whole.Eviction},
	} {
		if got := k.news(test.write); !slices.Equal(got.Keys, test.want.Keys) || !slices.Equal(got.Tags, test.want.Tags) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
	k.polled(SnapshotAfter(7))
	if got := k.news(whole); len(got.Keys) != 2 || len(got.Tags) != 2 {
		t.Errorf("after the poll: got %v, want the whole write, as nothing of it is remembered", got)
	}
}
