package outbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fieldcache/cache"
)

// Rows names rows of the database that something is made of: those of Table whose Match columns hold
// certain values.
type Rows struct {
	// Of is what is made of them, for messages: a coordinate of a schema.
	Of    string
	Table string
	// Match are the columns that choose the rows. None: every row of the table counts.
	Match []string
	// Own says that the row is the one with a certain primary key, whose columns stand for Match.
	Own bool
	// Columns are the columns whose change makes the thing untrue. Nil: any column. A row that matches,
	// before or after a write, also counts when it comes or goes or when a column of Match changes.
	Columns []string
}

// TableInfo is what has to be known of a table before its rows can be named.
type TableInfo struct {
	PrimaryKey []string
	Columns    map[string]Kind
}

// RowTags names the tags of rows: those that a value gets which is made of them, and those that a
// change makes untrue. It is made by [NewRowTags] and safe for concurrent use.
//
// The number of tags that a change names is bounded by the columns of its table, not by how many
// things are made of it: columns that only ever count together share a tag.
type RowTags struct{ tables map[string]*tableTags }

type tableTags struct {
	name string
	info TableInfo
	sets []*matchSet
}

// matchSet is the tags that are chosen by the values of the same columns.
type matchSet struct {
	columns []string // ascending
	any     bool     // whether something depends on every column
	members bool     // whether something depends on which rows match alone
	classes []class
	rows    []Rows // as they were given
}

// class is columns that everything depends on together, or not at all.
type class struct {
	name    string
	columns []string
}

// NewRowTags compiles what rows things are made of. Every table or column that is not there, and
// every column of Match whose equality no tag can follow, is reported, all at once.
func NewRowTags(catalog func(table string) (TableInfo, bool), all ...Rows) (*RowTags, error) {
	p := &RowTags{tables: map[string]*tableTags{}}
	var faults []error
	for _, r := range all {
		for _, err := range p.add(catalog, r) {
			if r.Of != "" {
				err = fmt.Errorf("%s: %w", r.Of, err)
			}
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	for _, t := range p.tables {
		for _, s := range t.sets {
			s.classify()
		}
	}
	return p, nil
}

func (p *RowTags) add(catalog func(string) (TableInfo, bool), r Rows) (faults []error) {
	t := p.tables[r.Table]
	if t == nil {
		info, ok := catalog(r.Table)
		if !ok {
			return []error{fmt.Errorf("the database has no table %q", r.Table)}
		}
		if len(info.PrimaryKey) == 0 {
			return []error{fmt.Errorf("table %q has no primary key", r.Table)}
		}
		t = &tableTags{name: r.Table, info: info}
		p.tables[r.Table] = t
	}
	for _, c := range t.match(r) {
		switch kind, ok := t.info.Columns[c]; {
		case !ok:
			faults = append(faults, fmt.Errorf("table %q has no column %q", r.Table, c))
		case kind == Unmatched:
			faults = append(faults, fmt.Errorf("column %q of table %q cannot be matched: the equality of its type is not that of its text", c, r.Table))
		}
	}
	for _, c := range r.Columns {
		if _, ok := t.info.Columns[c]; !ok {
			faults = append(faults, fmt.Errorf("table %q has no column %q", r.Table, c))
		}
	}
	s := t.set(t.match(r))
	s.rows = append(s.rows, r)
	return faults
}

func (t *tableTags) match(r Rows) []string {
	if r.Own {
		return t.info.PrimaryKey
	}
	return r.Match
}

// set is the match set of some columns, in any order; it makes it where there is none.
func (t *tableTags) set(match []string) *matchSet {
	columns := slices.Sorted(slices.Values(match))
	for _, s := range t.sets {
		if slices.Equal(s.columns, columns) {
			return s
		}
	}
	s := &matchSet{columns: columns}
	t.sets = append(t.sets, s)
	return s
}

// classify parts the columns into the largest classes of which every list of columns is made.
func (s *matchSet) classify() {
	users := map[string]string{} // by column: which of the rows depend on it
	for i, r := range s.rows {
		if r.Columns == nil {
			s.any = true
			continue
		}
		members := true
		for _, c := range r.Columns {
			if !slices.Contains(s.columns, c) {
				users[c] += fmt.Sprintf("%d,", i)
				members = false
			}
		}
		s.members = s.members || members
	}
	byUsers := map[string]*class{}
	for _, column := range slices.Sorted(maps.Keys(users)) {
		c := byUsers[users[column]]
		if c == nil {
			c = &class{}
			byUsers[users[column]] = c
		}
		c.columns = append(c.columns, column)
	}
	for _, c := range byUsers {
		c.name = strings.Join(c.columns, "+")
		s.classes = append(s.classes, *c)
	}
	slices.SortFunc(s.classes, func(a, b class) int { return strings.Compare(a.name, b.name) })
}

// Tables are the tables whose writes are to be noted, by name.
func (p *RowTags) Tables() []Table {
	var tables []Table
	for _, name := range slices.Sorted(maps.Keys(p.tables)) {
		t := p.tables[name]
		keys, matter := map[string]bool{}, map[string]bool{}
		for _, c := range t.info.PrimaryKey {
			keys[c] = true
		}
		for _, s := range t.sets {
			for _, c := range s.columns {
				keys[c], matter[c] = true, true
			}
			for _, class := range s.classes {
				for _, c := range class.columns {
					matter[c] = true
				}
			}
			if s.any {
				for c := range t.info.Columns {
					matter[c] = true
				}
			}
		}
		tables = append(tables, Table{
			Name: name, PrimaryKey: t.info.PrimaryKey,
			Keys: slices.Sorted(maps.Keys(keys)), Matter: slices.Sorted(maps.Keys(matter)),
		})
	}
	return tables
}

// RowTag names the tags of one [Rows].
type RowTag struct {
	table string
	set   *matchSet
	at    []int // for each column of Match, its place in set.columns
	kinds []Kind
	parts []string // what is added to the tag of the matching rows; none: nothing
}

// Of compiles r, which is one of those given to [NewRowTags].
func (p *RowTags) Of(r Rows) *RowTag {
	t := p.tables[r.Table]
	g := &RowTag{table: t.name, set: t.set(t.match(r))}
	for _, c := range t.match(r) {
		g.at, g.kinds = append(g.at, slices.Index(g.set.columns, c)), append(g.kinds, t.info.Columns[c])
	}
	if r.Columns == nil {
		g.parts = []string{"*"}
	}
	for _, class := range g.set.classes {
		if slices.Contains(r.Columns, class.columns[0]) {
			g.parts = append(g.parts, class.name)
		}
	}
	return g
}

// Len returns the number of values that choose the rows.
func (g *RowTag) Len() int { return len(g.kinds) }

// Append adds the tags of what is made of the rows whose Match columns hold values, which are texts
// or [cache.Null], in the order of Match. It reports whether it could: a value that is none of its
// column's type names no row.
func (g *RowTag) Append(tags []cache.Tag, values ...string) ([]cache.Tag, bool) {
	ordered := make([]string, len(values))
	for i, v := range values {
		if v != cache.Null {
			var ok bool
			if v, ok = g.kinds[i].canonical(v); !ok {
				return tags, false
			}
		}
		ordered[g.at[i]] = v
	}
	if whole := cache.Rows(g.table); !slices.Contains(tags, whole) {
		tags = append(tags, whole)
	}
	base := g.set.base(g.table, ordered)
	if len(g.parts) == 0 {
		return append(tags, base), true
	}
	for _, part := range g.parts {
		tags = append(tags, base.Of(part))
	}
	return tags, true
}

func (s *matchSet) base(table string, values []string) cache.Tag {
	if len(s.columns) == 0 {
		return cache.AnyRow(table)
	}
	return cache.RowsWhere(table, s.columns, values)
}

// Evictions names what changes made untrue, each tag once. A table that nothing is made of makes
// nothing untrue.
func (p *RowTags) Evictions(changes ...Change) cache.Eviction {
	u := untrue{named: map[cache.Tag]bool{}}
	for _, c := range changes {
		t := p.tables[c.Table]
		switch {
		case t == nil:
		case c.Rows == nil:
			u.add(cache.Rows(c.Table))
		default:
			for _, r := range c.Rows {
				for _, s := range t.sets {
					t.changed(&u, s, r)
				}
			}
		}
	}
	return u.Eviction
}

// changed adds the tags of a match set that a row's change made untrue.
func (t *tableTags) changed(u *untrue, s *matchSet, r Row) {
	var was, is []string
	if r.Was != nil {
		was = t.values(s, r.Was)
	}
	if r.Is != nil {
		is = t.values(s, r.Is)
	}
	if r.Was != nil && r.Is != nil && slices.Equal(was, is) && !t.otherRow(r) {
		s.columnsChanged(u, s.base(t.name, is), r.Changed)
		return
	}
	if r.Was != nil {
		s.all(u, s.base(t.name, was))
	}
	if r.Is != nil {
		s.all(u, s.base(t.name, is))
	}
}

// otherRow reports whether the row before and the row after are told apart by their primary key.
func (t *tableTags) otherRow(r Row) bool {
	for _, c := range t.info.PrimaryKey {
		if r.Was[c] != r.Is[c] {
			return true
		}
	}
	return false
}

// values are those of the match columns. What is no value of its type stays as it is: nothing that
// is stored has it.
func (t *tableTags) values(s *matchSet, row Values) []string {
	values := make([]string, len(s.columns))
	for i, c := range s.columns {
		v, ok := row[c]
		if !ok {
			values[i] = cache.Null
			continue
		}
		if canonical, ok := t.info.Columns[c].canonical(v); ok {
			v = canonical
		}
		values[i] = v
	}
	return values
}

func (s *matchSet) columnsChanged(u *untrue, base cache.Tag, changed []string) {
	if len(changed) == 0 {
		return
	}
	if s.any {
		u.add(base.Of("*"))
	}
	for _, class := range s.classes {
		if slices.ContainsFunc(class.columns, func(c string) bool { return slices.Contains(changed, c) }) {
			u.add(base.Of(class.name))
		}
	}
}

// all adds every tag below base: rows came, went, or came to match.
func (s *matchSet) all(u *untrue, base cache.Tag) {
	if s.members {
		u.add(base)
	}
	if s.any {
		u.add(base.Of("*"))
	}
	for _, class := range s.classes {
		u.add(base.Of(class.name))
	}
}

// untrue is an eviction that names nothing twice.
type untrue struct {
	cache.Eviction
	named map[cache.Tag]bool
}

func (u *untrue) add(t cache.Tag) {
	if !u.named[t] {
		u.named[t] = true
		u.Tags = append(u.Tags, t)
	}
}
