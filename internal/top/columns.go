package top

import (
	"fmt"
	"strings"
	"time"
)

// column is a column of the table of coordinates.
type column struct {
	name  string
	width int
	text  func(r row) string
}

// columns are the columns after the coordinate, the most useful first: a narrow terminal has no room
// for the last ones.
var columns = []column{
	{"truth", 8, func(r row) string { return truth(r.Truth) }},
	{"age", 6, func(r row) string { return age(r.MaxAge) }},
	{"asked/s", 7, func(r row) string { return count(r.rate) }},
	{"hits", 7, func(r row) string { return share(float64(r.Memory+r.Redis+r.Collapsed), float64(r.requests())) }},
	{"loads", 7, func(r row) string { return count(float64(r.loads())) }},
	{"stale", 6, func(r row) string { return count(float64(r.Stale)) }},
	{"scope", 8, func(r row) string { return r.Scope }},
	{"memory", 7, func(r row) string { return count(float64(r.Memory)) }},
	{"Redis", 7, func(r row) string { return count(float64(r.Redis)) }},
	{"failed", 7, func(r row) string { return count(float64(r.Failed)) }},
}

// The width of the first column, which is narrower on a narrow terminal to leave room for others.
const nameWidth, leastNameWidth = 32, 16

// columnsIn returns the columns that fit into width, and the width of the first column.
func columnsIn(width int) (shown []column, name int) {
	name = min(nameWidth, max(leastNameWidth, width-24))
	for i, c := range columns {
		if width -= 1 + c.width; width < name {
			return columns[:i], name
		}
	}
	return columns, name
}

func heading(shown []column, name int, by order) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s", name, cut("coordinate (by "+by.String()+")", name))
	for _, c := range shown {
		fmt.Fprintf(&b, " %*s", c.width, c.name)
	}
	return b.String()
}

func cells(shown []column, name int, r row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-*s", name, cut(printable(r.Coordinate.Coordinate), name))
	for _, c := range shown {
		text := fmt.Sprintf(" %*s", c.width, c.text(r))
		if c.name == "truth" && r.Truth == "ttl" {
			text = warm.Render(text)
		}
		b.WriteString(text)
	}
	return b.String()
}

// truth returns the text of the truth column.
func truth(of string) string {
	if of == "ttl" {
		return "ttl only"
	}
	return of
}

func age(seconds *float64) string {
	if seconds == nil {
		return ""
	}
	text := (time.Duration(*seconds) * time.Second).String() // 1h0m0s, 10m0s, 30s
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}
