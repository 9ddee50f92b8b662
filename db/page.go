package db

import (
	"context"
	"slices"
	"strings"

	"github.com/uptrace/bun"

	"fieldcache/cache"
)

// Window selects a part of a list in ascending id order: the first rows whose id is greater than After.
type Window struct {
	First int   // the maximum number of rows, at least 1
	After int64 // 0 to start at the beginning
}

// Page is a part of a list: ids in ascending order, not rows.
type Page struct {
	IDs  []int64 `json:"ids"`
	More bool    `json:"more"` // whether the list continues
}

// OwnedWindow is a window on the list of an owner, such as the reviews of a product.
type OwnedWindow struct {
	Owner int64
	Window
}

// maxParts limits the parts of one compound statement, of which SQLite allows 500.
const maxParts = 250

// page returns the page of ids, which may contain one id more than the window asks for.
func (w Window) page(ids []int64) *Page {
	p := &Page{IDs: ids}
	if len(ids) > w.First {
		p.IDs, p.More = ids[:w.First:w.First], true
	}
	return p
}

// pageOf reads a window of a whole table, or of the part that narrow selects, with arguments among
// args.
func (d *DB) pageOf(ctx context.Context, args *arguments, model any, w Window, narrow func(*bun.SelectQuery) *bun.SelectQuery) (*Page, cache.Snapshot, error) {
	q := d.bun.NewSelect().Model(model).Column("id").Where("id > ?", args.add(w.After)).
		Apply(narrow).Order("id").Limit(int64(w.First) + 1)
	rows, seen, err := read[struct{ ID int64 }](ctx, args, "id", q)
	ids := make([]int64, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	return w.page(ids), seen, err
}

// ownedPages reads windows of the lists that an owner column makes of a table: each is one lookup
// in the index on (column, id), and one statement has up to maxParts of them.
func (d *DB) ownedPages(ctx context.Context, table, column string, windows []OwnedWindow) (map[OwnedWindow]*Page, cache.Snapshot, error) {
	type member struct {
		Part int
		ID   int64
	}
	var first cache.Snapshot // what all of the statements saw
	pages := make(map[OwnedWindow]*Page, len(windows))
	for part := range slices.Chunk(windows, maxParts) {
		args := d.arguments()
		rows, seen, err := read[member](ctx, args, "part, id", args.ownedRows(table, column, part))
		if err != nil {
			return nil, cache.Snapshot{}, err
		}
		if first.IsZero() {
			first = seen
		}
		first = first.Then(seen)
		ids := make([][]int64, len(part))
		for _, r := range rows {
			ids[r.Part] = append(ids[r.Part], r.ID)
		}
		for i, w := range part {
			if ids[i] == nil {
				ids[i] = []int64{}
			}
			pages[w] = w.page(ids[i])
		}
	}
	return pages, first, nil
}

// ownedRows is PostgreSQL's statement, for windows that are rows of a table.
const ownedRows = "SELECT part, id FROM ? AS w (part, owner, behind, most) " +
	"CROSS JOIN LATERAL (SELECT id FROM ? WHERE ? = owner AND id > behind ORDER BY id LIMIT most) AS r"

// ownedRows returns the statement of ownedPages. Its rows are the index of a window and an id, up to
// one id more than the window asks for.
func (a *arguments) ownedRows(table, column string, windows []OwnedWindow) *bun.RawQuery {
	d := a.db
	if d.prepares {
		n := len(windows)
		parts, owners, behind, most := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		for i, w := range windows {
			parts[i], owners[i], behind[i], most[i] = int64(i), w.Owner, w.After, int64(w.First)+1
		}
		return d.bun.NewRaw(ownedRows, bun.SafeQuery("unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[])",
			a.add(parts), a.add(owners), a.add(behind), a.add(most)), bun.Ident(table), bun.Ident(column))
	}
	if d.Postgres() {
		// One plan for all windows: planning each of them takes longer than reading them all.
		rows := make([]bun.TupleValues, len(windows))
		for i, w := range windows {
			rows[i] = bun.Tuple([]int64{int64(i), w.Owner, w.After, int64(w.First) + 1})
		}
		return d.bun.NewRaw(ownedRows, bun.SafeQuery("(VALUES ?)", bun.List(rows)), bun.Ident(table), bun.Ident(column))
	}
	var text strings.Builder
	var args []any
	for i, w := range windows {
		if i > 0 {
			text.WriteString(" UNION ALL ")
		}
		text.WriteString("SELECT * FROM (SELECT ? AS part, id FROM ? WHERE ? = ? AND id > ? ORDER BY id LIMIT ?) AS w")
		args = append(args, i, bun.Ident(table), bun.Ident(column), w.Owner, w.After, w.First+1)
	}
	return d.bun.NewRaw(text.String(), args...)
}

// ownedCounts counts the rows of each owner, 0 for those who have none.
func (d *DB) ownedCounts(ctx context.Context, table, column string, owners []int64) (map[int64]int, cache.Snapshot, error) {
	type sum struct {
		Owner int64
		N     int
	}
	args := d.arguments()
	condition, values := isIn(args, column, owners)
	q := d.bun.NewSelect().Table(table).ColumnExpr("? AS owner", bun.Ident(column)).ColumnExpr("count(*) AS n").
		Where(condition, values...).GroupExpr("?", bun.Ident(column))
	rows, seen, err := read[sum](ctx, args, "", q)
	counts := make(map[int64]int, len(owners))
	for _, o := range owners {
		counts[o] = 0
	}
	for _, r := range rows {
		counts[r.Owner] = r.N
	}
	return counts, seen, err
}
