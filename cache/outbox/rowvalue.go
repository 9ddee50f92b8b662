package outbox

import (
	"math"
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
	Timestamp // with or without a time zone
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
		return moment(text)
	case Date:
		day, _, _ := strings.Cut(text, "T")
		_, err := time.Parse(time.DateOnly, day)
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

// moment returns a time in UTC, rounded to the microsecond as databases store it. A time without a
// zone is in UTC.
func moment(text string) (string, bool) {
	if text == "infinity" || text == "-infinity" {
		return text, true
	}
	layouts := []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z07:00:00", // PostgreSQL, for historical offsets with seconds
		"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00",
		"2006-01-02 15:04:05.999999999-07", "2006-01-02 15:04:05.999999999",
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC().Round(time.Microsecond).Format("2006-01-02T15:04:05.999999Z"), true
		}
	}
	return text, false
}
