package testservers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// slots is how many slots a Redis Cluster has.
const slots = 16384

// Cluster is a Redis Cluster for one test. Its methods fail the test if a command fails, so only
// the test's own goroutine may call them.
type Cluster struct {
	// Nodes are its servers: three masters, each with a third of the slots at first, then those
	// that [Cluster.AddReplica] made. A master that hangs or is down for two seconds is replaced by
	// its replica. Without a replica the others keep serving their own slots.
	Nodes []*Server

	t       testing.TB
	clients []*redis.Client // one client per node
	ids     []string
}

// masters is how many masters a Cluster has at first: its first nodes.
const masters = 3

// RedisCluster starts a Redis Cluster of three masters for this test alone.
func RedisCluster(t testing.TB) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i := range masters {
		client := c.add()
		c.must(client.ClusterAddSlotsRange(ctx, slots*i/masters, slots*(i+1)/masters-1).Err())
		// Epochs differ from the start. Otherwise the masters would first have to order themselves.
		c.must(client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
	}
	for i, client := range c.clients {
		for _, other := range c.Nodes[:i] {
			c.must(client.ClusterMeet(ctx, "127.0.0.1", portOf(t, other)).Err())
		}
	}
	for _, client := range c.clients {
		for _, line := range []string{"cluster_state:ok", fmt.Sprint("cluster_slots_ok:", slots)} {
			await(c.t, func(ctx context.Context) error { return expects(line)(client.ClusterInfo(ctx).Result()) })
		}
	}
	return c
}

// add starts a node that is in no cluster yet.
func (c *Cluster) add() *redis.Client {
	c.t.Helper()
	node := newServer(c.t, redisProgram{at: func(port int) (string, []string) {
		return redisURL(port), redisArgs(port, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000",
			"--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0")
	}}.start, syscall.SIGKILL)
	client := clientOf(c.t, node)
	id, err := client.ClusterMyID(context.Background()).Result()
	c.must(err)
	c.Nodes, c.clients, c.ids = append(c.Nodes, node), append(c.clients, client), append(c.ids, id)
	return client
}

// AddReplica gives a node a replica, which takes over if the node fails. It returns when the
// replica has the node's data.
func (c *Cluster) AddReplica(of int) *Server {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	replica := c.add()
	for _, other := range c.Nodes[:len(c.Nodes)-1] {
		c.must(replica.ClusterMeet(ctx, "127.0.0.1", portOf(c.t, other)).Err())
	}
	await(c.t, func(ctx context.Context) error { // the replica has met the node
		return replica.ClusterReplicate(ctx, c.ids[of]).Err()
	})
	await(c.t, func(ctx context.Context) error {
		return expects("master_link_status:up")(replica.Info(ctx, "replication").Result())
	})
	for _, client := range c.clients {
		await(c.t, func(ctx context.Context) error {
			return expects("slave " + c.ids[of])(client.ClusterNodes(ctx).Result())
		})
	}
	return c.Nodes[len(c.Nodes)-1]
}

// URLs returns the addresses of the nodes.
func (c *Cluster) URLs() []string {
	urls := make([]string, len(c.Nodes))
	for i, n := range c.Nodes {
		urls[i] = n.URL()
	}
	return urls
}

// Slot returns the slot of a key.
func (c *Cluster) Slot(key string) int {
	c.t.Helper()
	slot, err := c.clients[0].ClusterKeySlot(context.Background(), key).Result()
	c.must(err)
	return int(slot)
}

// Owner returns the index of the node that serves a slot, as seen by the first node that responds.
func (c *Cluster) Owner(slot int) int {
	c.t.Helper()
	owner, err := 0, errors.New("no node answers")
	for i := 0; i < len(c.clients) && err != nil; i++ {
		owner, err = c.ownerSeenBy(i, slot)
	}
	c.must(err)
	return owner
}

// ownerSeenBy returns the node that serves a slot as node i sees it.
func (c *Cluster) ownerSeenBy(i, slot int) (int, error) {
	//lint:ignore SA1019 what replaces it is not in Redis 6
	ranges, err := c.clients[i].ClusterSlots(context.Background()).Result()
	if err != nil {
		return 0, err
	}
	for _, r := range ranges {
		if r.Start <= slot && slot <= r.End {
			return slices.Index(c.ids, r.Nodes[0].ID), nil
		}
	}
	return 0, fmt.Errorf("nobody serves slot %d", slot)
}

// MoveSlot moves a slot with its keys to another node while the cluster serves it.
func (c *Cluster) MoveSlot(slot, to int) {
	c.t.Helper()
	c.StartMove(slot, to).Finish()
}

// Move is a slot in migration. Keys that are no longer at the old node, or never were, are
// requested from the new one.
type Move struct {
	c              *Cluster
	slot, from, to int
}

// StartMove opens a slot for migration to another node. All its keys stay in place.
func (c *Cluster) StartMove(slot, to int) *Move {
	c.t.Helper()
	m := &Move{c: c, slot: slot, from: c.Owner(slot), to: to}
	m.set(m.to, "IMPORTING", c.ids[m.from])
	m.set(m.from, "MIGRATING", c.ids[m.to])
	return m
}

// Keys moves some of the slot's keys.
func (m *Move) Keys(keys ...string) {
	m.c.t.Helper()
	u, err := url.Parse(m.c.Nodes[m.to].URL())
	m.c.must(err)
	args := []any{"MIGRATE", u.Hostname(), u.Port(), "", 0, patience.Milliseconds(), "REPLACE", "KEYS"}
	for _, k := range keys {
		args = append(args, k)
	}
	m.c.must(m.c.clients[m.from].Do(context.Background(), args...).Err())
}

// Finish moves the remaining keys and gives the slot to the new node.
func (m *Move) Finish() {
	m.c.t.Helper()
	for {
		keys, err := m.c.clients[m.from].ClusterGetKeysInSlot(context.Background(), m.slot, 1000).Result()
		m.c.must(err)
		if len(keys) == 0 {
			break
		}
		m.Keys(keys...)
	}
	// The new owner comes first: otherwise the slot would have no owner for a moment. Then all
	// other masters, as redis-cli does: gossip takes time, and the next move needs a cluster that
	// agrees.
	m.set(m.to, "NODE", m.c.ids[m.to])
	for i := range masters {
		if i != m.to {
			m.set(i, "NODE", m.c.ids[m.to])
		}
	}
	m.c.settle(m.slot, m.to)
}

// settle waits until the masters agree on who serves which slots and on the epoch of each claim. A
// node that has not heard of the last move may contest it, and clients are redirected back and
// forth.
func (c *Cluster) settle(slot, owner int) {
	c.t.Helper()
	await(c.t, func(ctx context.Context) error {
		seen := ""
		for i := range masters {
			if o, err := c.ownerSeenBy(i, slot); err != nil || o != owner {
				return fmt.Errorf("to node %d slot %d is node %d's yet: %w", i, slot, o, err)
			}
			text, err := c.clients[i].ClusterNodes(ctx).Result()
			if err != nil {
				return err
			}
			claims := claims(text, c.ids[:masters])
			if i > 0 && claims != seen {
				return fmt.Errorf("node %d sees %s, the one before it %s", i, claims, seen)
			}
			seen = claims
		}
		return nil
	})
}

// claims returns the nodes' epochs and slots from CLUSTER NODES.
func claims(text string, ids []string) string {
	var list []string
	for line := range strings.Lines(text) {
		// id address flags primary ping pong epoch link slot...; a node also lists its own
		// migrations.
		f := strings.Fields(line)
		if len(f) < 8 || !slices.Contains(ids, f[0]) {
			continue
		}
		serves := slices.DeleteFunc(f[8:], func(s string) bool { return strings.HasPrefix(s, "[") })
		list = append(list, fmt.Sprint(f[0][:6], " epoch ", f[6], " ", serves))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func (m *Move) set(node int, state, other string) {
	m.c.t.Helper()
	m.c.must(m.c.clients[node].Do(context.Background(), "CLUSTER", "SETSLOT", m.slot, state, other).Err())
}

func (c *Cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal("testservers:", err)
	}
}

// expects succeeds on a reply that contains the words.
func expects(words string) func(answer string, err error) error {
	return func(answer string, err error) error {
		if err == nil && !strings.Contains(answer, words) {
			err = fmt.Errorf("want %q in\n%s", words, answer)
		}
		return err
	}
}
