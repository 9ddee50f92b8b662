package outbox

import (
	"context"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"fieldcache/cache"
)

// strictly decodes JSON that any role with write access to the outbox may have written. Names are
// case-sensitive. An unknown or repeated name and invalid Unicode are errors, since guessing might
// evict the wrong values.
func strictly(text []byte, into any) error {
	return json.Unmarshal(text, into, json.RejectUnknownMembers(true))
}

// readRows reads what one record says of the touched rows. It returns nil, false if it cannot be
// decoded.
func readRows(text []byte) (rows []Row, ok bool) {
	if strictly(text, &rows) != nil || rows == nil {
		return nil, false
	}
	for _, r := range rows {
		if r.Was == nil && r.Is == nil {
			return nil, false
		}
	}
	return rows, true
}

// readList splits a list of facts without decoding them: one that cannot be decoded does not affect
// the others.
func readList(facts string) (list []jsontext.Value, ok bool) {
	err := json.Unmarshal([]byte(facts), &list, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return list, err == nil && list != nil
}

// readEviction reads an eviction by hand. One without names is not valid.
func readEviction(text []byte) (ev cache.Eviction, ok bool) {
	if strictly(text, &ev) != nil || ev.Empty() {
		return cache.Eviction{}, false
	}
	return ev, true
}

// change returns the change of the rows that touched one table; facts is a list of theirs, nil if
// it is too long. unreadable is how many of them cannot be decoded: then any row of the table may
// have been touched.
func change(table string, op Op, facts *string) (c Change, unreadable int) {
	c = Change{Table: table, Op: op}
	if facts == nil {
		return c, 0
	}
	list, ok := readList(*facts)
	if !ok {
		return c, 1
	}
	all := []Row{}
	for _, text := range list {
		rows, ok := readRows(text)
		if !ok {
			unreadable++
		}
		all = append(all, rows...)
	}
	if unreadable == 0 {
		c.Rows = all
	}
	return c, unreadable
}

// byHand returns what evictions by hand name together, and how many of them cannot be decoded;
// facts is nil if it is too long.
func byHand(facts *string) (ev cache.Eviction, unreadable int) {
	if facts == nil {
		return ev, 0
	}
	list, ok := readList(*facts)
	if !ok {
		return ev, 1
	}
	for _, text := range list {
		one, ok := readEviction(text)
		if !ok {
			unreadable++
		}
		ev.Add(one)
	}
	return ev, unreadable
}

// everyTable returns a change of any row of every recorded table.
func (o *Outbox) everyTable(ctx context.Context, in Querier) (changes []Change, err error) {
	names, err := column[string](ctx, in, o.at.sql("SELECT tbl FROM ?tables ORDER BY tbl"))
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, stored := range names {
		name := stored[:max(0, strings.LastIndexByte(stored, ' '))] // a hash of the declaration follows
		if seen[name] {
			continue
		}
		seen[name] = true
		changes = append(changes, Change{Table: name, Op: Truncate})
	}
	return changes, nil
}
