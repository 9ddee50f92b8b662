// Package starwars is a project with an interface, a union, and connections whose models have
// private fields.
package starwars

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Episode is an enum that gqlgen finds by autobind.
type Episode string

// The episodes.
const (
	NewHope Episode = "NEWHOPE"
	Empire  Episode = "EMPIRE"
	Jedi    Episode = "JEDI"
)

// LengthUnit is an enum whose Go values are not strings.
type LengthUnit int

// The units.
const (
	Meter LengthUnit = iota
	Foot
)

// Character is a human or a droid.
type Character interface {
	IsCharacter()
	GetID() string
}

// CharacterFields are the fields of all characters.
type CharacterFields struct {
	ID        string
	Name      string
	AppearsIn []Episode
}

// Human is returned by pointer.
type Human struct {
	CharacterFields
	heightMeters float64
	Mass         *float64
}

// Height is a method that takes an argument and no context.
func (h *Human) Height(unit *LengthUnit) float64 { return inUnit(h.heightMeters, unit) }

func inUnit(meters float64, unit *LengthUnit) float64 {
	if unit != nil && *unit == Foot {
		return meters * 3.28084
	}
	return meters
}

// IsCharacter implements [Character].
func (*Human) IsCharacter() {}

// IsSearchResult implements [SearchResult].
func (*Human) IsSearchResult() {}

// GetID implements [Character].
func (c CharacterFields) GetID() string { return c.ID }

// Droid is returned by value.
type Droid struct {
	CharacterFields
	PrimaryFunction *string
}

// IsCharacter implements [Character].
func (Droid) IsCharacter() {}

// IsSearchResult implements [SearchResult].
func (Droid) IsSearchResult() {}

// Starship is a row of starships.
type Starship struct {
	ID      string
	Name    string
	History [][]int
	meters  float64
}

// IsSearchResult implements [SearchResult].
func (*Starship) IsSearchResult() {}

// FriendsConnection is a model returned by value, with a slice in a private field.
type FriendsConnection struct {
	ids      []string
	from, to int
}

// TotalCount is a method without arguments.
func (f *FriendsConnection) TotalCount() int { return len(f.ids) }

// PageInfo is another method without arguments.
func (f *FriendsConnection) PageInfo() PageInfo {
	info := PageInfo{HasNextPage: f.to < len(f.ids)}
	if f.from < f.to {
		info.StartCursor, info.EndCursor = cursor(f.from), cursor(f.to-1)
	}
	return info
}

func cursor(i int) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "cursor%d", i+1))
}

func position(cursor string) (int, error) {
	b, err := base64.StdEncoding.DecodeString(cursor)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimPrefix(string(b), "cursor"))
}

// Review is a row of reviews, by pointer.
type Review struct {
	ID         string
	Stars      int
	Commentary *string
	Time       *time.Time
}
