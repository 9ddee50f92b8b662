package cache

import "strings"

// Rows returns the tag of everything that depends on rows of a table. It is evicted when it is not
// known which rows were written.
func Rows(table string) Tag { return Tag("{rows:" + escape(table) + "}") }

// AnyRow returns the tag of everything that depends on every row of a table.
func AnyRow(table string) Tag { return Rows(table) + ":any" }

// Null is the text that stands for SQL's NULL in [RowsWhere]. No other value has this text.
const Null = "\x00null"

// RowsWhere returns the tag of what depends on the rows of a table whose columns have these values,
// which may be any text or [Null]. There are as many values as columns, and columns are in
// ascending order: {rows:reviews:product_id=7}.
func RowsWhere(table string, columns, values []string) Tag {
	var b strings.Builder
	b.WriteString("{rows:")
	b.WriteString(escape(table))
	next := byte(':')
	for i, column := range columns {
		b.WriteByte(next)
		b.WriteString(escape(column))
		b.WriteByte('=')
		switch values[i] {
		case Null:
			b.WriteString("null")
		case "null": // a text that reads like NULL
			b.WriteString("%6Eull")
		default:
			b.WriteString(escape(values[i]))
		}
		next = ','
	}
	b.WriteByte('}')
	return Tag(b.String())
}

// Of returns the tag of some columns of the rows that t names, or of all columns for "*".
func (t Tag) Of(columns string) Tag { return t + Tag(":"+columns) }

// Named returns the tag of a name from a schema, which may be any text.
func Named(name string) Tag { return Tag("{tag:" + escapeTagName(name) + "}") }

// escapeTagName percent-encodes what could be mistaken for the punctuation of a tag or of a list of tags. It leaves
// percent signs alone: the parts of a name are already encoded.
func escapeTagName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; plain(c) || strings.IndexByte("%:/=@", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}
