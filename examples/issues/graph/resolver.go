// Package graph resolves issues from a database, SQLite or PostgreSQL. It does not know the cache.
package graph

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vikstrous/dataloadgen"
)

// Tables creates missing tables with some sample rows, on either database.
const Tables = `
	CREATE TABLE IF NOT EXISTS authors (id varchar(30) PRIMARY KEY, name text NOT NULL, email text NOT NULL);
	CREATE TABLE IF NOT EXISTS issues (id varchar(30) PRIMARY KEY, title text NOT NULL, author_id varchar(30) NOT NULL);
	CREATE TABLE IF NOT EXISTS comments (
		id varchar(30) PRIMARY KEY, issue_id varchar(30) NOT NULL, body text NOT NULL, author_id varchar(30) NOT NULL);
	INSERT INTO authors VALUES ('ada', 'Ada', 'ada@example.com'), ('grace', 'Grace', 'grace@example.com') ON CONFLICT DO NOTHING;
	INSERT INTO issues VALUES ('1', 'The door squeaks', 'ada'), ('2', 'The window squeaks', 'grace'), ('3', 'Paint is missing', 'ada')
		ON CONFLICT DO NOTHING;
	INSERT INTO comments VALUES ('c1', '1', 'Oil it', 'grace') ON CONFLICT DO NOTHING`

type viewerKey struct{}

// WithViewer returns a context with the author who sends the request, or "" if anonymous.
func WithViewer(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, viewerKey{}, id)
}

// ViewerOf returns the author who sent the request, or "" if anonymous.
func ViewerOf(ctx context.Context) string {
	id, _ := ctx.Value(viewerKey{}).(string)
	return id
}

// Resolver resolves the schema.
type Resolver struct {
	DB   *sql.DB
	news news
}

type loaderKey struct{}

// Loaders gives each response its own loader of authors.
func (r *Resolver) Loaders(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	return next(context.WithValue(ctx, loaderKey{}, dataloadgen.NewMappedLoader(r.authors)))
}

// authors reads all authors of a batch in one statement.
func (r *Resolver) authors(ctx context.Context, ids []string) (map[string]*Author, error) {
	places, args := make([]string, len(ids)), make([]any, len(ids))
	for i, id := range ids {
		places[i], args[i] = fmt.Sprintf("$%d", i+1), id
	}
	list, err := read(ctx, r.DB, scanAuthor, "SELECT id, name FROM authors WHERE id IN ("+strings.Join(places, ", ")+")", args...)
	found := make(map[string]*Author, len(list))
	for _, a := range list {
		found[a.ID] = a
	}
	return found, err
}

func author(ctx context.Context, id string) (*Author, error) {
	return ctx.Value(loaderKey{}).(*dataloadgen.Loader[string, *Author]).Load(ctx, id)
}

func scanAuthor(scan func(...any) error, a *Author) error { return scan(&a.ID, &a.Name) }

const selectIssues = "SELECT id, title, author_id FROM issues "

func scanIssue(scan func(...any) error, i *Issue) error { return scan(&i.ID, &i.Title, &i.AuthorID) }

const selectComments = "SELECT id, issue_id, body, author_id FROM comments "

func scanComment(scan func(...any) error, c *Comment) error {
	return scan(&c.ID, &c.IssueID, &c.Body, &c.AuthorID)
}

func read[T any](ctx context.Context, db *sql.DB, scan func(func(...any) error, *T) error, query string, args ...any) ([]*T, error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []*T{}
	for rows.Next() {
		v := new(T)
		if err := scan(rows.Scan, v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

func first[T any](list []*T, err error) (*T, error) {
	if len(list) == 0 {
		return nil, err
	}
	return list[0], err
}

func (r authorResolver) Email(ctx context.Context, a *Author) (*string, error) {
	if ViewerOf(ctx) != a.ID {
		return nil, nil
	}
	var email string
	err := r.DB.QueryRowContext(ctx, "SELECT email FROM authors WHERE id = $1", a.ID).Scan(&email)
	return &email, err
}

func (r issueResolver) Author(ctx context.Context, i *Issue) (*Author, error) {
	return author(ctx, i.AuthorID)
}

func (r issueResolver) Comments(ctx context.Context, i *Issue) ([]*Comment, error) {
	return read(ctx, r.DB, scanComment, selectComments+"WHERE issue_id = $1 ORDER BY id", i.ID)
}

func (r issueResolver) Similar(ctx context.Context, i *Issue, first int) ([]*Issue, error) {
	all, err := read(ctx, r.DB, scanIssue, selectIssues+"WHERE id <> $1 ORDER BY id", i.ID)
	slices.SortStableFunc(all, func(a, b *Issue) int { return cmp.Compare(distance(i.Title, a.Title), distance(i.Title, b.Title)) })
	return all[:min(max(first, 0), len(all))], err
}

// distance is the Levenshtein distance.
func distance(a, b string) int {
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		diagonal := last[0]
		last[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, last[j+1] = last[j+1], min(last[j+1]+1, last[j]+1, diagonal+cost)
		}
	}
	return last[len(b)]
}

func (r commentResolver) Author(ctx context.Context, c *Comment) (*Author, error) {
	return author(ctx, c.AuthorID)
}

func (r queryResolver) Issue(ctx context.Context, id string) (*Issue, error) {
	return first(read(ctx, r.DB, scanIssue, selectIssues+"WHERE id = $1", id))
}

func (r queryResolver) Feed(ctx context.Context) ([]FeedItem, error) {
	issues, err := read(ctx, r.DB, scanIssue, selectIssues+"ORDER BY id")
	if err != nil {
		return nil, err
	}
	comments, err := read(ctx, r.DB, scanComment, selectComments+"ORDER BY id")
	feed := []FeedItem{}
	for _, i := range issues {
		feed = append(feed, i)
	}
	for _, c := range comments {
		feed = append(feed, c)
	}
	return feed, err
}

func (r queryResolver) Me(ctx context.Context) (*Author, error) {
	return first(read(ctx, r.DB, scanAuthor, "SELECT id, name FROM authors WHERE id = $1", ViewerOf(ctx)))
}

func (r mutationResolver) SetTitle(ctx context.Context, id, title string) (*Issue, error) {
	return first(read(ctx, r.DB, scanIssue, "UPDATE issues SET title = $2 WHERE id = $1 RETURNING id, title, author_id", id, title))
}

func (r mutationResolver) AddComment(ctx context.Context, issue, body string) (*Comment, error) {
	c := &Comment{ID: rand.Text(), IssueID: issue, Body: body, AuthorID: ViewerOf(ctx)}
	if c.AuthorID == "" {
		return nil, errors.New("only authors comment")
	}
	if _, err := r.DB.ExecContext(ctx, "INSERT INTO comments VALUES ($1, $2, $3, $4)", c.ID, c.IssueID, c.Body, c.AuthorID); err != nil {
		return nil, err
	}
	r.news.publish(c)
	return c, nil
}

func (r subscriptionResolver) CommentAdded(ctx context.Context, issue string) (<-chan *Comment, error) {
	return r.news.of(ctx, issue), nil
}

func (r *Resolver) Author() AuthorResolver             { return authorResolver{r} }
func (r *Resolver) Issue() IssueResolver               { return issueResolver{r} }
func (r *Resolver) Comment() CommentResolver           { return commentResolver{r} }
func (r *Resolver) Query() QueryResolver               { return queryResolver{r} }
func (r *Resolver) Mutation() MutationResolver         { return mutationResolver{r} }
func (r *Resolver) Subscription() SubscriptionResolver { return subscriptionResolver{r} }

type (
	authorResolver       struct{ *Resolver }
	issueResolver        struct{ *Resolver }
	commentResolver      struct{ *Resolver }
	queryResolver        struct{ *Resolver }
	mutationResolver     struct{ *Resolver }
	subscriptionResolver struct{ *Resolver }
)
