package gqlcache

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
	"fieldcache/cache/policy"
)

// planStored adds the rows that values of kinds depend on.
func (p *FieldPlan) planStored(kinds []cache.Stored) (faults []error) {
	for _, k := range kinds {
		if _, err := p.policies.Of(k.Coordinate()); err != nil {
			faults = append(faults, err)
			continue
		}
		p.stored[k.Coordinate()] = true
		rows := p.truths.Type(k.RowsCoordinate()).Rows
		if strings.Contains(k.RowsCoordinate(), ".") {
			rows = p.truths.Field(k.RowsCoordinate()).Rows
		}
		if len(rows) == 0 {
			faults = append(faults, fmt.Errorf("%s: a kind stores it, and the schema does not say which rows it depends on: add @cacheRows", k.RowsCoordinate()))
		}
		p.storedOf[k.Coordinate()] = append(p.storedOf[k.Coordinate()], rows...)
		for _, r := range rows {
			choices, err := everyChoice(k.RowsCoordinate(), r)
			if err != nil {
				faults = append(faults, err)
				continue
			}
			for i, chosen := range choices {
				chosen.Own = i == 0 && r.Match == nil && !strings.Contains(k.RowsCoordinate(), ".")
				chosen.Stored = k
				p.rows = append(p.rows, chosen)
			}
		}
	}
	return faults
}

// isStored reports whether kinds store the values of a field, or all objects in them if the field
// declares nothing of its own.
func (p *FieldPlan) isStored(coordinate string, f *ast.FieldDefinition, own policy.Truth) bool {
	if p.stored[coordinate] {
		return true
	}
	named := p.schema.Types[f.Type.Name()]
	if len(own.Rows)+len(own.Tags) > 0 || !policy.Composite(named) {
		return false
	}
	for _, t := range p.schema.GetPossibleTypes(named) {
		if !p.stored[t.Name] {
			return false
		}
	}
	return true
}

// maxOptional limits the arguments of a kind that may be null and select rows. Any of them may be null in one thing and
// not in another, and a change of a row evicts the things of every combination.
const maxOptional = 4

// everyChoice returns the rows that a directive of a kind selects, once for each subset of its arguments that may be
// null: a null argument is not a condition. The first result has all conditions.
func everyChoice(coordinate string, r policy.Rows) ([]outbox.Rows, error) {
	optional := 0
	for _, t := range r.Match {
		if t.Optional {
			optional++
		}
	}
	if optional > maxOptional {
		return nil, fmt.Errorf("%s: %d arguments that may be null select rows of %q, and a kind stores it: at most %d may", coordinate, optional, r.Table, maxOptional)
	}
	choices := []outbox.Rows{{Of: coordinate, Table: r.Table, Columns: r.Columns}}
	for _, t := range r.Match {
		without := slices.Clone(choices)
		for i, c := range choices {
			choices[i].Match = append(slices.Clip(c.Match), t.Column)
		}
		if t.Optional {
			choices = append(choices, without...)
		}
	}
	return choices, nil
}

// chosenRows returns the rows that a directive selects, and the rows that it selects without the
// conditions of arguments that may be null. If several arguments may be null, the latter are more
// rows than necessary.
func chosenRows(coordinate string, r policy.Rows) (all outbox.Rows, fewer *outbox.Rows) {
	all = outbox.Rows{Of: coordinate, Table: r.Table, Columns: r.Columns}
	left := all
	for _, t := range r.Match {
		all.Match = append(all.Match, t.Column)
		if !t.Optional {
			left.Match = append(left.Match, t.Column)
		}
	}
	if len(left.Match) < len(all.Match) {
		fewer = &left
	}
	return all, fewer
}
