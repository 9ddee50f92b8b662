package redisstore

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"fieldcache/cache"
)

// What is written is read again, by its places and by any reader of JSON, whatever the value holds.
func FuzzCodec(f *testing.F) {
	f.Add(`{"id":42,"name":"Ada"}`, "1:5:2,3", "{users}", "generation", int64(1), int64(1e9))
	f.Add(`{"a":"x","loaded":"y","ends":"z","seen":"1:1:","tags":{"b":"c"}}`, "", "", "", int64(1e18), int64(0))
	f.Add(`",\"loaded\":\""`, "7:7:", "loaded", "ends", int64(0), int64(5))
	f.Add(`1`, "", `{a"b}\\`, "é\n", int64(0), int64(5))
	f.Add(`null`, "", "}", `","ends":"`, int64(-1), int64(5))
	f.Fuzz(func(t *testing.T, value, seen, tag, generation string, loaded, age int64) {
		snapshot, err := cache.ParseSnapshot(seen)
		if err != nil {
			snapshot = cache.Snapshot{}
		}
		if !json.Valid([]byte(value)) || strings.TrimSpace(value) != value {
			return // sources write JSON, and nothing around it
		}
		const century = int64(100 * 365 * 24 * time.Hour)
		at := time.Unix(0, loaded%century).UTC()
		e := &cache.Entry{Data: []byte(value), Loaded: at, Ends: at.Add(time.Duration(age % century)), Seen: snapshot}
		var tags map[cache.Tag]string
		if tag != "" {
			tags = map[cache.Tag]string{cache.Tag(tag): generation}
		}
		text := encode(e, tags)
		var any stored
		if err := json.Unmarshal(text, &any); err != nil {
			t.Fatalf("%s is no JSON: %v", text, err)
		}
		got, generations, err := decode(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if string(got.Data) != string(any.Value) || !got.Loaded.Equal(any.Loaded) || !got.Loaded.Equal(e.Loaded) || !got.Ends.Equal(e.Ends) ||
			got.Seen.String() != snapshot.String() || !maps.Equal(generations, any.Tags) {
			t.Errorf("%s is read as %+v, %v", text, got, generations)
		}
	})
}

// What somebody else wrote is read if it is an entry, and no entry otherwise.
func TestDecode(t *testing.T) {
	const loaded, ends = `"loaded":"2026-01-02T03:04:05Z"`, `"ends":"2026-01-02T03:05:05Z"`
	tests := map[string]struct{ text, value string }{
		"another order":        {"{" + ends + "," + loaded + `,"value":1}`, "1"},
		"white space":          {`{ "value" : 1, ` + loaded + ", " + ends + " }", "1"},
		"more than we write":   {`{"value":1,` + loaded + "," + ends + `,"more":true}`, "1"},
		"a text":               {"hello", ""},
		"no value":             {"{" + loaded + "," + ends + "}", ""},
		"no end of it":         {`{"value":1,` + loaded + `,"ends":"2026-01-02T03:05:05Z`, ""},
		"no time":              {`{"value":1,"loaded":"soon","ends":"later"}`, ""},
		"no snapshot":          {`{"value":1,` + loaded + "," + ends + `,"seen":"5"}`, ""},
		"tags of another sort": {`{"value":1,` + loaded + "," + ends + `,"tags":[1]}`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e, _, err := decode([]byte(test.text))
			switch {
			case test.value == "" && err == nil:
				t.Errorf("read %s", e.Data)
			case test.value != "" && (err != nil || string(e.Data) != test.value):
				t.Errorf("read %v, %v, want %s", e, err, test.value)
			}
		})
	}
}
