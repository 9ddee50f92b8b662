package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// The average pause of a client between requests. All clients together make a load that two busy
// cores can take under the race detector.
const (
	readPause  = 25 * time.Millisecond
	writePause = 40 * time.Millisecond
)

// workload is a set of clients: two readers and one writer for each gateway, and one direct writer.
type workload struct {
	*site
	pens    *pens
	created atomic.Int64 // numbers the e-mail addresses
	pending sync.Map     // when users were sent, by e-mail address, whose creation has an unknown outcome
	clients sync.WaitGroup
	cancel  context.CancelFunc
}

// work starts the workload.
func (s *site) work(seed uint64) *workload {
	ctx, cancel := context.WithCancel(s.t.Context())
	w := &workload{site: s, pens: newPens(), cancel: cancel}
	s.history.Initial = initial()
	client := uint64(0)
	begin := func(pause time.Duration, once func(context.Context, *rand.Rand)) {
		client++
		rnd := rand.New(rand.NewPCG(seed, client))
		w.clients.Go(func() {
			for ctx.Err() == nil {
				once(ctx, rnd)
				s.pass(ctx, time.Duration(rnd.Int64N(2*int64(pause))))
			}
		})
	}
	for _, g := range s.gateways {
		for range 2 {
			begin(readPause, func(ctx context.Context, rnd *rand.Rand) { w.readOnce(ctx, rnd, g) })
		}
		begin(writePause, func(ctx context.Context, rnd *rand.Rand) { w.writeOnce(ctx, rnd, through{w, g}) })
	}
	begin(writePause, func(ctx context.Context, rnd *rand.Rand) { w.writeOnce(ctx, rnd, around{w}) })
	return w
}

// stop stops the workload and completes the history.
func (w *workload) stop() {
	w.t.Helper()
	w.cancel()
	w.clients.Wait()
	// Find the users that were created by requests without a response.
	w.pending.Range(func(email, sent any) bool {
		var id int
		if err := w.db.QueryRow(w.t.Context(), `SELECT coalesce(max(id), 0) FROM users WHERE email = $1`, email).Scan(&id); err != nil {
			w.t.Fatal(err)
		}
		if id > 0 {
			w.wrote(Write{Register: lifeOf(id), Version: 1, Via: Nobody, Sent: sent.(time.Duration)})
		}
		return true
	})
}

// readOnce sends a random query. A failure is in the history.
func (w *workload) readOnce(ctx context.Context, rnd *rand.Rand, g *gateway) {
	switch n := rnd.IntN(20); {
	case n < 7:
		_ = w.readUser(ctx, g, favourite(rnd, users))
	case n < 10:
		_ = w.readUser(ctx, g, w.pens.passing(rnd))
	case n < 15:
		_ = w.readProduct(ctx, g, favourite(rnd, products))
	case n < 17:
		_ = w.readUsers(ctx, g, w.pens)
	case n < 19:
		_ = w.readCategory(ctx, g, w.pens, rnd)
	default:
		_ = w.readMine(ctx, g)
	}
}

// channel is a way to write: through a gateway, or directly. An error means that the outcome is
// unknown.
type channel interface {
	name() string
	setBio(ctx context.Context, user int, version int64) error
	setStock(ctx context.Context, product int, version int64) error
	setCategory(ctx context.Context, product int, version int64) error
	addReview(ctx context.Context, product int) error
	create(ctx context.Context, email string) (user int, err error)
	remove(ctx context.Context, user int) error
}

// writeOnce makes a random write. A failure is in the history.
func (w *workload) writeOnce(ctx context.Context, rnd *rand.Rand, c channel) {
	switch n := rnd.IntN(20); {
	case n < 9:
		user := favourite(rnd, users)
		ok := w.set(ctx, c, bioOf(user), func(version int64) error { return c.setBio(ctx, user, version) })
		if ok && rnd.IntN(2) == 0 {
			w.readStored(ctx, user)
		}
		if t, through := c.(through); through && ok && rnd.IntN(2) == 0 {
			_ = w.readUser(ctx, t.g, user)
		}
	case n < 12:
		product := favourite(rnd, products)
		w.set(ctx, c, stockOf(product), func(version int64) error { return c.setStock(ctx, product, version) })
	case n < 14:
		product := favourite(rnd, products)
		w.set(ctx, c, categoryOf(product), func(version int64) error { return c.setCategory(ctx, product, version) })
	case n < 16:
		product := favourite(rnd, products)
		w.note(ctx, c, func() error { return c.addReview(ctx, product) },
			Write{Register: reviewsOf(product), Delta: 1}, Write{Register: reviewsByMe, Delta: 1})
	default:
		if user := w.pens.victim(rnd); user > 0 {
			w.note(ctx, c, func() error { return c.remove(ctx, user) },
				Write{Register: lifeOf(user), Version: 2}, Write{Register: userCount, Delta: -1})
			return
		}
		w.createOnce(ctx, c)
	}
}

// set writes the next version of a register, unless another client has it.
func (w *workload) set(ctx context.Context, c channel, register string, write func(version int64) error) bool {
	version, ok := w.pens.take(register)
	if !ok || !w.note(ctx, c, func() error { return write(version) }, Write{Register: register, Version: version}) {
		return false
	}
	w.pens.giveBack(register)
	return true
}

// note calls write and records what it wrote, whether the outcome is known or not.
func (w *workload) note(ctx context.Context, c channel, write func() error, what ...Write) bool {
	sent, acked := w.now(), time.Duration(0)
	err := write()
	if err == nil {
		acked = w.now()
	}
	for i := range what {
		what[i].Via, what[i].Sent, what[i].Acked = c.name(), sent, acked
	}
	w.wrote(what...)
	if err != nil {
		w.afterFailure(ctx)
	}
	return err == nil
}

// afterFailure slows down a writer whose database is unavailable, so that it does not use up the
// registers.
func (w *workload) afterFailure(ctx context.Context) { w.pass(ctx, 300*time.Millisecond) }

func (w *workload) createOnce(ctx context.Context, c channel) {
	email := fmt.Sprintf("new-%d@shop.example", w.created.Add(1))
	sent := w.now()
	w.pending.Store(email, sent)
	user, err := c.create(ctx, email)
	if err != nil {
		w.wrote(Write{Register: userCount, Delta: 1, Via: c.name(), Sent: sent})
		w.afterFailure(ctx)
		return
	}
	acked := w.now()
	w.wrote(Write{Register: lifeOf(user), Version: 1, Via: c.name(), Sent: sent, Acked: acked},
		Write{Register: userCount, Delta: 1, Via: c.name(), Sent: sent, Acked: acked})
	w.pending.Delete(email)
	w.pens.born(user)
}

// through writes through a gateway.
type through struct {
	w *workload
	g *gateway
}

func (c through) name() string { return c.g.name }

func (c through) setBio(ctx context.Context, user int, version int64) error {
	a, err := c.w.mutate(ctx, c.g, `mutation($id: ID!, $bio: String) { updateUser(id: $id, input: {bio: $bio}) { bio } }`,
		map[string]any{"id": strconv.Itoa(user), "bio": bio(version)})
	if err != nil {
		return err
	}
	var response struct{ UpdateUser struct{ Bio string } }
	if err := a.into(&response); err != nil {
		return err
	}
	if got := versionIn(response.UpdateUser.Bio); got != version { // no other client writes it meanwhile
		c.w.t.Errorf("gateway %s wrote %d to %s and returned %d", c.g.name, version, bioOf(user), got)
	}
	return nil
}

func (c through) setStock(ctx context.Context, product int, version int64) error {
	_, err := c.w.mutate(ctx, c.g, `mutation($id: ID!, $n: Int!) { setStock(productId: $id, stock: $n) { id } }`,
		map[string]any{"id": strconv.Itoa(product), "n": version})
	return err
}

func (c through) setCategory(ctx context.Context, product int, version int64) error {
	_, err := c.w.mutate(ctx, c.g, `mutation($id: ID!, $c: String) { updateProduct(id: $id, input: {category: $c}) { id } }`,
		map[string]any{"id": strconv.Itoa(product), "c": category(product, version)})
	return err
}

func (c through) addReview(ctx context.Context, product int) error {
	_, err := c.w.mutate(ctx, c.g, `mutation($id: ID!) { addReview(productId: $id, rating: 5, body: "Fine.") { id } }`,
		map[string]any{"id": strconv.Itoa(product)})
	return err
}

func (c through) create(ctx context.Context, email string) (int, error) {
	a, err := c.w.mutate(ctx, c.g, `mutation($email: String!) { createUser(input: {name: "New", email: $email, bio: "v0"}) { id } }`,
		map[string]any{"email": email})
	if err != nil {
		return 0, err
	}
	var response struct {
		CreateUser struct {
			ID int `json:",string"`
		}
	}
	err = a.into(&response)
	return response.CreateUser.ID, err
}

func (c through) remove(ctx context.Context, user int) error {
	_, err := c.w.mutate(ctx, c.g, `mutation($id: ID!) { deleteUser(id: $id) }`, map[string]any{"id": strconv.Itoa(user)})
	return err
}

// around writes to the database directly.
type around struct{ w *workload }

func (around) name() string { return Direct }

func (c around) do(ctx context.Context, statement string, args ...any) error {
	_, err := c.w.db.Exec(ctx, statement, args...)
	return err
}

func (c around) setBio(ctx context.Context, user int, version int64) error {
	return c.do(ctx, `UPDATE users SET bio = $2 WHERE id = $1`, user, bio(version))
}

func (c around) setStock(ctx context.Context, product int, version int64) error {
	return c.do(ctx, `UPDATE products SET stock = $2 WHERE id = $1`, product, version)
}

func (c around) setCategory(ctx context.Context, product int, version int64) error {
	return c.do(ctx, `UPDATE products SET category = $2 WHERE id = $1`, product, category(product, version))
}

func (c around) addReview(ctx context.Context, product int) error {
	return c.do(ctx, `INSERT INTO reviews (product_id, author_id, rating, body) VALUES ($1, 1, 5, 'Fine.')`, product)
}

func (c around) create(ctx context.Context, email string) (user int, err error) {
	err = c.w.db.QueryRow(ctx, `INSERT INTO users (name, email, bio) VALUES ('New', $1, 'v0') RETURNING id`, email).Scan(&user)
	return user, err
}

func (c around) remove(ctx context.Context, user int) error {
	return c.do(ctx, `DELETE FROM users WHERE id = $1`, user)
}
