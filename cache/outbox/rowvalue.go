package outbox

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind is how values of a column are compared: equal values have the same canonical text.
type Kind uint8

// The kinds of columns.
const (
	// Unmatched is a column whose equality is not that of a canonical text: jsonb, an array, a text
	// that ignores case. It may be among Columns but not in Match.
	Unmatched Kind = iota
	Text
	Integer
	Numeric
	Float
	Float32
	Boolean
	UUID
	Timestamp   // without a time zone
	TimestampTZ // with one
	Date
)

// canonical returns the canonical text of a value, which is the same for all equal values. It
// reports whether text is a value of the kind.
func (k Kind) canonical(text string) (string, bool) {
	switch k {
	case Text:
		return text, true
	case Integer:
		n, err := strconv.ParseInt(text, 10, 64)
		return strconv.FormatInt(n, 10), err == nil
	case Numeric:
		return decimal(text)
	case Float:
		return float(text, 64)
	case Float32:
		return float(text, 32)
	case Boolean:
		b, err := strconv.ParseBool(text)
		return strconv.FormatBool(b), err == nil
	case UUID:
		return uuid(text)
	case Timestamp:
		// Whether a time elsewhere is meant as what its clock shows or in UTC depends on the driver.
		canonical, offset, ok := moment(text)
		return canonical, ok && (offset == "" || offset == utc)
	case TimestampTZ:
		// A time without a zone is in that of the session that compares it.
		canonical, offset, ok := moment(text)
		return canonical, ok && offset != ""
	case Date:
		day, clock, _ := strings.Cut(text, "T")
		_, err := time.Parse(time.DateOnly, day)
		if clock != "" {
			_, offset, ok := moment(text)
			return day, err == nil && ok && (offset == "" || offset == utc)
		}
		return day, err == nil
	}
	return text, false
}

func float(text string, bits int) (string, bool) {
	f, err := strconv.ParseFloat(text, bits)
	if err != nil {
		return text, false
	}
	if f == 0 {
		f = 0 // -0 equals 0
	}
	if math.IsNaN(f) {
		return "NaN", true // equal to itself in PostgreSQL
	}
	return strconv.FormatFloat(f, 'g', -1, bits), true
}

// decimal returns a number without insignificant zeros. It refuses exponents.
func decimal(text string) (string, bool) {
	digits, negative := strings.CutPrefix(text, "-")
	if !negative {
		digits = strings.TrimPrefix(digits, "+")
	}
	whole, fraction, dot := strings.Cut(digits, ".")
	if whole == "" && fraction == "" || !number(whole) || !number(fraction) || dot && fraction == "" && whole == "" {
		if text == "NaN" {
			return text, true
		}
		return text, false
	}
	whole, fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	if whole == "" {
		whole = "0"
	}
	if fraction != "" {
		whole += "." + fraction
	}
	if negative && whole != "0" {
		whole = "-" + whole
	}
	return whole, true
}

func number(digits string) bool {
	return strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// uuid returns the lower-case form with hyphens of any text that PostgreSQL accepts as a uuid.
func uuid(text string) (string, bool) {
	inner := text
	if strings.HasPrefix(inner, "{") && strings.HasSuffix(inner, "}") {
		inner = inner[1 : len(inner)-1]
	}
	hex := make([]byte, 0, 32)
	for i := range len(inner) {
		c := inner[i]
		switch {
		case c == '-' && len(hex) > 0 && len(hex)%4 == 0 && len(hex) < 32 && inner[i-1] != '-':
			continue
		case 'A' <= c && c <= 'F':
			c += 'a' - 'A'
		case ('0' > c || c > '9') && ('a' > c || c > 'f'):
			return text, false
		}
		if hex = append(hex, c); len(hex) > 32 {
			return text, false
		}
	}
	if len(hex) != 32 || strings.HasSuffix(inner, "-") {
		return text, false
	}
	s := string(hex)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:], true
}

const utc = "+00:00:00"

// moment returns a time in UTC, and its offset from UTC: "" if it has none, and is taken for UTC. It
// refuses fractions of a microsecond, which some drivers round and others cut off.
func moment(text string) (canonical, offset string, ok bool) {
	if text == "infinity" || text == "-infinity" {
		return text, utc, true
	}
	zoned := []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z07:00:00", // PostgreSQL, for historical offsets with seconds
		"2006-01-02 15:04:05.999999999Z07:00:00", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999-07",
	}
	for _, layout := range append(zoned, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999") {
		t, err := time.Parse(layout, text)
		if err != nil {
			continue
		}
		if slices.Contains(zoned, layout) {
			offset = t.Format("-07:00:00")
		}
		return t.UTC().Format("2006-01-02T15:04:05.999999Z"), offset, t.Nanosecond()%1000 == 0
	}
	return text, "", false
}
