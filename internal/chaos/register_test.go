package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The registers of the shop. Counts are numbers of rows. The other registers hold the version that
// was written into a text or a number of the row. A user who is created and then deleted has
// versions 1 and 2.
func bioOf(user int) string         { return fmt.Sprintf("user:%d:bio", user) }
func lifeOf(user int) string        { return fmt.Sprintf("user:%d:life", user) }
func stockOf(product int) string    { return fmt.Sprintf("product:%d:stock", product) }
func categoryOf(product int) string { return fmt.Sprintf("product:%d:category", product) }
func reviewsOf(product int) string  { return fmt.Sprintf("product:%d:reviews", product) }

const (
	userCount   = "users:count"
	reviewsByMe = "user:1:reviews"
)

func bio(version int64) string                   { return fmt.Sprint("v", version) }
func category(product int, version int64) string { return fmt.Sprintf("p%d-v%d", product, version) }

// versionIn returns the version in such a text.
func versionIn(text string) int64 {
	_, digits, _ := strings.Cut(text, "v")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return -1 // no client wrote this
	}
	return n
}

// initial returns what the registers hold at first.
func initial() map[string]int64 {
	held := map[string]int64{userCount: users, reviewsByMe: products}
	for p := 1; p <= products; p++ {
		held[reviewsOf(p)] = 1
	}
	return held
}

// ratings returns the numbers of reviews that can have the given mean: the first review has one
// star, all written ones have five.
func ratings(mean *float64) []Span {
	if mean == nil {
		return Exactly(0)
	}
	hundredths := int64(*mean*100 + 0.5)
	var span []Span
	for n := int64(1); n <= 2000; n++ {
		sum := 5*n - 4
		if (sum*200+n)/(2*n) != hundredths {
			continue
		}
		if span == nil {
			span = Exactly(n)
		}
		span[0].High = n
	}
	return span
}

// pens hand out registers to write to. A register has one writer at a time, so its versions follow
// in order.
type pens struct {
	mu      sync.Mutex // guards the fields below
	taken   map[string]bool
	version map[string]int64
	living  []int // users that were created
	dead    []int // and deleted
	newest  int   // the highest id seen
}

func newPens() *pens {
	return &pens{taken: map[string]bool{}, version: map[string]int64{}, newest: users}
}

// take hands out a register with its next version; ok is false if another client has it.
func (p *pens) take(register string) (version int64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken[register] {
		return 0, false
	}
	p.taken[register] = true
	p.version[register]++
	return p.version[register], true
}

// giveBack returns a register. A register whose last write has an unknown outcome is never
// returned: the write may still be applied.
func (p *pens) giveBack(register string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken[register] = false
}

// latest returns the version that was handed out last.
func (p *pens) latest(register string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version[register]
}

// born records a created user.
func (p *pens) born(user int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.living = append(p.living, user)
	p.newest = max(p.newest, user)
}

// victim takes a created user to delete, once there are enough of them. Otherwise it returns 0.
func (p *pens) victim(rnd *rand.Rand) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.living) < 6 {
		return 0
	}
	i := rnd.IntN(len(p.living))
	user := p.living[i]
	p.living = slices.Delete(p.living, i, i+1)
	p.dead = append(p.dead, user)
	return user
}

// passing returns a user that was created or deleted, or may soon be created.
func (p *pens) passing(rnd *rand.Rand) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	recent := append(append([]int(nil), p.living...), p.dead[max(0, len(p.dead)-4):]...)
	for i := range 3 {
		recent = append(recent, p.newest+1+i)
	}
	return recent[rnd.IntN(len(recent))]
}

// mortals returns all users that were ever created.
func (p *pens) mortals() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append(append([]int(nil), p.living...), p.dead...)
}

// favourite returns a number from 1 to n, low ones more often.
func favourite(rnd *rand.Rand, n int) int { return 1 + min(rnd.IntN(n), rnd.IntN(n), rnd.IntN(n)) }

// readUser queries a user and records what it saw.
func (s *site) readUser(ctx context.Context, g *gateway, user int) error {
	a, err := s.query(ctx, g, `query($id: ID!) { user(id: $id) { id bio } }`, map[string]any{"id": strconv.Itoa(user)})
	if err != nil {
		return err
	}
	var response struct{ User *struct{ Bio string } }
	if err := a.into(&response); err != nil {
		return err
	}
	switch {
	case user <= users && response.User == nil:
		s.saw(a.read(g, bioOf(user), Exactly(-1)))
	case user <= users:
		s.saw(a.read(g, bioOf(user), Exactly(versionIn(response.User.Bio))))
	case response.User == nil:
		s.saw(a.read(g, lifeOf(user), But(1, 1)))
	default:
		s.saw(a.read(g, lifeOf(user), Exactly(1)))
	}
	return nil
}

// read returns what the response says about a register.
func (a answer) read(g *gateway, register string, saw []Span) Read {
	return Read{Register: register, Via: g.name, Begun: a.began, Ended: a.ended, Saw: saw, Stale: a.stale}
}

// readProduct queries a product with its counts.
func (s *site) readProduct(ctx context.Context, g *gateway, product int) error {
	a, err := s.query(ctx, g, `query($id: ID!) { product(id: $id) { stock category averageRating
		reviews(first: 100) { totalCount nodes { id } } } }`, map[string]any{"id": strconv.Itoa(product)})
	if err != nil {
		return err
	}
	var response struct {
		Product struct {
			Stock         int64
			Category      string
			AverageRating *float64
			Reviews       struct {
				TotalCount int64
				Nodes      []json.RawMessage
			}
		}
	}
	if err := a.into(&response); err != nil {
		return err
	}
	p := response.Product
	listed := Exactly(int64(len(p.Reviews.Nodes)))
	if len(p.Reviews.Nodes) == 100 {
		listed[0].High = 1 << 40 // there may be more
	}
	s.saw(
		a.read(g, stockOf(product), Exactly(p.Stock)),
		a.read(g, categoryOf(product), Exactly(versionIn(p.Category))),
		a.read(g, reviewsOf(product), ratings(p.AverageRating)),
		a.read(g, reviewsOf(product), Exactly(p.Reviews.TotalCount)),
		a.read(g, reviewsOf(product), listed),
	)
	return nil
}

// readUsers queries the list of users.
func (s *site) readUsers(ctx context.Context, g *gateway, p *pens) error {
	mortals := p.mortals() // who is known now must be in the list, or be deleted
	a, err := s.query(ctx, g, `{ users(first: 100) { totalCount nodes { id bio } } }`, nil)
	if err != nil {
		return err
	}
	var response struct {
		Users struct {
			TotalCount int64
			Nodes      []struct {
				ID  int `json:",string"`
				Bio string
			}
		}
	}
	if err := a.into(&response); err != nil {
		return err
	}
	reads := []Read{a.read(g, userCount, Exactly(response.Users.TotalCount))}
	seen := map[int]bool{}
	for _, u := range response.Users.Nodes {
		seen[u.ID] = true
		if u.ID <= users {
			reads = append(reads, a.read(g, bioOf(u.ID), Exactly(versionIn(u.Bio))))
		} else {
			reads = append(reads, a.read(g, lifeOf(u.ID), Exactly(1)))
		}
	}
	for _, id := range mortals {
		if !seen[id] && len(response.Users.Nodes) < 100 {
			reads = append(reads, a.read(g, lifeOf(id), But(1, 1)))
		}
	}
	s.saw(reads...)
	return nil
}

// readCategory queries the products of a category that a product is in, was in or will be in.
func (s *site) readCategory(ctx context.Context, g *gateway, p *pens, rnd *rand.Rand) error {
	product := favourite(rnd, products)
	version := max(0, p.latest(categoryOf(product))-1+int64(rnd.IntN(3)))
	a, err := s.query(ctx, g, `query($c: String!) { products(category: $c, first: 5) { totalCount nodes { id } } }`,
		map[string]any{"c": category(product, version)})
	if err != nil {
		return err
	}
	var response struct {
		Products struct {
			TotalCount int
			Nodes      []json.RawMessage
		}
	}
	if err := a.into(&response); err != nil {
		return err
	}
	for _, n := range []int{response.Products.TotalCount, len(response.Products.Nodes)} {
		saw := But(version, version)
		if n > 0 {
			saw = Exactly(version)
		}
		s.saw(a.read(g, categoryOf(product), saw))
	}
	return nil
}

// readMine queries how many reviews user 1 wrote.
func (s *site) readMine(ctx context.Context, g *gateway) error {
	a, err := s.query(ctx, g, `{ user(id: 1) { reviews(first: 1) { totalCount } } }`, nil)
	if err != nil {
		return err
	}
	var response struct {
		User struct{ Reviews struct{ TotalCount int64 } }
	}
	if err := a.into(&response); err != nil {
		return err
	}
	s.saw(a.read(g, reviewsByMe, Exactly(response.User.Reviews.TotalCount)))
	return nil
}

// readStored reads the entry of a user's row in Redis.
func (s *site) readStored(ctx context.Context, user int) {
	began := s.now()
	text, err := s.stored.Get(ctx, fmt.Sprint("user:", user)).Bytes()
	if err != nil {
		return // it is not there, which is fine, or Redis does not answer
	}
	var row struct{ Bio string }
	saw := Exactly(-1)
	if value, err := storedValue(text); err == nil && json.Unmarshal(value, &row) == nil {
		saw = Exactly(versionIn(row.Bio))
	}
	s.saw(Read{Register: bioOf(user), Via: Stored, Begun: began, Ended: s.now(), Saw: saw})
}
