package outbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fieldcache/cache"
)

// Rows selects the database rows that a value depends on: the rows of Table whose Match columns have
// certain values.
type Rows struct {
	// Of is the schema coordinate of the value, for messages.
	Of    string
	Table string
	// Match are the columns that select the rows. If empty, the value depends on every row.
	Match []string
	// Own selects the row with a certain primary key, in place of Match.
	Own bool
	// Columns are the columns whose change evicts the value, or nil for any column. The value is
	// also evicted when a matching row is inserted or deleted, and when a column of Match changes in
	// a row that matches before or after.
	Columns []string
	// Stored is the kind that stores the value under keys and tags of its own. If nil, the value has
	// the tags of [RowTags].
	Stored cache.Stored
}

// TableInfo describes the keys and columns of a table.
type TableInfo struct {
	// PrimaryKey is the primary key, or else the columns of a unique index that are NOT NULL.
	PrimaryKey []string
	Columns    map[string]Kind
	// Labels are those of the columns whose type is an enum.
	Labels map[string][]string
	// Refers maps each column of a foreign key to the tables that it references.
	Refers map[string][]string
}

// RowTags computes the tags of values that depend on rows, and the tags that a change evicts. Create
// it with [NewRowTags]. It is safe for concurrent use.
//
// The number of tags that a change evicts is bounded by the number of columns of its table, not by
// the number of declarations: columns that are always declared together share a tag.
type RowTags struct {
	tables map[string]*tableTags
	others bool // see Observed
}

// Observed makes changes of tables without declarations evict the values that depend on them
// according to an [Observer], in this process or another. It returns p. Call it before p is used.
func (p *RowTags) Observed() *RowTags {
	p.others = true
	return p
}

type tableTags struct {
	name  string
	info  TableInfo
	sets  []*matchSet
	key   []string    // the columns of the primary key by which rows are matched
	whole []cache.Tag // the tags to evict if it is unknown which rows changed
}

// matchSet holds the declarations that match rows by the same columns.
type matchSet struct {
	columns []string // ascending
	any     bool     // whether a declaration counts every column
	members bool     // whether a declaration counts no other column than those of the match
	classes []class
	tagged  []Rows // the declarations whose values have tags of rows
	stored  []Rows // the declarations whose values are stored under keys of their own
}

// class is a set of columns each of which is in the same declarations.
type class struct {
	name    string
	columns []string
}

// NewRowTags compiles declarations. catalog describes a table, or reports false if there is none.
// NewRowTags returns one error for all missing tables and columns, and for all columns of Match
// whose equality a tag cannot represent.
func NewRowTags(catalog func(table string) (TableInfo, bool), all ...Rows) (*RowTags, error) {
	p, faults := compileRows(catalog, all)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return p, nil
}

// NotedTables returns the tables whose writes must be recorded for these declarations, sorted by
// name. It includes missing tables, of which only the name is set, and ignores missing columns.
func NotedTables(catalog func(table string) (TableInfo, bool), all ...Rows) []Table {
	p, _ := compileRows(catalog, all)
	tables := p.Tables()
	for _, r := range all {
		if p.tables[r.Table] == nil && !slices.ContainsFunc(tables, func(t Table) bool { return t.Name == r.Table }) {
			tables = append(tables, Table{Name: r.Table})
		}
	}
	slices.SortFunc(tables, func(a, b Table) int { return strings.Compare(a.Name, b.Name) })
	return tables
}

func compileRows(catalog func(table string) (TableInfo, bool), all []Rows) (p *RowTags, faults []error) {
	p = &RowTags{tables: map[string]*tableTags{}}
	for _, r := range all {
		for _, err := range p.add(catalog, r) {
			if r.Of != "" {
				err = fmt.Errorf("%s: %w", r.Of, err)
			}
			faults = append(faults, err)
		}
	}
	for _, t := range p.tables {
		t.findWhole()
		for _, s := range t.sets {
			s.classify()
			for _, c := range s.columns {
				if slices.Contains(t.info.PrimaryKey, c) && !slices.Contains(t.key, c) {
					t.key = append(t.key, c)
				}
			}
		}
	}
	return p, faults
}

// findWhole sets t.whole. A value with the tags of several types, such as a search, is evicted by the
// tag of the type that the table stores.
func (t *tableTags) findWhole() {
	var types []cache.Tag
	for _, s := range t.sets {
		for _, r := range s.stored {
			if !strings.Contains(r.Of, ".") {
				types = append(types, cache.Type(r.Of))
			}
		}
	}
	add := func(tags ...cache.Tag) {
		for _, tag := range tags {
			if !slices.Contains(t.whole, tag) {
				t.whole = append(t.whole, tag)
			}
		}
	}
	for _, s := range t.sets {
		if len(s.tagged) > 0 {
			add(cache.Rows(t.name))
		}
		for _, r := range s.stored {
			tags := r.Stored.Whole()
			i := slices.IndexFunc(tags, func(tag cache.Tag) bool { return slices.Contains(types, tag) })
			if i < 0 {
				add(tags...)
			} else {
				add(tags[i])
			}
		}
	}
}

func (p *RowTags) add(catalog func(string) (TableInfo, bool), r Rows) (faults []error) {
	t := p.tables[r.Table]
	if t == nil {
		info, ok := catalog(r.Table)
		if !ok {
			return []error{fmt.Errorf("the database has no table %q", r.Table)}
		}
		if len(info.PrimaryKey) == 0 {
			return []error{fmt.Errorf("table %q has no primary key and no unique index of columns that are NOT NULL", r.Table)}
		}
		t = &tableTags{name: r.Table, info: info}
		p.tables[r.Table] = t
	}
	for _, c := range t.match(r) {
		switch kind, ok := t.info.Columns[c]; {
		case !ok:
			faults = append(faults, fmt.Errorf("table %q has no column %q", r.Table, c))
		case kind == Unmatched:
			faults = append(faults, fmt.Errorf("column %q of table %q cannot be matched: values of its type can be equal without having the same text", c, r.Table))
		}
	}
	for _, c := range r.Columns {
		if _, ok := t.info.Columns[c]; !ok {
			faults = append(faults, fmt.Errorf("table %q has no column %q", r.Table, c))
		}
	}
	s := t.set(t.match(r))
	if r.Stored == nil {
		s.tagged = append(s.tagged, r)
		return faults
	}
	s.stored = append(s.stored, r)
	if err := r.Stored.Matches(s.columns); err != nil {
		faults = append(faults, err)
	}
	return faults
}

func (t *tableTags) match(r Rows) []string {
	if r.Own {
		return t.info.PrimaryKey
	}
	return r.Match
}

// set returns the match set of the columns, in any order, and creates it if necessary.
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

// classify divides the columns into the largest classes such that every declaration contains all of
// a class or nothing of it.
func (s *matchSet) classify() {
	users := map[string]string{} // the declarations of each column
	for i, r := range s.tagged {
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

// Tables returns the tables whose writes must be recorded, sorted by name.
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
			for _, r := range slices.Concat(s.tagged, s.stored) {
				columns := r.Columns
				if columns == nil {
					columns = slices.Collect(maps.Keys(t.info.Columns))
				}
				for _, c := range columns {
					matter[c] = true
				}
			}
		}
		var refers []string
		for column, to := range t.info.Refers {
			if !keys[column] && slices.ContainsFunc(to, func(t string) bool { return p.tables[t] != nil }) {
				refers = append(refers, column)
			}
		}
		slices.Sort(refers)
		tables = append(tables, Table{
			Name: name, PrimaryKey: t.info.PrimaryKey, Refers: refers,
			Keys: slices.Sorted(maps.Keys(keys)), Matter: slices.Sorted(maps.Keys(matter)),
		})
	}
	return tables
}

// RowTag computes the tags of the values of one [Rows].
type RowTag struct {
	table string
	set   *matchSet
	at    []int // the index in set.columns of each column of Match
	kinds []Kind
	among [][]string // the labels of each enum column of Match
	parts []string   // suffixes of the tag of the matching rows; if empty, the tag has none
}

// Of compiles r, which must be one of those given to [NewRowTags].
func (p *RowTags) Of(r Rows) *RowTag {
	t := p.tables[r.Table]
	g := &RowTag{table: t.name, set: t.set(t.match(r))}
	for _, c := range t.match(r) {
		g.at, g.kinds = append(g.at, slices.Index(g.set.columns, c)), append(g.kinds, t.info.Columns[c])
		g.among = append(g.among, t.info.Labels[c])
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

// Len returns the number of values that select the rows.
func (g *RowTag) Len() int { return len(g.kinds) }

// Append appends the tags of a value that depends on the rows whose Match columns have the given
// values, texts or [cache.Null], in the order of Match. It reports false, and appends nothing, if a
// value is not of the type of its column, or not a label of its enum: no row can match, unless a
// resolver compares the column with something else.
func (g *RowTag) Append(tags []cache.Tag, values ...string) ([]cache.Tag, bool) {
	ordered := make([]string, len(values))
	for i, v := range values {
		if v != cache.Null {
			var ok bool
			if v, ok = g.kinds[i].canonical(v); !ok || g.among[i] != nil && !slices.Contains(g.among[i], v) {
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

// Evictions returns the tags and keys that changes evict, each once. A change of a table without
// declarations evicts nothing, unless [RowTags.Observed] was called.
func (p *RowTags) Evictions(changes ...Change) cache.Eviction {
	var u untrue
	for _, c := range changes {
		t := p.tables[c.Table]
		switch {
		case t == nil && p.others:
			u.add(anyTags(c.Table)...)
		case t == nil:
		case c.Rows == nil || slices.ContainsFunc(c.Rows, t.lacksKey):
			u.add(t.whole...)
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

// lacksKey reports whether a row lacks its key. Our triggers always record it.
func (t *tableTags) lacksKey(r Row) bool {
	without := func(v Values) bool {
		return v != nil && slices.ContainsFunc(t.key, func(c string) bool { return v[c] == "" })
	}
	return r.Was == nil && r.Is == nil || without(r.Was) || without(r.Is)
}

// changed adds what a change of a row evicts, for the declarations of one match set.
func (t *tableTags) changed(u *untrue, s *matchSet, r Row) {
	var was, is []string
	if r.Was != nil {
		was = t.values(s, r.Was)
	}
	if r.Is != nil {
		if is = was; r.Was == nil || !s.sameText(r) {
			is = t.values(s, r.Is)
		}
	}
	if r.Was != nil && r.Is != nil && slices.Equal(was, is) && !t.otherRow(r) {
		s.columnsChanged(u, t.name, is, r.Changed)
		return
	}
	if r.Was != nil {
		s.all(u, t.name, was)
	}
	if r.Is != nil {
		s.all(u, t.name, is)
	}
}

// sameText reports whether the match columns have the same texts before and after.
func (s *matchSet) sameText(r Row) bool {
	for _, c := range s.columns {
		was, had := r.Was[c]
		if is, has := r.Is[c]; was != is || had != has {
			return false
		}
	}
	return true
}

// otherRow reports whether the primary key changed.
func (t *tableTags) otherRow(r Row) bool {
	for _, c := range t.info.PrimaryKey {
		if r.Was[c] != r.Is[c] {
			return true
		}
	}
	return false
}

// values returns the canonical values of the match columns. A text that is not a value of its type
// is unchanged: no stored value has it.
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

func (s *matchSet) columnsChanged(u *untrue, table string, values, changed []string) {
	if len(changed) == 0 {
		return
	}
	counts := func(columns []string) bool {
		return slices.ContainsFunc(columns, func(c string) bool { return slices.Contains(changed, c) })
	}
	for _, r := range s.stored {
		if r.Columns == nil || counts(r.Columns) {
			u.untrue(r.Stored.Untrue(table, s.matched(values)))
		}
	}
	if len(s.tagged) == 0 {
		return
	}
	base := s.base(table, values)
	if s.any {
		u.add(base.Of("*"))
	}
	for _, class := range s.classes {
		if counts(class.columns) {
			u.add(base.Of(class.name))
		}
	}
}

// all adds every value that matches: a row with these values was inserted, deleted, or changed so
// that it matches or no longer does.
func (s *matchSet) all(u *untrue, table string, values []string) {
	for _, r := range s.stored {
		u.untrue(r.Stored.Untrue(table, s.matched(values)))
	}
	if len(s.tagged) == 0 {
		return
	}
	base := s.base(table, values)
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

// matched returns the values by column.
func (s *matchSet) matched(values []string) cache.Columns {
	columns := make(cache.Columns, len(values))
	for i, c := range s.columns {
		columns[c] = values[i]
	}
	return columns
}

// untrue is an eviction without duplicates.
type untrue struct {
	cache.Eviction
	// Sets of the names, once there are so many that a linear search would be slower.
	tags map[cache.Tag]bool
	keys map[cache.Key]bool
}

func (u *untrue) add(tags ...cache.Tag) {
	for _, t := range tags {
		u.Tags = addOnce(u.Tags, &u.tags, t)
	}
}

func (u *untrue) untrue(ev cache.Eviction) {
	u.add(ev.Tags...)
	for _, k := range ev.Keys {
		u.Keys = addOnce(u.Keys, &u.keys, k)
	}
}

// addOnce appends name to names if it is not among them. named is the set of names if there are many.
func addOnce[N ~string](names []N, named *map[N]bool, name N) []N {
	const many = 16
	switch {
	case *named != nil:
		if (*named)[name] {
			return names
		}
		(*named)[name] = true
	case slices.Contains(names, name):
		return names
	case len(names) >= many:
		*named = make(map[N]bool, 2*many)
		for _, n := range names {
			(*named)[n] = true
		}
		(*named)[name] = true
	}
	return append(names, name)
}
