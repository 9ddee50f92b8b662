package document

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/gqlerror"
)

// checkText refuses what gqlparser accepts and should not: names of unlimited length, for which a
// suggestion costs much, and strings with half a surrogate pair, which it replaces by U+FFFD. The
// parser reports all other faults.
func checkText(text string) *gqlerror.Error {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '#':
			n := strings.IndexAny(text[i:], "\r\n")
			if n < 0 {
				return nil
			}
			i += n
		case strings.HasPrefix(text[i:], `"""`):
			i = skipBlockString(text, i+3)
		case c == '"':
			end, ok := skipString(text, i+1)
			if !ok {
				return faultAt(text, i, `a string has half a surrogate pair: write a character beyond U+FFFF as it is, or as \u{1F600}`)
			}
			i = end
		case isNameByte(c):
			start := i
			for i < len(text) && isNameByte(text[i]) {
				i++
			}
			if i-start > maxNameBytes {
				return faultAt(text, start, "a name or a number is longer than "+strconv.Itoa(maxNameBytes)+" bytes")
			}
		default:
			i++
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// skipBlockString returns the index after a block string, in which \""" is not an end.
func skipBlockString(text string, i int) int {
	for {
		n := strings.Index(text[i:], `"""`)
		if n < 0 {
			return len(text)
		}
		escaped := n > 0 && text[i+n-1] == '\\'
		if i += n + 3; !escaped {
			return i
		}
	}
}

// skipString returns the index after a string. It reports whether each surrogate in it is part of a
// pair.
func skipString(text string, i int) (end int, ok bool) {
	for i < len(text) {
		switch text[i] {
		case '"', '\n', '\r':
			return i + 1, true
		case '\\':
			unit, n := escaped(text[i:])
			switch {
			case unit < 0xD800 || unit > 0xDFFF:
				i += n
				continue
			case unit >= 0xDC00:
				return i, false
			}
			if low, _ := escaped(text[i+n:]); low < 0xDC00 || low > 0xDFFF {
				return i, false
			}
			i += 2 * n
		default:
			i++
		}
	}
	return i, true
}

// escaped returns the UTF-16 code unit that an escape \uXXXX at the beginning of text stands for,
// and the length of the escape. For any other escape, unit is 0.
func escaped(text string) (unit, n int) {
	if len(text) < 6 || text[:2] != `\u` || text[2] == '{' {
		return 0, min(2, len(text))
	}
	v, err := strconv.ParseUint(text[2:6], 16, 16)
	if err != nil {
		return 0, 2
	}
	return int(v), 6 //nolint:gosec // 16 bits
}

// faultAt returns an error at an index of a text.
func faultAt(text string, i int, message string) *gqlerror.Error {
	line := strings.Count(text[:i], "\n")
	column := utf8.RuneCountInString(text[strings.LastIndexByte(text[:i], '\n')+1 : i])
	return &gqlerror.Error{Message: message, Locations: []gqlerror.Location{{Line: line + 1, Column: column + 1}}}
}
