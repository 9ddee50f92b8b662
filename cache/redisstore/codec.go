package redisstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash/crc32"
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"fieldcache/cache"
)

// stored is the form of an entry in Redis.
type stored struct {
	Value  json.RawMessage      `json:"value"`
	Key    string               `json:"key"`
	Shape  string               `json:"shape,omitempty"`
	Loaded time.Time            `json:"loaded"`
	Ends   time.Time            `json:"ends"`
	Seen   string               `json:"seen,omitempty"` // the snapshot it was read in, with its epoch
	Tags   map[cache.Tag]string `json:"tags,omitempty"` // the generations it was loaded under
	Sum    string               `json:"sum"`            // checksum of the text before it
}

// The text between the parts of a stored entry, as [encode] writes it.
const (
	beforeValue  = `{"value":`
	beforeKey    = `,"key":`
	beforeShape  = `,"shape":"`
	beforeLoaded = `,"loaded":"`
	beforeEnds   = `","ends":"`
	beforeSeen   = `","seen":"`
	beforeTags   = `,"tags":`
	beforeSum    = `,"sum":"`
	sumLength    = 8
)

// table is for CRC-32C, for which processors have an instruction.
var table = crc32.MakeTable(crc32.Castagnoli)

// encode writes an entry in the form of [stored]. The value is JSON already, and is not validated
// again.
func encode(key cache.Key, e *cache.Entry, generations map[cache.Tag]string) []byte {
	b := make([]byte, 0, len(e.Data)+len(key)+240)
	b = append(append(b, beforeValue...), e.Data...)
	b = appendText(append(b, beforeKey...), string(key))
	if e.Shape != "" {
		b = append(append(append(b, beforeShape...), e.Shape...), '"')
	}
	b = e.Loaded.AppendFormat(append(b, beforeLoaded...), time.RFC3339Nano)
	b = e.Ends.AppendFormat(append(b, beforeEnds...), time.RFC3339Nano)
	if !e.Seen.IsZero() {
		b = e.Seen.Append(append(b, beforeSeen...))
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
	sum := crc32.Checksum(b, table)
	return append(appendSum(append(b, beforeSum...), sum), `"}`...)
}

func appendSum(b []byte, sum uint32) []byte {
	return hex.AppendEncode(b, binary.BigEndian.AppendUint32(nil, sum))
}

// appendText writes a JSON string. Names and generations hardly ever need escapes.
func appendText(b []byte, text string) []byte {
	if plain(text) {
		return append(append(append(b, '"'), text...), '"')
	}
	escaped, _ := json.Marshal(text) // never fails for a string
	return append(b, escaped...)
}

// plain reports whether a text needs no escapes in JSON.
func plain[T string | []byte](text T) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

var errNotOurs = errors.New("redisstore: not an entry of this key")

// decode reads the entry of a key. It refuses everything that [encode] did not write for that key,
// byte for byte: otherwise an entry that was changed by hand might lack a part.
func decode(key cache.Key, text []byte) (*cache.Entry, map[cache.Tag]string, error) {
	const after = len(beforeSum) + sumLength + len(`"}`)
	at := len(text) - after
	if at <= 0 {
		return nil, nil, errNotOurs
	}
	body, rest := text[:at], text[at:]
	var sum [sumLength]byte
	if string(rest[:len(beforeSum)]) != beforeSum || string(rest[after-2:]) != `"}` ||
		!bytes.Equal(rest[len(beforeSum):after-2], appendSum(sum[:0], crc32.Checksum(body, table))) {
		return nil, nil, errNotOurs
	}
	v, ok := split(body)
	if !ok { // names that need escapes
		v = stored{}
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, nil, err
		}
	}
	if v.Key != string(key) {
		return nil, nil, errNotOurs
	}
	e := &cache.Entry{Data: v.Value, Shape: v.Shape, Loaded: v.Loaded, Ends: v.Ends}
	if v.Seen != "" {
		var err error
		if e.Seen, err = cache.ParseSnapshot(v.Seen); err != nil {
			return nil, nil, err
		}
	}
	return e, v.Tags, nil
}

// split takes apart what [encode] wrote before the checksum. A value may contain the separators:
// the last ones count, and what follows them must be exactly as expected; otherwise it is not ok.
func split(text []byte) (v stored, ok bool) {
	rest, ok := bytes.CutPrefix(text, []byte(beforeValue))
	at := bytes.LastIndex(rest, []byte(beforeKey))
	if !ok || at <= 0 {
		return v, false
	}
	v.Value, rest = rest[:at], rest[at+len(beforeKey):]
	head, rest, ok := bytes.Cut(rest, []byte(beforeLoaded))
	if !ok {
		return v, false
	}
	if key, shape, found := bytes.Cut(head, []byte(beforeShape)); found {
		if shape, found = bytes.CutSuffix(shape, []byte{'"'}); !found || !plain(shape) {
			return v, false
		}
		head, v.Shape = key, string(shape)
	}
	if len(head) < 2 || head[0] != '"' || head[len(head)-1] != '"' || !plain(head[1:len(head)-1]) {
		return v, false
	}
	v.Key = string(head[1 : len(head)-1])
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
	return v, err1 == nil && err2 == nil && len(rest) == 0
}

// splitTags reads an object of plain strings as [encode] writes it, and returns what follows it.
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
