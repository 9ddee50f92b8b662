package starwars

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

// Tables creates the project's tables with their first rows.
const Tables = `
CREATE TABLE characters (id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, episodes TEXT NOT NULL, height REAL, mass REAL, function TEXT);
CREATE TABLE friends (character_id TEXT NOT NULL, friend_id TEXT NOT NULL, PRIMARY KEY (character_id, friend_id));
CREATE TABLE starships (id TEXT PRIMARY KEY, name TEXT NOT NULL, meters REAL NOT NULL, owner_id TEXT NOT NULL);
CREATE TABLE reviews (id INTEGER PRIMARY KEY, episode TEXT NOT NULL, stars INTEGER NOT NULL, commentary TEXT, at TIMESTAMP);
INSERT INTO characters VALUES
	('1000', 'human', 'Luke', 'NEWHOPE,EMPIRE,JEDI', 1.5, 77, NULL), ('1001', 'human', 'Leia', 'NEWHOPE', 1.25, NULL, NULL),
	('1002', 'human', 'Wilhuff', '', 1.75, NULL, NULL), ('2000', 'droid', 'C-3PO', 'NEWHOPE,JEDI', NULL, NULL, 'Protocol'),
	('2001', 'droid', 'R2-D2', 'EMPIRE', NULL, NULL, NULL);
INSERT INTO friends VALUES ('1000', '1001'), ('1000', '2000'), ('1000', '2001'), ('1001', '1000'), ('2001', '1000');
INSERT INTO starships VALUES ('3000', 'Millennium Falcon', 34.5, '1001'), ('3001', 'X-Wing', 12.5, '1000');
INSERT INTO reviews VALUES (1, 'EMPIRE', 5, 'Dark & <bold>', '2020-02-03 04:05:06'), (2, 'EMPIRE', 1, NULL, NULL), (3, 'JEDI', 3, '', NULL);`

// Resolver resolves the schema from a database.
type Resolver struct {
	DB *sql.DB

	mu        sync.Mutex
	listeners map[Episode][]chan *Review
}

type txKey struct{}

// WithTx returns a context whose mutations rename in a transaction that the caller commits.
func WithTx(ctx context.Context, tx *sql.Tx) context.Context {
	return context.WithValue(ctx, txKey{}, tx)
}

func (r *Resolver) in(ctx context.Context) interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
} {
	if tx, ok := ctx.Value(txKey{}).(*sql.Tx); ok {
		return tx
	}
	return r.DB
}

// Query implements [ResolverRoot].
func (r *Resolver) Query() QueryResolver { return queryResolver{r} }

// Mutation implements [ResolverRoot].
func (r *Resolver) Mutation() MutationResolver { return mutationResolver{r} }

// Subscription implements [ResolverRoot].
func (r *Resolver) Subscription() SubscriptionResolver { return subscriptionResolver{r} }

// Human implements [ResolverRoot].
func (r *Resolver) Human() HumanResolver { return humanResolver{r} }

// Droid implements [ResolverRoot].
func (r *Resolver) Droid() DroidResolver { return droidResolver{r} }

// Starship implements [ResolverRoot].
func (r *Resolver) Starship() StarshipResolver { return starshipResolver{r} }

// FriendsConnection implements [ResolverRoot].
func (r *Resolver) FriendsConnection() FriendsConnectionResolver { return connectionResolver{r} }

type (
	queryResolver        struct{ *Resolver }
	mutationResolver     struct{ *Resolver }
	subscriptionResolver struct{ *Resolver }
	humanResolver        struct{ *Resolver }
	droidResolver        struct{ *Resolver }
	starshipResolver     struct{ *Resolver }
	connectionResolver   struct{ *Resolver }
)

// characters reads the characters that match a condition.
func (r *Resolver) characters(ctx context.Context, where string, args ...any) ([]Character, error) {
	rows, err := r.in(ctx).QueryContext(ctx, "SELECT id, kind, name, episodes, height, mass, function FROM characters WHERE "+where+" ORDER BY id", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Character
	for rows.Next() {
		var fields CharacterFields
		var kind, episodes string
		var height *float64
		var mass *float64
		var function *string
		if err := rows.Scan(&fields.ID, &kind, &fields.Name, &episodes, &height, &mass, &function); err != nil {
			return nil, err
		}
		fields.AppearsIn = []Episode{}
		for e := range strings.SplitSeq(episodes, ",") {
			if e != "" {
				fields.AppearsIn = append(fields.AppearsIn, Episode(e))
			}
		}
		if kind == "droid" {
			list = append(list, Droid{fields, function})
			continue
		}
		list = append(list, &Human{fields, *height, mass})
	}
	return list, rows.Err()
}

func (r *Resolver) character(ctx context.Context, id string) (Character, error) {
	list, err := r.characters(ctx, "id = $1", id)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

func (r *Resolver) friendsOf(ctx context.Context, id string) ([]Character, error) {
	return r.characters(ctx, "id IN (SELECT friend_id FROM friends WHERE character_id = $1)", id)
}

func (r *Resolver) connection(ctx context.Context, id string, first *int, after *string) (FriendsConnection, error) {
	list, err := r.friendsOf(ctx, id)
	if err != nil {
		return FriendsConnection{}, err
	}
	c := FriendsConnection{to: len(list)}
	for _, f := range list {
		c.ids = append(c.ids, f.GetID())
	}
	if after != nil {
		if c.from, err = position(*after); err != nil {
			return c, err
		}
	}
	if first != nil {
		c.to = min(c.from+*first, len(list))
	}
	if c.from > c.to {
		return c, errors.New("there is nothing behind the cursor")
	}
	return c, nil
}

func (r queryResolver) Hero(ctx context.Context, episode *Episode) (Character, error) {
	if episode != nil && *episode == Empire {
		return r.character(ctx, "1000")
	}
	return r.character(ctx, "2001")
}

func (r queryResolver) Character(ctx context.Context, id string) (Character, error) {
	return r.character(ctx, id)
}

func (r queryResolver) Human(ctx context.Context, id string) (*Human, error) {
	c, err := r.character(ctx, id)
	if c == nil || err != nil {
		return nil, err
	}
	h, ok := c.(*Human)
	if !ok {
		return nil, fmt.Errorf("%s is no human", id)
	}
	return h, nil
}

func (r queryResolver) Search(ctx context.Context, text string) ([]SearchResult, error) {
	characters, err := r.characters(ctx, "name LIKE '%' || $1 || '%'", text)
	if err != nil {
		return nil, err
	}
	results := []SearchResult{}
	for _, c := range characters {
		results = append(results, c.(SearchResult))
	}
	ships, err := r.starships(ctx, "name LIKE '%' || $1 || '%'", text)
	for _, s := range ships {
		results = append(results, s)
	}
	return results, err
}

const reviewColumns = "SELECT id, stars, commentary, at FROM reviews "

func (r queryResolver) Reviews(ctx context.Context, episode Episode, since *time.Time) ([]*Review, error) {
	query, args := reviewColumns+"WHERE episode = $1 ORDER BY id", []any{string(episode)}
	if since != nil {
		query, args = reviewColumns+"WHERE episode = $1 AND at >= $2 ORDER BY id", append(args, *since)
	}
	rows, err := r.DB.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*Review
	for rows.Next() {
		v := new(Review)
		if err := rows.Scan(&v.ID, &v.Stars, &v.Commentary, &v.Time); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

func (r *Resolver) starships(ctx context.Context, where string, args ...any) ([]*Starship, error) {
	rows, err := r.DB.QueryContext(ctx, "SELECT id, name, meters FROM starships WHERE "+where+" ORDER BY id", args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*Starship
	for rows.Next() {
		s := &Starship{History: [][]int{{1, 2}, {}, {len(list)}}}
		if err := rows.Scan(&s.ID, &s.Name, &s.meters); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

func (r queryResolver) Starship(ctx context.Context, id string) (*Starship, error) {
	list, err := r.starships(ctx, "id = $1", id)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

func (r humanResolver) Friends(ctx context.Context, obj *Human) ([]Character, error) {
	return r.friendsOf(ctx, obj.ID)
}

func (r humanResolver) FriendsConnection(ctx context.Context, obj *Human, first *int, after *string) (*FriendsConnection, error) {
	c, err := r.connection(ctx, obj.ID, first, after)
	return &c, err
}

func (r humanResolver) Starships(ctx context.Context, obj *Human) ([]*Starship, error) {
	return r.starships(ctx, "owner_id = $1", obj.ID)
}

func (r droidResolver) Friends(ctx context.Context, obj *Droid) ([]Character, error) {
	return r.friendsOf(ctx, obj.ID)
}

func (r droidResolver) FriendsConnection(ctx context.Context, obj *Droid, first *int, after *string) (*FriendsConnection, error) {
	c, err := r.connection(ctx, obj.ID, first, after)
	return &c, err
}

func (starshipResolver) Length(_ context.Context, obj *Starship, unit *LengthUnit) (float64, error) {
	return inUnit(obj.meters, unit), nil
}

func (r connectionResolver) Edges(ctx context.Context, obj *FriendsConnection) ([]*FriendsEdge, error) {
	friends, err := r.Friends(ctx, obj)
	if err != nil {
		return nil, err
	}
	edges := make([]*FriendsEdge, len(friends))
	for i, f := range friends {
		edges[i] = &FriendsEdge{Cursor: cursor(obj.from + i), Node: f}
	}
	return edges, nil
}

func (r connectionResolver) Friends(ctx context.Context, obj *FriendsConnection) ([]Character, error) {
	var list []Character
	for _, id := range obj.ids[obj.from:obj.to] {
		c, err := r.character(ctx, id)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

func (r mutationResolver) CreateReview(ctx context.Context, episode Episode, review ReviewInput) (*Review, error) {
	if review.Stars > 5 {
		return nil, errors.New("there are five stars at most")
	}
	v := &Review{Stars: review.Stars, Commentary: review.Commentary, Time: review.Time}
	err := r.DB.QueryRowContext(ctx, `INSERT INTO reviews (id, episode, stars, commentary, at)
		SELECT max(id) + 1, $1, $2, $3, $4 FROM reviews RETURNING id`, string(episode), review.Stars, review.Commentary, review.Time).Scan(&v.ID)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.listeners[episode] {
		l <- v
	}
	return v, nil
}

func (r mutationResolver) Befriend(ctx context.Context, character, friend string) (Character, error) {
	if _, err := r.DB.ExecContext(ctx, "INSERT INTO friends VALUES ($1, $2)", character, friend); err != nil {
		return nil, errors.New("they are friends already")
	}
	return r.character(ctx, character)
}

func (r mutationResolver) Rename(ctx context.Context, id, name string) (Character, error) {
	if _, err := r.in(ctx).ExecContext(ctx, "UPDATE characters SET name = $2 WHERE id = $1", id, name); err != nil {
		return nil, err
	}
	return r.character(ctx, id)
}

func (r mutationResolver) RenameByFile(ctx context.Context, id string, file graphql.Upload) (Character, error) {
	name, err := io.ReadAll(file.File)
	if err != nil {
		return nil, err
	}
	return r.Rename(ctx, id, string(name))
}

func (r subscriptionResolver) ReviewAdded(ctx context.Context, episode Episode) (<-chan *Review, error) {
	reviews := make(chan *Review, 8)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listeners == nil {
		r.listeners = map[Episode][]chan *Review{}
	}
	r.listeners[episode] = append(r.listeners[episode], reviews)
	context.AfterFunc(ctx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, l := range r.listeners[episode] {
			if l == reviews {
				r.listeners[episode] = append(r.listeners[episode][:i:i], r.listeners[episode][i+1:]...)
				close(reviews)
			}
		}
	})
	return reviews, nil
}
