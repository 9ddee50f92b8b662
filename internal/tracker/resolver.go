package tracker

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/99designs/gqlgen/graphql"
)

// Resolver resolves the schema from a database. It caches nothing, and batches only where the
// schema says so.
type Resolver struct {
	DB *sql.DB

	batches atomic.Int64
	ticks   atomic.Int64
}

// Batches returns how often batch resolvers were called.
func (r *Resolver) Batches() int64 { return r.batches.Load() }

type viewerKey struct{}

// WithViewer returns a context with the account that sends the request, or "" if anonymous.
func WithViewer(ctx context.Context, account string) context.Context {
	return context.WithValue(ctx, viewerKey{}, account)
}

// ViewerOf returns the account that sent the request, or "" if anonymous.
func ViewerOf(ctx context.Context) string {
	v, _ := ctx.Value(viewerKey{}).(string)
	return v
}

func words(text string) int { return len(strings.Fields(text)) }

func (r *Resolver) Account() AccountResolver       { return accountResolver{r} }
func (r *Resolver) Comment() CommentResolver       { return commentResolver{r} }
func (r *Resolver) Issue() IssueResolver           { return issueResolver{r} }
func (r *Resolver) IssueStats() IssueStatsResolver { return issueStatsResolver{r} }
func (r *Resolver) Member() MemberResolver         { return memberResolver{r} }
func (r *Resolver) Mutation() MutationResolver     { return mutationResolver{r} }
func (r *Resolver) Project() ProjectResolver       { return projectResolver{r} }
func (r *Resolver) Query() QueryResolver           { return queryResolver{r} }

type (
	accountResolver    struct{ *Resolver }
	commentResolver    struct{ *Resolver }
	issueResolver      struct{ *Resolver }
	issueStatsResolver struct{ *Resolver }
	memberResolver     struct{ *Resolver }
	mutationResolver   struct{ *Resolver }
	projectResolver    struct{ *Resolver }
	queryResolver      struct{ *Resolver }
)

// one reads a row. It returns nil if there is none.
func one[T any](ctx context.Context, db *sql.DB, scan func(func(...any) error, *T) error, query string, args ...any) (*T, error) {
	var v T
	err := scan(db.QueryRowContext(ctx, query, args...).Scan, &v)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &v, nil
}

func many[T any](ctx context.Context, db *sql.DB, scan func(func(...any) error, *T) error, query string, args ...any) ([]*T, error) {
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

const issueColumns = "SELECT id, number, title, state, points, labels, author_id FROM issues "

func scanIssue(scan func(...any) error, i *Issue) error {
	var labels []byte
	if err := scan(&i.ID, &i.Number, &i.Title, &i.State, &i.Points, &labels, &i.AuthorID); err != nil {
		return err
	}
	return json.Unmarshal(labels, &i.Labels)
}

const commentColumns = "SELECT id, body, created_at, author_id FROM comments "

func scanComment(scan func(...any) error, c *Comment) error {
	return scan(&c.ID, &c.Body, &c.CreatedAt, &c.AuthorID)
}

const accountColumns = "SELECT id, handle FROM accounts "

func scanAccount(scan func(...any) error, a *Account) error { return scan(&a.ID, &a.Handle) }

func (r *Resolver) account(ctx context.Context, id *string) (*Account, error) {
	if id == nil {
		return nil, nil
	}
	return one(ctx, r.DB, scanAccount, accountColumns+"WHERE id = $1", *id)
}

func (r *Resolver) number(ctx context.Context, query string, args ...any) (n int, err error) {
	err = r.DB.QueryRowContext(ctx, query, args...).Scan(&n)
	return n, err
}

func (r accountResolver) Secret(ctx context.Context, obj *Account) (secret *string, err error) {
	if ViewerOf(ctx) != obj.ID {
		return nil, nil
	}
	err = r.DB.QueryRowContext(ctx, "SELECT secret FROM accounts WHERE id = $1", obj.ID).Scan(&secret)
	return secret, err
}

func (r accountResolver) Issues(ctx context.Context, obj *Account, state *IssueState) ([]*Issue, error) {
	return many(ctx, r.DB, scanIssue, issueColumns+"WHERE author_id = $1 AND ($2::issue_state IS NULL OR state = $2) ORDER BY project_key, number", obj.ID, state)
}

func (r commentResolver) Author(ctx context.Context, obj *Comment) (*Account, error) {
	return r.account(ctx, obj.AuthorID)
}

func (r issueResolver) Author(ctx context.Context, obj *Issue) (*Account, error) {
	return r.account(ctx, obj.AuthorID)
}

func (r issueResolver) Comments(ctx context.Context, obj *Issue, first int) ([]*Comment, error) {
	return many(ctx, r.DB, scanComment, commentColumns+"WHERE issue_id = $1 ORDER BY created_at, id LIMIT $2", obj.ID, first)
}

func (r issueResolver) CommentCount(ctx context.Context, obj *Issue) (int, error) {
	return r.number(ctx, "SELECT count(*) FROM comments WHERE issue_id = $1", obj.ID)
}

// Mentions counts for a batch of issues with one statement. It returns an error for closed issues,
// and values for the others.
func (r issueResolver) Mentions(ctx context.Context, objs []*Issue, word string) ([]*int, error) {
	r.batches.Add(1)
	if word == "" {
		return nil, errors.New("a word is needed")
	}
	counts, closed := map[string]int{}, map[string]bool{}
	rows, err := r.DB.QueryContext(ctx, `SELECT i.id, i.state = 'CLOSED', count(*) FILTER (WHERE position($2 IN c.body) > 0)
		FROM issues i LEFT JOIN comments c ON c.issue_id = i.id WHERE i.id = ANY($1) GROUP BY i.id`, ids(objs, Issue.GetID), word)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var is bool
		var n int
		if err := rows.Scan(&id, &is, &n); err != nil {
			return nil, err
		}
		counts[id], closed[id] = n, is
	}
	found, failed := make([]*int, len(objs)), make(graphql.BatchErrorList, len(objs))
	for i, obj := range objs {
		n, there := counts[obj.ID]
		switch {
		case closed[obj.ID]:
			failed[i] = errors.New("closed issues are not searched")
		case there:
			found[i] = &n
		}
	}
	if err := rows.Err(); err != nil || len(failed.Unwrap()) == 0 {
		return found, err
	}
	return found, failed
}

// Mine compares the authors of a batch of comments with the viewer.
func (r commentResolver) Mine(ctx context.Context, objs []*Comment) ([]bool, error) {
	r.batches.Add(1)
	mine := make([]bool, len(objs))
	rows, err := r.DB.QueryContext(ctx, "SELECT id FROM comments WHERE id = ANY($1) AND author_id = $2", ids(objs, Comment.GetID), viewerID(ctx))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		for i, obj := range objs {
			mine[i] = mine[i] || obj.ID == id
		}
	}
	return mine, rows.Err()
}

// viewerID returns the viewer, or nil if anonymous.
func viewerID(ctx context.Context) *string {
	if v := ViewerOf(ctx); v != "" {
		return &v
	}
	return nil
}

func ids[T any](objs []*T, id func(T) string) []string {
	list := make([]string, len(objs))
	for i, obj := range objs {
		list[i] = id(*obj)
	}
	return list
}

// Score depends on the issue's own row alone.
func (issueResolver) Score(_ context.Context, obj *Issue, weights []float64) (score float64, err error) {
	parts := []float64{float64(words(obj.Title)), float64(len(obj.Labels))}
	if obj.Points != nil {
		parts[0] += *obj.Points
	}
	for i, w := range weights {
		score += w * parts[i%len(parts)]
	}
	return score, nil
}

func (r issueResolver) Watched(ctx context.Context, obj *Issue) (watched bool, err error) {
	viewer := ViewerOf(ctx)
	if viewer == "" {
		return false, nil
	}
	err = r.DB.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM watches WHERE issue_id = $1 AND account_id = $2)", obj.ID, viewer).Scan(&watched)
	return watched, err
}

func (r issueStatsResolver) ReadingTime(ctx context.Context, obj *IssueStats, perMinute int) (float64, error) {
	bodies, err := many(ctx, r.DB, scanComment, commentColumns+"WHERE issue_id = $1", obj.IssueID)
	n := obj.Words
	for _, c := range bodies {
		n += words(c.Body)
	}
	return float64(n) / float64(perMinute), err
}

func (r memberResolver) Load(ctx context.Context, obj *Member) (int, error) {
	return r.number(ctx, "SELECT count(*) FROM issues WHERE project_key = $1 AND author_id = $2 AND state = 'OPEN'", obj.Project, obj.Account)
}

func (r projectResolver) OpenCount(ctx context.Context, obj *Project) (int, error) {
	return r.number(ctx, "SELECT count(*) FROM issues WHERE project_key = $1 AND state = 'OPEN'", obj.Key)
}

func (r projectResolver) Members(ctx context.Context, obj *Project) ([]*Member, error) {
	return many(ctx, r.DB, func(scan func(...any) error, m *Member) error { return scan(&m.Project, &m.Account, &m.Role) },
		"SELECT project_key, account_id, role FROM members WHERE project_key = $1 ORDER BY account_id", obj.Key)
}

func (r queryResolver) Account(ctx context.Context, handle string) (*Account, error) {
	return one(ctx, r.DB, scanAccount, accountColumns+"WHERE handle = $1", handle)
}

func (r queryResolver) Project(ctx context.Context, key string) (*Project, error) {
	return one(ctx, r.DB, func(scan func(...any) error, p *Project) error { return scan(&p.Key, &p.Name) },
		"SELECT key, name FROM projects WHERE key = $1", key)
}

func (r queryResolver) Issue(ctx context.Context, id string) (*Issue, error) {
	return one(ctx, r.DB, scanIssue, issueColumns+"WHERE id = $1", id)
}

func (r queryResolver) Issues(ctx context.Context, filter IssueFilter) ([]*Issue, error) {
	return many(ctx, r.DB, scanIssue, issueColumns+`WHERE ($1::text IS NULL OR project_key = $1)
		AND ($2::issue_state IS NULL OR state = $2) AND ($3::text IS NULL OR labels ? $3) ORDER BY project_key, number`,
		filter.Project, filter.State, filter.Label)
}

func (r queryResolver) Assigned(ctx context.Context, project string, author *string, state *IssueState) ([]*Issue, error) {
	return many(ctx, r.DB, scanIssue, issueColumns+`WHERE project_key = $1 AND ($2::uuid IS NULL OR author_id = $2)
		AND ($3::issue_state IS NULL OR state = $3) ORDER BY number`, project, author, state)
}

func (r queryResolver) Written(ctx context.Context, author *string) (int, error) {
	return r.number(ctx, "SELECT count(*) FROM issues WHERE author_id IS NOT DISTINCT FROM $1", author)
}

func (r queryResolver) Feed(ctx context.Context, first int) ([]FeedItem, error) {
	issues, err := many(ctx, r.DB, scanIssue, issueColumns+"ORDER BY id LIMIT $1", first)
	if err != nil {
		return nil, err
	}
	comments, err := many(ctx, r.DB, scanComment, commentColumns+"ORDER BY id LIMIT $1", first)
	items := []FeedItem{}
	for i := range max(len(issues), len(comments)) {
		if i < len(issues) {
			items = append(items, issues[i])
		}
		if i < len(comments) {
			items = append(items, *comments[i]) // by value, as in some schemas
		}
	}
	return items[:min(first, len(items))], err
}

func (r queryResolver) Node(ctx context.Context, id string) (Node, error) {
	if i, err := r.Issue(ctx, id); i != nil || err != nil {
		return i, err
	}
	if c, err := one(ctx, r.DB, scanComment, commentColumns+"WHERE id = $1", id); c != nil || err != nil {
		return c, err
	}
	if a, err := r.account(ctx, &id); a != nil || err != nil {
		return a, err
	}
	return nil, nil
}

func (queryResolver) Grid(_ context.Context, size int) ([][]int, error) {
	grid := make([][]int, size)
	for i := range grid {
		if i%3 == 2 {
			continue // a null row
		}
		grid[i] = make([]int, i)
	}
	return grid, nil
}

func (r queryResolver) Me(ctx context.Context) (*Account, error) {
	viewer := ViewerOf(ctx)
	if viewer == "" {
		return nil, nil
	}
	return r.account(ctx, &viewer)
}

// Ticks counts its calls.
func (r queryResolver) Ticks(context.Context) (int, error) { return int(r.ticks.Add(1)), nil }

func (queryResolver) Motto(context.Context) (*string, error) { return nil, nil }

func (r mutationResolver) SetTitle(ctx context.Context, id, title string) (*Issue, error) {
	return one(ctx, r.DB, scanIssue, "UPDATE issues SET title = $2 WHERE id = $1 RETURNING id, number, title, state, points, labels, author_id", id, title)
}

func (r mutationResolver) SetState(ctx context.Context, id string, state IssueState) (*Issue, error) {
	return one(ctx, r.DB, scanIssue, "UPDATE issues SET state = $2 WHERE id = $1 RETURNING id, number, title, state, points, labels, author_id", id, state)
}

func (r mutationResolver) AddComment(ctx context.Context, issue, body string) (*Comment, error) {
	return one(ctx, r.DB, scanComment, "INSERT INTO comments (issue_id, body) VALUES ($1, $2) RETURNING id, body, created_at, author_id", issue, body)
}

func (mutationResolver) Redraw(context.Context) (bool, error) { return true, nil }
