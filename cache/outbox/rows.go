package outbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fieldcache/cache"
)

// Rows selects rows of the database that something is made of: those of Table whose Match columns
// hold certain values.
type Rows struct {
	// Of names what is made of them, for messages: a coordinate of a schema.
	Of    string
	Table string
	// Match are the columns that select the rows. None: every row of the table counts.
	Match []string
	// Own selects the row with a certain primary key. Its columns are used for Match.
	Own bool
	// Columns are the columns whose change evicts the value. Nil: any column. A row that matches before or after a write
	// also counts when it is inserted or deleted, or when a column of Match changes.
	Columns []string
	// Stored is the kind that stores the value, under keys and tags of its own. Nil: the value has the tags of [RowTags].
	Stored cache.Stored
}

// TableInfo describes a table as far as its rows and their tags are concerned.
type TableInfo struct {
	// PrimaryKey is the primary key, or the columns of a unique index that cannot be NULL.
	PrimaryKey []string
	Columns    map[string]Kind
	// Refers maps each column that is a foreign key, or a part of one, to the tables that it refers to.
	Refers map[string][]string
}

// RowTags returns the tags of rows: those of a value that is made of them, and those that a change
// evicts. It is made by [NewRowTags] and safe for concurrent use.
//
// The number of tags that a change evicts is bounded by the columns of its table, not by how many
// values are made of it: columns that always count together share a tag.
type RowTags struct {
	tables map[string]*tableTags
	others bool // see Observed
}

// Observed makes changes of tables without declarations evict the values that an [Observer], in
// this process or another, found to be made of them. It returns p. Call it before p is used.
func (p *RowTags) Observed() *RowTags {
	p.others = true
	return p
}

type tableTags struct {
	name  string
	info  TableInfo
	sets  []*matchSet
	key   []string    // the columns of the primary key by which rows are matched
	whole []cache.Tag // what is untrue when nobody can say which rows changed
}

// matchSet is the tags that are chosen by the values of the same columns.
type matchSet struct {
	columns []string // ascending
	any     bool     // whether something depends on every column
	members bool     // whether something depends on which rows match alone
	classes []class
	tagged  []Rows // as they were given: those that tags of rows are made for
	stored  []Rows // and those that are stored under names of their own
}

// class is columns that everything depends on together, or not at all.
type class struct {
	name    string
	columns []string
}

// NewRowTags compiles the rows that values are made of. It returns one error for all missing tables
// and columns and for all columns of Match whose equality no tag can represent.
func NewRowTags(catalog func(table string) (TableInfo, bool), all ...Rows) (*RowTags, error) {
	p, faults := compileRows(catalog, all)
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return p, nil
}

// NotedTables returns the tables whose writes have to be recorded for these rows, by name, even if
// a table or a column does not exist. Of a missing table only the name is set.
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

// findWhole finds what is untrue when nobody can say which rows changed. What has the tags of several types, as a search of
// all of them has, is evicted by that of the type whose rows the table has.
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
			return []error{fmt.Errorf("table %q has no primary key, and no unique index of columns that are NOT NULL", r.Table)}
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

// Tables returns the tables whose writes have to be recorded, by name.
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

// RowTag returns the tags of one [Rows].
type RowTag struct {
	table string
	set   *matchSet
	at    []int // for each column of Match, its place in set.columns
	kinds []Kind
	parts []string // what is added to the tag of the matching rows; none: nothing
}

// Of compiles r, which must be one of those given to [NewRowTags].
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

// Len returns the number of values that select the rows.
func (g *RowTag) Len() int { return len(g.kinds) }

// Append appends the tags of what is made of the rows whose Match columns hold values, which are
// texts or [cache.Null], in the order of Match. It reports false for a value that is not of the
// type of its column, and so names no row.
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

// Evictions returns what changes evict, each tag once. Changes of a table that nothing is made of
// evict nothing.
func (p *RowTags) Evictions(changes ...Change) cache.Eviction {
	var u untrue
	for _, c := range changes {
		t := p.tables[c.Table]
		switch {
		case t == nil && p.others:
			u.add(anyTags(c.Table)...)
		case t == nil:
		case c.Rows == nil || slices.ContainsFunc(c.Rows, t.isNobody):
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

// isNobody reports whether a row does not say which it is: our triggers always note its key.
func (t *tableTags) isNobody(r Row) bool {
	without := func(v Values) bool {
		return v != nil && slices.ContainsFunc(t.key, func(c string) bool { return v[c] == "" })
	}
	return r.Was == nil && r.Is == nil || without(r.Was) || without(r.Is)
}

// changed adds what a row's change made untrue of what a match set chooses.
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

// all adds all that is made of rows with these values: some came, went, or came to match.
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

// matched are the values by column.
func (s *matchSet) matched(values []string) cache.Columns {
	columns := make(cache.Columns, len(values))
	for i, c := range s.columns {
		columns[c] = values[i]
	}
	return columns
}

// untrue is an eviction that names nothing twice.
type untrue struct {
	cache.Eviction
	// All that is named, once it is so much that a search through it would take longer than a map.
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

// addOnce appends name to names if it is not among them. named is a map of names if there are many.
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
