// Package redisstore is the cache tier that all gateways share: a Redis server, Sentinel or Cluster.
//
// An entry is a JSON text with a time to live under the key of its item. The ticket of a load consists
// of a fence and of the generations of the item's tags. The fence is a random token next to the key: a
// fill consumes it, and an eviction unlinks it. Generations are random too. Random values never recur,
// so an old ticket does not become valid again, however long a load is paused.
//
// A batch is read by one MGET, or in a Cluster by one pipeline of GETs. Reads use no scripts.
package redisstore

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"fieldcache/cache"
	"fieldcache/cache/internal/protocol"
)

const (
	// fenceAge is the longest time that a load may take and still fill.
	fenceAge = 3 * time.Second
	// generationAge is longer than the age of any entry, since the entries of an expired generation are
	// void. Each load renews it.
	generationAge = 25 * time.Hour
)

// fill sets the keys whose fences still hold their load's token, and removes the fences.
//
//go:embed fill.lua
var fillScript string

// Store is the Redis tier. It is safe for concurrent use.
type Store struct {
	client  redis.UniversalClient
	cluster bool
	primary string // the name of the primary in the Sentinels' configuration
	timeout time.Duration
	prefix  string
	fill    *redis.Script
	channel string // of evictions; includes the database's number, since all databases of a server share their channels
	self    string // distinguishes this process's messages from others'
	log     *slog.Logger
	fences  time.Duration // how long they live: fenceAge, except in tests

	unpublished unpublished
	lacks       lacks
}

var (
	_ cache.Store     = (*Store)(nil)
	_ cache.Announcer = (*Store)(nil)
	_ cache.Prober    = (*Store)(nil)
	_ cache.Notifier  = (*Store)(nil)
)

// New returns a store. It does not connect: Redis may be down. It returns an error for invalid options.
func New(o Options) (*Store, error) {
	if o.Timeout <= 0 {
		o.Timeout = 150 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	u, err := o.universal()
	if err != nil {
		return nil, fmt.Errorf("redisstore: %w", err)
	}
	client := connect(u)
	if o.Instrument != nil {
		if err := o.Instrument(client); err != nil {
			return nil, errors.Join(fmt.Errorf("redisstore: instrument the client: %w", err), client.Close())
		}
	}
	return &Store{
		client: client, cluster: u.IsClusterMode, primary: u.MasterName,
		timeout: o.Timeout, prefix: o.Prefix,
		fill: redis.NewScript(fillScript), self: rand.Text(), log: o.Log, fences: fenceAge,
		channel: fmt.Sprintf("%sevictions:%d", o.Prefix, u.DB),
	}, nil
}

// Close stops publishing and closes the connections.
func (s *Store) Close() error {
	s.unpublished.close()
	return s.client.Close()
}

// ticket is what a load needs to fill: the token that its fence holds, and the generations of its
// tags.
type ticket struct {
	token       string
	generations map[cache.Tag]string
}

// key returns the name of an entry.
func (s *Store) key(k cache.Key) string { return s.prefix + string(k) }

// fence returns the name of the token for a load of k, in the slot of [Store.key]: a plain key is
// put in braces with its prefix, since both determine its slot.
func (s *Store) fence(k cache.Key) string {
	if s.prefix == "" || strings.HasPrefix(string(k), "{") {
		return s.prefix + k.Fence()
	}
	return s.prefix + (cache.Key(s.prefix) + k).Fence()
}

func (s *Store) generation(t cache.Tag) string { return s.prefix + t.Generation() }

// tagsOf returns the tags of items, each once, and the index of each tag.
func tagsOf(items []cache.Item) (tags []cache.Tag, at map[cache.Tag]int) {
	for _, item := range items {
		for _, t := range item.Tags {
			if _, ok := at[t]; ok {
				continue
			}
			if at == nil {
				at = map[cache.Tag]int{}
			}
			at[t] = len(tags)
			tags = append(tags, t)
		}
	}
	return tags, at
}

// Get returns the entry of each item, nil for a miss. It reads the entries and the generations of their
// tags in one round trip. Entries with tags of their own take another one.
func (s *Store) Get(ctx context.Context, items []cache.Item) ([]*cache.Entry, error) {
	if len(items) == 0 {
		return []*cache.Entry{}, nil
	}
	tags, at := tagsOf(items)
	values, err := s.mget(ctx, s.names(items, tags))
	if err != nil {
		return nil, s.fault(ctx, "get", err)
	}
	found, own := entries(items, at, values)
	if err := s.confirm(ctx, found, own); err != nil {
		return nil, s.fault(ctx, "get", err)
	}
	return found, nil
}

// names returns the Redis keys that a batch reads: first the entries, then the generations.
func (s *Store) names(items []cache.Item, tags []cache.Tag) []string {
	names := make([]string, 0, len(items)+len(tags))
	for _, item := range items {
		names = append(names, s.key(item.Key))
	}
	for _, t := range tags {
		names = append(names, s.generation(t))
	}
	return names
}

// entries returns the entries of items. values are those of [Store.names].
func entries(items []cache.Item, at map[cache.Tag]int, values []*string) (entries []*cache.Entry, own []owned) {
	entries = make([]*cache.Entry, len(items))
	now := time.Now()
	for i, item := range items {
		if values[i] == nil {
			continue
		}
		e, generations, err := decode(item.Key, []byte(*values[i]))
		if err != nil || !e.Current(item, now) {
			continue // not ours, or expired: the fill that follows replaces it
		}
		if current(item, generations, func(t cache.Tag) *string { return values[len(items)+at[t]] }) {
			entries[i] = e
			if takeOwn(e, item, generations); len(e.Tags) > 0 {
				own = append(own, owned{i, generations})
			}
		}
	}
	return entries, own
}

// GetOrBegin implements [cache.Announcer], in one pipeline.
func (s *Store) GetOrBegin(ctx context.Context, items []cache.Item) ([]*cache.Entry, []cache.Ticket, error) {
	if len(items) == 0 {
		return []*cache.Entry{}, []cache.Ticket{}, nil
	}
	tags, at := tagsOf(items)
	var got gets
	var a announcement
	cmds, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		got = s.get(ctx, p, s.names(items, tags))
		a = s.announce(ctx, p, items, tags)
		return nil
	})
	if failed(cmds, err) {
		if err = worst(cmds, err); s.lacks.learn(err) {
			s.giveBack(ctx, items, a)
			return s.GetOrBegin(ctx, items)
		}
		return nil, nil, s.fault(ctx, "begin", err)
	}
	values := make([]*string, len(items)+len(tags))
	if err := got.read(values); err != nil {
		return nil, nil, s.fault(ctx, "begin", err)
	}
	found, own := entries(items, at, values)
	if err := s.confirm(ctx, found, own); err != nil {
		return nil, nil, s.fault(ctx, "begin", err)
	}
	return found, a.tickets(items, at), nil
}

// current reports whether an entry was loaded under the current generations of its item's tags.
func current(item cache.Item, loaded map[cache.Tag]string, now func(cache.Tag) *string) bool {
	for _, t := range item.Tags {
		g := now(t)
		if g == nil || *g == "" || *g != loaded[t] {
			return false
		}
	}
	return true
}

// mget returns the values of names, nil for a missing value or one that is not a string.
func (s *Store) mget(ctx context.Context, names []string) ([]*string, error) {
	values := make([]*string, len(names))
	if !s.cluster {
		cmd := s.client.MGet(ctx, names...)
		return values, gets{cmd}.read(values)
	}
	var got gets
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		got = s.get(ctx, p, names)
		return nil
	})
	if err != nil && !harmless(err) {
		return nil, err
	}
	return values, got.read(values)
}

// gets are the commands that read names: one MGET, or in a Cluster a GET for each.
type gets []redis.Cmder

func (s *Store) get(ctx context.Context, p redis.Pipeliner, names []string) gets {
	if !s.cluster {
		return gets{p.MGet(ctx, names...)}
	}
	cmds := make(gets, len(names))
	for i, n := range names {
		cmds[i] = p.Get(ctx, n)
	}
	return cmds
}

// read stores the results in values, nil for a missing value or one that is not a string.
func (g gets) read(values []*string) error {
	for i, cmd := range g {
		switch cmd := cmd.(type) {
		case *redis.SliceCmd:
			all, err := cmd.Result()
			if err != nil {
				return err
			}
			for i, one := range all {
				if v, ok := one.(string); ok {
					values[i] = &v
				}
			}
		case *redis.StringCmd:
			v, err := cmd.Result()
			if err == nil {
				values[i] = &v
			} else if !harmless(err) {
				return err
			}
		}
	}
	return nil
}

// harmless reports whether an error only says that a key has no value of ours. An error that wraps Nil
// may have another meaning, such as that the Sentinels do not know the primary.
func harmless(err error) bool {
	return err == redis.Nil || redis.HasErrorPrefix(err, "WRONGTYPE")
}

// full reports whether the server is out of memory. Such a server still executes reads and evictions,
// but stores nothing new.
func full(err error) bool { return redis.HasErrorPrefix(err, "OOM") }

// fault returns the error of an operation that failed.
func (s *Store) fault(ctx context.Context, operation string, err error) error {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		// After an error of a pipeline, go-redis looks for the node's successor only once a minute. This
		// looks at once, in the background.
		c.ReloadState(ctx)
	}
	var answer redis.Error
	switch {
	case err == redis.Nil:
	case !s.cluster && (redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "CROSSSLOT") || redis.HasErrorPrefix(err, "ASK")):
		return fmt.Errorf("redisstore: %s: %w: this server is a node of a Cluster; list several of its nodes in REDIS_URL, separated by commas: %w",
			operation, cache.ErrRefused, err)
	case errors.As(err, &answer) && !errors.Is(err, redis.Nil):
		return fmt.Errorf("redisstore: %s: %w: %w", operation, cache.ErrRefused, err)
	}
	if errors.Is(err, redis.Nil) {
		err = fmt.Errorf("no Sentinel knows a primary named %q: %w", s.primary, err)
	}
	return fmt.Errorf("redisstore: %s: %w", operation, err)
}

// Begin returns a ticket for each item. In one pipeline it takes the fences, reads the generations and
// creates the missing ones. The ticket of an item is nil if another load holds its fence.
func (s *Store) Begin(ctx context.Context, items []cache.Item) ([]cache.Ticket, error) {
	if len(items) == 0 {
		return []cache.Ticket{}, nil
	}
	tags, at := tagsOf(items)
	var a announcement
	cmds, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		a = s.announce(ctx, p, items, tags)
		return nil
	})
	if failed(cmds, err) {
		if err = worst(cmds, err); s.lacks.learn(err) {
			s.giveBack(ctx, items, a)
			return s.Begin(ctx, items)
		}
		return nil, s.fault(ctx, "begin", err)
	}
	return a.tickets(items, at), nil
}

// failed reports whether a command of a pipeline failed badly. err is the pipeline's error, which is
// that of the first failed command; another command's error may be worse.
func failed(cmds []redis.Cmder, err error) bool { return bad(worst(cmds, err)) }

func bad(err error) bool { return err != nil && !harmless(err) && !full(err) }

// worst returns the first bad error, else err.
func worst(cmds []redis.Cmder, err error) error {
	if bad(err) {
		return err
	}
	for _, c := range cmds {
		if bad(c.Err()) {
			return c.Err()
		}
	}
	return err
}

// announcement is the commands that announce loads.
type announcement struct {
	token       string
	fences      []*redis.BoolCmd
	generations []*redis.StringCmd
}

func (s *Store) announce(ctx context.Context, p redis.Pipeliner, items []cache.Item, tags []cache.Tag) announcement {
	a := announcement{rand.Text(), make([]*redis.BoolCmd, len(items)), make([]*redis.StringCmd, len(tags))}
	for i, item := range items {
		a.fences[i] = p.SetNX(ctx, s.fence(item.Key), a.token, s.fences)
	}
	for i, t := range tags {
		p.SetNX(ctx, s.generation(t), rand.Text(), generationAge)
		if !s.lacks.getEx.Load() {
			a.generations[i] = p.GetEx(ctx, s.generation(t), generationAge)
			continue
		}
		a.generations[i] = p.Get(ctx, s.generation(t))
		p.PExpire(ctx, s.generation(t), generationAge)
	}
	return a
}

// tickets returns what the commands got.
func (a announcement) tickets(items []cache.Item, at map[cache.Tag]int) []cache.Ticket {
	tickets := make([]cache.Ticket, len(items))
	untagged := &ticket{token: a.token}
	for i, item := range items {
		if !a.fences[i].Val() {
			continue
		}
		t := untagged
		if len(item.Tags) > 0 {
			t = &ticket{token: a.token}
		}
		for _, tag := range item.Tags {
			if t.generations == nil {
				t.generations = make(map[cache.Tag]string, len(item.Tags))
			}
			// It is empty, and never current, if it was evicted in between.
			t.generations[tag] = a.generations[at[tag]].Val()
		}
		tickets[i] = t
	}
	return tickets
}

// fillAtOnce limits the entries that one call of the script fills, since the server executes nothing
// else meanwhile.
const fillAtOnce = 100

// fillCall is one call of the script.
type fillCall struct {
	keys []string
	args []any
}

// Fill stores each entry whose fence still holds its load's token, and returns how many it stored. It
// calls the script once for up to fillAtOnce entries, or in a Cluster, where the keys of a script must
// be in one slot, once for each entry.
func (s *Store) Fill(ctx context.Context, fills []cache.Fill) (int, error) {
	now := time.Now()
	var calls []fillCall
	most := fillAtOnce
	if s.cluster {
		most = 1
	}
	for _, f := range fills {
		t, _ := f.Ticket.(*ticket)
		left := (f.Entry.Ends.Sub(now) + f.Entry.Keep).Milliseconds()
		if t == nil || left <= 0 {
			continue
		}
		if n := len(calls); n == 0 || len(calls[n-1].keys) == 2*most {
			calls = append(calls, fillCall{})
		}
		c := &calls[len(calls)-1]
		c.keys = append(c.keys, s.fence(f.Item.Key), s.key(f.Item.Key))
		c.args = append(c.args, t.token, encode(f.Item.Key, f.Entry, generationsOf(t, f)), left)
	}
	if s.lacks.scripts.Load() {
		return s.fillByTransactions(ctx, calls)
	}
	n := 0
	// A server, or a node of a Cluster, may not know the script yet. The calls that it refused for this
	// reason are repeated with the script's text.
	for _, call := range []func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd{s.fill.EvalSha, s.fill.Eval} {
		if len(calls) == 0 {
			break
		}
		var cmds []redis.Cmder
		if len(calls) == 1 && !s.cluster {
			cmds = []redis.Cmder{call(ctx, s.client, calls[0].keys, calls[0].args...)}
		} else {
			cmds, _ = s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
				for _, c := range calls {
					call(ctx, p, c.keys, c.args...)
				}
				return nil
			})
		}
		var left []fillCall
		for i, cmd := range cmds {
			filled, err := cmd.(*redis.Cmd).Int()
			switch {
			case err == nil:
				n += filled
			case redis.HasErrorPrefix(err, "NOSCRIPT"):
				left = append(left, calls[i])
			case redis.HasErrorPrefix(err, "TRYAGAIN"): // the slot is moving; the next load may fill
			case full(err):
			case s.lacks.learn(err):
				more, err := s.fillByTransactions(ctx, calls[i:])
				return n + more, err
			default:
				return n, s.fault(ctx, "fill", err)
			}
		}
		calls = left
	}
	return n, nil
}

// Evict executes the steps of an eviction in order, and returns how many keys existed. It schedules the
// write for publication to the other processes, unless w.Quiet is set. A soft eviction is only
// published.
func (s *Store) Evict(ctx context.Context, w cache.Write) (int, error) {
	if w.Empty() {
		return 0, nil
	}
	if w.Soft {
		s.publish(w)
		return 0, nil
	}
	n, err := s.evict(ctx, w)
	if err == nil && !w.Quiet {
		s.publish(w)
	}
	return n, err
}

func (s *Store) evict(ctx context.Context, w cache.Write) (int, error) {
	dropped := make([]*redis.IntCmd, len(w.Keys))
	take := func(p redis.Pipeliner, step protocol.Step) {
		unlink := p.Unlink
		if s.lacks.unlink.Load() {
			unlink = p.Del
		}
		switch step {
		case protocol.UnlinkFences:
			for _, k := range w.Keys {
				unlink(ctx, s.fence(k))
			}
		case protocol.UnlinkKeys:
			for i, k := range w.Keys {
				dropped[i] = unlink(ctx, s.key(k))
			}
		case protocol.UnlinkGenerations:
			for _, t := range w.Tags {
				unlink(ctx, s.generation(t))
			}
		}
	}
	if err := s.takeSteps(ctx, take); err != nil {
		if s.lacks.learn(err) {
			return s.evict(ctx, w)
		}
		return 0, s.fault(ctx, "evict", err)
	}
	n := 0
	for _, cmd := range dropped {
		n += int(cmd.Val())
	}
	return n, nil
}

// takeSteps executes the steps of an eviction in one pipeline, or in a Cluster with a round trip for
// each. A pipeline is ordered only within one node, and while a slot moves its keys are on two.
func (s *Store) takeSteps(ctx context.Context, take func(redis.Pipeliner, protocol.Step)) error {
	if !s.cluster {
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, step := range protocol.EvictionSteps {
				take(p, step)
			}
			return nil
		})
		return err
	}
	for _, step := range protocol.EvictionSteps {
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			take(p, step)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
