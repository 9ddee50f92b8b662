package cache

import "strings"

// Key names one cached thing. It is built by [Entity], [Key.Part], [Tag.List] and [Tag.Count] and is readable by
// people: user:42, {product:7}:price, {users}:list:first=20. Its parts may be any text: characters that could be taken
// for punctuation are percent-encoded, so that different things have different keys.
//
// The braces are Redis Cluster's hash tag: {product:7}:price lies in the slot of product:7.
type Key string

// Tag names something that keys depend on and that can be evicted: a collection such as {users} or
// {product:7}:reviews, or a type such as {User}.
type Tag string

// Entity returns the key of the row of a kind with this id.
func Entity(kind, id string) Key { return Key(escape(kind) + ":" + escape(id)) }

// Part returns the key of a part of an entity that has its own maximum age. A part and a collection
// of one entity need different names.
func (k Key) Part(name string) Key { return Key("{" + string(k) + "}:" + escapeName(name)) }

// Collection returns the tag of a list that belongs to an entity.
func (k Key) Collection(name string) Tag { return Tag("{" + string(k) + "}:" + escapeName(name)) }

// All returns the tag of the list of everything called name: users, products.
func All(name string) Tag { return Tag("{" + escape(name) + "}") }

// Type returns the tag of everything that contains objects of a type. Names of types are
// capitalized, so that they differ from names of collections.
func Type(name string) Tag { return Tag("{" + escape(name) + "}") }

// Coordinate returns the tag of all values of a field of a schema, such as "Product.reviews".
func Coordinate(name string) Tag { return Tag("{" + escape(name) + "}") }

// Where returns the tag of the part of a collection whose field has this value, which may be any
// text.
func (t Tag) Where(field, value string) Tag { return t + Tag(":"+escape(field)+"="+escape(value)) }

// List returns the key of the part of a collection that a set of arguments selects. Arguments are
// pairs of name and value, always in the same order; values may be any text.
func (t Tag) List(args ...string) Key {
	var b strings.Builder
	b.WriteString(string(t))
	b.WriteString(":list")
	for i := 0; i+1 < len(args); i += 2 {
		if i == 0 {
			b.WriteByte(':')
		} else {
			b.WriteByte(',')
		}
		b.WriteString(escape(args[i]))
		b.WriteByte('=')
		b.WriteString(escape(args[i+1]))
	}
	return Key(b.String())
}

// Count returns the key of the size of a collection.
func (t Tag) Count() Key { return Key(t) + ":count" }

// Fence returns the name under which the token of a load of k is stored. A plain key is put in braces, so that both lie
// in one slot.
func (k Key) Fence() string {
	if strings.HasPrefix(string(k), "{") {
		return string(k) + ":g"
	}
	return "{" + string(k) + "}:g"
}

// Generation returns the name under which the generation of t is stored.
func (t Tag) Generation() string { return string(t) + ":g" }

// escapeName is escape for the name of a part or a collection. It also encodes the name g, which is reserved for fences
// and generations.
func escapeName(name string) string {
	if name == "g" {
		return "%67"
	}
	return escape(name)
}

const hexDigits = "0123456789ABCDEF"

// escape percent-encodes s as [AppendEscaped] does.
func escape(s string) string {
	for i := range len(s) {
		if !plain(s[i]) {
			return string(AppendEscaped(make([]byte, 0, len(s)+8), s))
		}
	}
	return s
}

// AppendEscaped appends s to b and percent-encodes every byte that is not a letter, a digit or one of - . _ ~, as RFC
// 3986 does for unreserved characters. Different texts have different encodings.
func AppendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}
