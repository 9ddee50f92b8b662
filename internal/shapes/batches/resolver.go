package batches

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// Tables creates the project's tables with their first rows.
const Tables = `
CREATE TABLE writers (id TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE notes (id TEXT PRIMARY KEY, title TEXT NOT NULL, color TEXT, pinned BOOLEAN NOT NULL, writer_id TEXT);
CREATE TABLE tags (note_id TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (note_id, name));
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT);
INSERT INTO writers VALUES ('w1', 'Ann'), ('w2', 'Bob & Co');
INSERT INTO notes VALUES ('n1', 'First', 'RED', true, 'w1'), ('n2', 'Second', NULL, true, 'w1'), ('n3', 'Third <b>', 'GREEN', false, 'w2'), ('n4', '', 'RED', true, NULL);
INSERT INTO tags VALUES ('n1', 'a'), ('n1', 'ab'), ('n2', 'a'), ('n3', 'b');
INSERT INTO settings VALUES ('theme', 'dark'), ('size', '12'), ('back', NULL);`

// Transactions runs each mutation in a transaction and commits it if the response has no errors, as
// entgql does.
type Transactions struct{ DB *sql.DB }

// ExtensionName implements gqlgen's extension.
func (Transactions) ExtensionName() string { return "Transactions" }

// Validate implements gqlgen's extension.
func (Transactions) Validate(graphql.ExecutableSchema) error { return nil }

// InterceptResponse implements gqlgen's extension.
func (t Transactions) InterceptResponse(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	if graphql.GetOperationContext(ctx).Operation.Operation != ast.Mutation {
		return next(ctx)
	}
	tx, err := t.DB.BeginTx(ctx, nil)
	if err != nil {
		return graphql.ErrorResponse(ctx, "a transaction cannot be begun: %v", err)
	}
	defer tx.Rollback() //nolint:errcheck // it is committed already, or the failure is reported
	r := next(context.WithValue(ctx, txKey{}, &transaction{Tx: tx}))
	if len(r.Errors) > 0 || len(graphql.GetErrors(ctx)) > 0 {
		return r
	}
	if err := tx.Commit(); err != nil {
		return graphql.ErrorResponse(ctx, "the transaction cannot be committed: %v", err)
	}
	return r
}

type txKey struct{}

// transaction is used by concurrent resolvers, although a connection can read the rows of only one
// statement at a time.
type transaction struct {
	*sql.Tx
	mu sync.Mutex
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Resolver resolves the schema from a database, and mutations in their transaction.
type Resolver struct{ DB *sql.DB }

// in returns what runs the statements of a context, and a function to call after each.
func (r *Resolver) in(ctx context.Context) (to querier, done func()) {
	if tx, ok := ctx.Value(txKey{}).(*transaction); ok {
		tx.mu.Lock()
		return tx, tx.mu.Unlock
	}
	return r.DB, func() {}
}

// Query implements [ResolverRoot].
func (r *Resolver) Query() QueryResolver { return queryResolver{r} }

// Mutation implements [ResolverRoot].
func (r *Resolver) Mutation() MutationResolver { return mutationResolver{r} }

// Note implements [ResolverRoot].
func (r *Resolver) Note() NoteResolver { return noteResolver{r} }

// Writer implements [ResolverRoot].
func (r *Resolver) Writer() WriterResolver { return writerResolver{r} }

// Settings implements [ResolverRoot].
func (r *Resolver) Settings() SettingsResolver { return settingsResolver{r} }

type (
	queryResolver    struct{ *Resolver }
	mutationResolver struct{ *Resolver }
	noteResolver     struct{ *Resolver }
	writerResolver   struct{ *Resolver }
	settingsResolver struct{ *Resolver }
)

// each calls scan for every row.
func (r *Resolver) each(ctx context.Context, scan func(func(...any) error) error, query string, args ...any) error {
	to, done := r.in(ctx)
	defer done()
	rows, err := to.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (r *Resolver) notes(ctx context.Context, rest string, args ...any) (list []*Note, err error) {
	list = []*Note{}
	err = r.each(ctx, func(scan func(...any) error) error {
		n := new(Note)
		list = append(list, n)
		return scan(&n.ID, &n.Title, &n.Color, &n.Pinned, &n.WriterID)
	}, "SELECT id, title, color, pinned, writer_id FROM notes "+rest, args...)
	return list, err
}

func (r *Resolver) note(ctx context.Context, id string) (*Note, error) {
	list, err := r.notes(ctx, "WHERE id = $1", id)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return list[0], nil
}

func (r queryResolver) Note(ctx context.Context, id string) (*Note, error) { return r.note(ctx, id) }

// Notes distinguishes a null color, which matches notes without one, from an omitted color, which
// matches all.
func (r queryResolver) Notes(ctx context.Context, filter *NoteFilter) ([]*Note, error) {
	list, err := r.notes(ctx, "ORDER BY id")
	if filter == nil {
		return list, err
	}
	return slices.DeleteFunc(list, func(n *Note) bool {
		color, byColor := filter.Color.ValueOK()
		pinned, byPinned := filter.Pinned.ValueOK()
		title, byTitle := filter.Title.ValueOK()
		return byColor && !equal(color, n.Color) || byPinned && pinned != nil && *pinned != n.Pinned || byTitle && title != nil && *title != n.Title
	}), err
}

func equal[T comparable](a, b *T) bool { return a == b || a != nil && b != nil && *a == *b }

// Matching takes a map that distinguishes a null field from an omitted one.
func (r queryResolver) Matching(ctx context.Context, fields map[string]any) ([]*Note, error) {
	list, err := r.notes(ctx, "ORDER BY id")
	return slices.DeleteFunc(list, func(n *Note) bool {
		title, byTitle := fields["title"].(*string)
		color, byColor := fields["color"].(*Color)
		return byTitle && !equal(title, &n.Title) || byColor && !equal(color, n.Color)
	}), err
}

func (r *Resolver) settings(ctx context.Context) (map[string]any, error) {
	all := map[string]any{}
	palette := &Palette{Front: new(Red)}
	err := r.each(ctx, func(scan func(...any) error) error {
		var name string
		var value *string
		if err := scan(&name, &value); err != nil {
			return err
		}
		switch name {
		case "size":
			var size int
			if value != nil {
				_, _ = fmt.Sscan(*value, &size)
			}
			all[name] = size
		case "back":
			palette.Back = value
		default:
			all[name] = value
		}
		return nil
	}, "SELECT name, value FROM settings")
	all["palette"] = palette
	return all, err
}

func (r queryResolver) Settings(ctx context.Context) (map[string]any, error) { return r.settings(ctx) }

func (r queryResolver) Badges(ctx context.Context) ([]map[string]any, error) {
	s, err := r.settings(ctx)
	return []map[string]any{{"label": s["theme"], "count": s["size"]}, {"label": nil}, {}}, err
}

func (r settingsResolver) Digest(ctx context.Context, obj map[string]any) (string, error) {
	names := []string{}
	for name := range obj {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ","), ctx.Err()
}

// quoted returns a list of ids for a statement.
func quoted[T any](objs []*T, id func(*T) string) string {
	texts := []string{"''"}
	for _, o := range objs {
		if o == nil {
			continue // gqlgen passes the null items of a list
		}
		texts = append(texts, "'"+strings.ReplaceAll(id(o), "'", "''")+"'")
	}
	return "(" + strings.Join(texts, ", ") + ")"
}

func noteID(n *Note) string { return n.ID }

func (r noteResolver) tagsOf(ctx context.Context, objs []*Note) (map[string][]string, error) {
	tags := map[string][]string{}
	return tags, r.each(ctx, func(scan func(...any) error) error {
		var id, name string
		err := scan(&id, &name)
		tags[id] = append(tags[id], name)
		return err
	}, "SELECT note_id, name FROM tags WHERE note_id IN "+quoted(objs, noteID)+" ORDER BY note_id, name")
}

func (r noteResolver) Tags(ctx context.Context, objs []*Note, prefix string) ([][]string, error) {
	tags, err := r.tagsOf(ctx, objs)
	lists := make([][]string, len(objs))
	for i, o := range objs {
		lists[i] = []string{}
		if o == nil {
			continue
		}
		for _, t := range tags[o.ID] {
			if strings.HasPrefix(t, prefix) {
				lists[i] = append(lists[i], t)
			}
		}
	}
	return lists, err
}

// NewestTag returns an error for a note without a title, and values for the others.
func (r noteResolver) NewestTag(ctx context.Context, objs []*Note) ([]*string, error) {
	tags, err := r.tagsOf(ctx, objs)
	if err != nil {
		return nil, err
	}
	list, failed := make([]*string, len(objs)), make(graphql.BatchErrorList, len(objs))
	for i, o := range objs {
		if o.Title == "" {
			failed[i] = errors.New("a note without a title has no newest tag")
		} else if t := tags[o.ID]; len(t) > 0 {
			list[i] = &t[len(t)-1]
		}
	}
	return list, failed
}

func (r noteResolver) Related(ctx context.Context, objs []*Note) ([][]*Note, error) {
	lists := make([][]*Note, len(objs))
	for i, o := range objs {
		list, err := r.notes(ctx, "WHERE id <> $1 AND id IN (SELECT note_id FROM tags WHERE name IN (SELECT name FROM tags WHERE note_id = $1)) ORDER BY id", o.ID)
		if err != nil {
			return nil, err
		}
		lists[i] = append(list, nil)
	}
	return lists, nil
}

func (r noteResolver) Writer(ctx context.Context, objs []*Note) ([]*Writer, error) {
	found := map[string]*Writer{}
	err := r.each(ctx, func(scan func(...any) error) error {
		w := new(Writer)
		err := scan(&w.ID, &w.Name)
		found[w.ID] = w
		return err
	}, "SELECT id, name FROM writers")
	list := make([]*Writer, len(objs))
	for i, o := range objs {
		if o.WriterID != nil {
			list[i] = found[*o.WriterID]
		}
	}
	return list, err
}

func (r writerResolver) Notes(ctx context.Context, objs []*Writer) ([][]*Note, error) {
	all, err := r.notes(ctx, "WHERE writer_id IN "+quoted(objs, func(w *Writer) string { return w.ID })+" ORDER BY id")
	lists := make([][]*Note, len(objs))
	for i, o := range objs {
		lists[i] = []*Note{}
		for _, n := range all {
			if *n.WriterID == o.ID {
				lists[i] = append(lists[i], n)
			}
		}
	}
	return lists, err
}

func (r mutationResolver) exec(ctx context.Context, query string, args ...any) error {
	to, done := r.in(ctx)
	defer done()
	_, err := to.ExecContext(ctx, query, args...)
	return err
}

func (r mutationResolver) changed(ctx context.Context, id string) (*Note, error) {
	n, err := r.note(ctx, id)
	if err == nil && n == nil {
		err = fmt.Errorf("there is no note %s", id)
	}
	return n, err
}

func (r mutationResolver) Change(ctx context.Context, id string, changes NoteChanges) (*Note, error) {
	if title, ok := changes.Title.ValueOK(); ok && title != nil {
		if err := r.exec(ctx, "UPDATE notes SET title = $2 WHERE id = $1", id, *title); err != nil {
			return nil, err
		}
	}
	if color, ok := changes.Color.ValueOK(); ok {
		if err := r.exec(ctx, "UPDATE notes SET color = $2 WHERE id = $1", id, color); err != nil {
			return nil, err
		}
	}
	if pinned, ok := changes.Pinned.ValueOK(); ok && pinned != nil {
		if err := r.exec(ctx, "UPDATE notes SET pinned = $2 WHERE id = $1", id, *pinned); err != nil {
			return nil, err
		}
	}
	return r.changed(ctx, id)
}

func (r mutationResolver) Patch(ctx context.Context, id string, fields map[string]any) (*Note, error) {
	for _, name := range []string{"title", "color"} {
		if v, ok := fields[name]; ok {
			if err := r.exec(ctx, "UPDATE notes SET "+name+" = $2 WHERE id = $1", id, v); err != nil {
				return nil, err
			}
		}
	}
	return r.changed(ctx, id)
}

func (r mutationResolver) Set(ctx context.Context, name string, value *string) (map[string]any, error) {
	if err := r.exec(ctx, "DELETE FROM settings WHERE name = $1", name); err != nil {
		return nil, err
	}
	if err := r.exec(ctx, "INSERT INTO settings VALUES ($1, $2)", name, value); err != nil {
		return nil, err
	}
	return r.settings(ctx)
}

func (r mutationResolver) Spill(ctx context.Context, id string) (*Note, error) {
	if err := r.exec(ctx, "UPDATE notes SET title = 'spilt' WHERE id = $1", id); err != nil {
		return nil, err
	}
	return nil, errors.New("it was spilt")
}
