package redisstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"fieldcache/cache"
)

// stored is an entry as Redis holds it.
type stored struct {
	Value  json.RawMessage      `json:"value"`
	Loaded time.Time            `json:"loaded"`
	Ends   time.Time            `json:"ends"`
	Seen   string               `json:"seen,omitempty"` // the snapshot it was read in
	Tags   map[cache.Tag]string `json:"tags,omitempty"` // the generations it was loaded under
}

// What stands between the parts of a stored entry as [encode] writes it.
const (
	beforeValue  = `{"value":`
	beforeLoaded = `,"loaded":"`
	beforeEnds   = `","ends":"`
	beforeSeen   = `","seen":"`
	beforeTags   = `,"tags":`
)

// encode writes an entry in the form of [stored]. The value is JSON already, and is not looked through once more.
func encode(e *cache.Entry, generations map[cache.Tag]string) []byte {
	b := make([]byte, 0, len(e.Data)+160)
	b = append(append(b, beforeValue...), e.Data...)
	b = e.Loaded.AppendFormat(append(b, beforeLoaded...), time.RFC3339Nano)
	b = e.Ends.AppendFormat(append(b, beforeEnds...), time.RFC3339Nano)
	if !e.Seen.IsZero() {
		b = append(append(b, beforeSeen...), e.Seen.String()...)
	}
	b = append(b, '"')
	if len(generations) > 0 {
		b = append(b, beforeTags...)
		next := byte('{')
		for _, tag := range slices.Sorted(maps.Keys(generations)) {
			b = append(appendText(append(b, next), string(tag)), ':')
			b = appendText(b, generations[tag])
			next = ','
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

// appendText writes a JSON string. Names and generations hardly ever need escapes.
func appendText(b []byte, text string) []byte {
	if plain(text) {
		return append(append(append(b, '"'), text...), '"')
	}
	escaped, _ := json.Marshal(text) // a string is always JSON
	return append(b, escaped...)
}

// plain reports whether a text stands in JSON as it is.
func plain[T string | []byte](text T) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

var errNotOurs = errors.New("redisstore: this is no entry")

// decode reads an entry. It looks for the parts where [encode] puts them, so that the value is looked through by
// its source alone, and reads what is written otherwise as any JSON.
func decode(text []byte) (*cache.Entry, map[cache.Tag]string, error) {
	v, ok := split(text)
	if !ok {
		v = stored{}
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, nil, err
		}
		if v.Value == nil {
			return nil, nil, errNotOurs
		}
	}
	e := &cache.Entry{Data: v.Value, Loaded: v.Loaded, Ends: v.Ends}
	if v.Seen != "" {
		var err error
		if e.Seen, err = cache.ParseSnapshot(v.Seen); err != nil {
			return nil, nil, err
		}
	}
	return e, v.Tags, nil
}

// split takes apart what [encode] wrote. A value may hold the words that stand between the parts: the last ones count, and what
// follows them has to be exactly what is expected. It is not ok otherwise.
func split(text []byte) (v stored, ok bool) {
	rest, ok := bytes.CutPrefix(text, []byte(beforeValue))
	at := bytes.LastIndex(rest, []byte(beforeLoaded))
	if !ok || at <= 0 {
		return v, false
	}
	v.Value, rest = rest[:at], rest[at+len(beforeLoaded):]
	loaded, rest, ok := bytes.Cut(rest, []byte(beforeEnds))
	if !ok {
		return v, false
	}
	ends, rest, ok := bytes.Cut(rest, []byte{'"'})
	if !ok {
		return v, false
	}
	if seen, found := bytes.CutPrefix(rest, []byte(beforeSeen[1:])); found {
		if seen, rest, found = bytes.Cut(seen, []byte{'"'}); !found {
			return v, false
		}
		v.Seen = string(seen)
	}
	if tags, found := bytes.CutPrefix(rest, []byte(beforeTags)); found {
		if v.Tags, rest, ok = splitTags(tags); !ok {
			return v, false
		}
	}
	var err1, err2 error
	v.Loaded, err1 = time.Parse(time.RFC3339Nano, string(loaded))
	v.Ends, err2 = time.Parse(time.RFC3339Nano, string(ends))
	return v, err1 == nil && err2 == nil && string(rest) == "}"
}

// splitTags reads an object of plain strings as [encode] writes it, and answers what follows it.
func splitTags(text []byte) (tags map[cache.Tag]string, rest []byte, ok bool) {
	next := []byte{'{', '"'}
	tags = map[cache.Tag]string{}
	for {
		if text, ok = bytes.CutPrefix(text, next); !ok {
			return nil, nil, false
		}
		tag, after, _ := bytes.Cut(text, []byte(`":"`))
		generation, after, ok := bytes.Cut(after, []byte{'"'})
		if !ok || !plain(tag) || !plain(generation) {
			return nil, nil, false
		}
		tags[cache.Tag(tag)] = string(generation)
		if rest, ok := bytes.CutPrefix(after, []byte{'}'}); ok {
			return tags, rest, true
		}
		text, next[0] = after, ','
	}
}
