package top

import (
	"fmt"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"
)

var (
	bold  = lipgloss.NewStyle().Bold(true)
	faint = lipgloss.NewStyle().Faint(true)
	good  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	bad   = lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true)
	warm  = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	head  = lipgloss.NewStyle().Reverse(true)
)

// render draws the state into width columns and height lines.
func (s *state) render(width, height int) string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	status := good.Render("live")
	switch {
	case s.problem != "":
		status = bad.Render(printable(s.problem))
	case !s.connected:
		status = warm.Render("connecting")
	case s.paused:
		status = warm.Render("paused")
	}
	add("%s  %s  %s  up %v", bold.Render("fieldcache"), s.address, status, s.age())

	if s.now.When.IsZero() {
		add("%s", faint.Render("No data. Reconnecting each second."))
		add("")
	} else {
		lines = append(lines, s.facts(width, height-len(lines))...)
	}
	title := "evictions"
	if s.skipped > 0 {
		title += fmt.Sprintf(" (%s more came too fast to be listed)", count(float64(s.skipped)))
	}
	add("%s", head.Render(pad(title, width)))
	for _, e := range s.evictions[:min(len(s.evictions), max(0, height-len(lines)-1))] {
		names := strings.Join(append(append([]string{}, e.Keys...), e.Tags...), " ")
		if e.More > 0 {
			names += fmt.Sprintf(" and %d more", e.More)
		}
		if names == "" {
			names = "everything"
		}
		add("%s %-9s %s", faint.Render(e.When.Local().Format("15:04:05")), printable(e.Cause), printable(names))
	}
	for len(lines) < height-1 {
		add("")
	}
	lines = lines[:max(0, min(len(lines), height-1))]
	add("%s", faint.Render("q quit  o order  space pause"))
	for i, line := range lines {
		lines[i] = lipgloss.NewStyle().MaxWidth(width).Render(line)
	}
	return strings.Join(lines, "\n")
}

// facts returns the lines that the last two counter events fill.
func (s *state) facts(width, height int) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	requests, hits := s.rate("fieldcache_http_request_duration_seconds_count", ""), s.rate("fieldcache_answer_hits_total", "")
	memory, redis := s.rate("fieldcache_hits_total", `tier="memory"`), s.rate("fieldcache_hits_total", `tier="redis"`)
	misses := s.rate("fieldcache_misses_total", "")
	add("requests %s/s  cached %s  values: memory %s/s  Redis %s/s  database %s/s", bold.Render(count(requests)), bold.Render(share(hits, requests)),
		bold.Render(count(memory)), bold.Render(count(redis)), bold.Render(count(misses)))
	add("evictions %s/s  outbox %s  triggers %s  stale audits %s  waiting %s", bold.Render(count(s.rate("fieldcache_evictions_total", ""))),
		s.level("fieldcache_outbox_backlog", "no backlog", "%.0f rows wait"), s.level("fieldcache_tables_unnoted", "in place", "missing on %.0f tables"),
		s.level("fieldcache_audits_stale_total", "0", "%.0f"), count(s.now.sum("fieldcache_waiting", "")))
	for _, line := range s.tiers(hits, requests, memory, redis, misses) {
		add("%s", line)
	}
	add("")

	rows := s.rows()
	shown, name := columnsIn(width)
	add("%s", head.Render(pad(heading(shown, name, s.order), width)))
	room := max(3, (height-len(lines)-3)*2/3)
	for _, r := range rows[:min(len(rows), room)] {
		add("%s", cells(shown, name, r))
	}
	switch {
	case len(rows) > room:
		add("%s", faint.Render(fmt.Sprintf("and %d more", len(rows)-room)))
	case len(rows) == 0:
		add("%s", faint.Render("No requests yet."))
	}
	add("")
	return lines
}

// level shows a metric that should be 0.
func (s *state) level(metric, fine, otherwise string) string {
	v := s.now.sum(metric, "")
	if v == 0 {
		return good.Render(fine)
	}
	if !strings.Contains(otherwise, "%") {
		return bad.Render(otherwise)
	}
	return bad.Render(fmt.Sprintf(otherwise, v))
}

func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-len(s))) }

// printable returns s on one line, with U+FFFD for each control character. Keys contain what clients
// send, and a terminal would execute escape sequences in them.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return '\uFFFD'
	}, strings.Join(strings.Fields(s), " "))
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func count(n float64) string {
	for _, unit := range []struct {
		name string
		size float64
	}{{"G", 1e9}, {"M", 1e6}, {"k", 1e3}} {
		if n >= 10*unit.size {
			return fmt.Sprintf("%.0f%s", n/unit.size, unit.name)
		}
		if n >= unit.size {
			return fmt.Sprintf("%.1f%s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%.0f", n)
}

func size(n float64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	i := 0
	for ; n >= 1024 && i < len(units)-1; i++ {
		n /= 1024
	}
	return fmt.Sprintf("%.0f %s", n, units[i])
}

func share(part, of float64) string {
	if of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*part/of)
}
