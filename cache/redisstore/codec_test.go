package redisstore

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"fieldcache/cache"
)

// An encoded entry decodes to the same entry, by position and with any JSON decoder, whatever the
// value contains.
func FuzzCodec(f *testing.F) {
	f.Add(`{"id":42,"name":"Ada"}`, "1:5:2,3", "{users}", "generation", int64(1), int64(1e9))
	f.Add(`{"a":"x","loaded":"y","ends":"z","seen":"1:1:","tags":{"b":"c"}}`, "", "", "", int64(1e18), int64(0))
	f.Add(`",\"loaded\":\""`, "7:7:", "loaded", "ends", int64(0), int64(5))
	f.Add(`1`, "", `{a"b}\\`, "é\n", int64(0), int64(5))
	f.Add(`{"x":",\"key\":\"y\",\"shape\":\"z\""}`, "4f1e/1:5:2", "{users}", "g", int64(1), int64(1e9))
	f.Add(`null`, "", "}", `","ends":"`, int64(-1), int64(5))
	f.Fuzz(func(t *testing.T, value, seen, tag, generation string, loaded, age int64) {
		snapshot, err := cache.ParseSnapshot(seen)
		if err != nil {
			snapshot = cache.Snapshot{}
		}
		if !json.Valid([]byte(value)) || strings.TrimSpace(value) != value {
			return // sources write JSON without white space around it
		}
		const century = int64(100 * 365 * 24 * time.Hour)
		at := time.Unix(0, loaded%century).UTC()
		e := &cache.Entry{Data: []byte(value), Shape: "5b2c", Loaded: at, Ends: at.Add(time.Duration(age % century)), Seen: snapshot}
		var tags map[cache.Tag]string
		if tag != "" {
			tags = map[cache.Tag]string{cache.Tag(tag): generation}
		}
		key := cache.Key(tag + "key")
		text := encode(key, e, tags)
		var any stored
		if err := json.Unmarshal(text, &any); err != nil {
			t.Fatalf("%s is not JSON: %v", text, err)
		}
		got, generations, err := decode(key, text)
		if err != nil {
			t.Fatalf("%s: got error %v", text, err)
		}
		if string(got.Data) != string(any.Value) || !got.Loaded.Equal(any.Loaded) || !got.Loaded.Equal(e.Loaded) || !got.Ends.Equal(e.Ends) ||
			string(got.Seen.Append(nil)) != string(snapshot.Append(nil)) || got.Shape != any.Shape || any.Key != string(key) || !maps.Equal(generations, any.Tags) {
			t.Errorf("%s decodes as %+v, %v", text, got, generations)
		}
	})
}

// A text that is not, byte for byte, what was encoded for the key is not an entry, whoever changed
// it.
func TestFault05WhatAHandWrote(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	seen, err := cache.ParseSnapshot("4f1e/1:5:2")
	if err != nil {
		t.Fatal(err)
	}
	e := &cache.Entry{Data: []byte(`{"id":42,"name":"Ada","bio":"x"}`), Shape: "5b2c", Loaded: at, Ends: at.Add(time.Minute), Seen: seen}
	text := string(encode("user:42", e, map[cache.Tag]string{"{User}": "g"}))
	if _, _, err := decode("user:42", []byte(text)); err != nil {
		t.Fatalf("%s: got error %v", text, err)
	}
	if _, _, err := decode("user:43", []byte(text)); err == nil {
		t.Error("the entry of another key was accepted")
	}
	hands := map[string]func(*stored){
		"a missing column":     func(s *stored) { s.Value = []byte(`{"id":42,"name":"Ada"}`) },
		"an additional column": func(s *stored) { s.Value = []byte(`{"id":42,"name":"Ada","bio":"x","age":1}`) },
		"another id":           func(s *stored) { s.Value = []byte(`{"id":43,"name":"Ada","bio":"x"}`) },
		"null":                 func(s *stored) { s.Value = []byte(`{"id":42,"name":null,"bio":"x"}`) },
		"a name twice":         func(s *stored) { s.Value = []byte(`{"id":42,"name":"Ada","name":"Eve","bio":"x"}`) },
		"another type":         func(s *stored) { s.Value = []byte(`[1]`) },
		"another key":          func(s *stored) { s.Key = "user:43" },
		"another shape":        func(s *stored) { s.Shape = "0000" },
		"loaded later":         func(s *stored) { s.Loaded = s.Loaded.Add(time.Second) },
		"expires later":        func(s *stored) { s.Ends = s.Ends.Add(time.Hour) },
		"another snapshot":     func(s *stored) { s.Seen = "4f1e/1:50:" },
		"no snapshot":          func(s *stored) { s.Seen = "" },
		"another generation":   func(s *stored) { s.Tags = map[cache.Tag]string{"{User}": "h"} },
		"without tags":         func(s *stored) { s.Tags = nil },
		"an invalid checksum":  func(s *stored) { s.Sum = "zzzzzzzz" },
		"without a checksum":   func(s *stored) { s.Sum = "" },
	}
	for name, change := range hands {
		var s stored
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		change(&s)
		changed, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if e, _, err := decode("user:42", changed); err == nil {
			t.Errorf("%s: %s decodes as %s", name, changed, e.Data)
		}
	}
	for _, other := range []string{"", "hello", "{}", "null", "[]", `{"value":1}`, `{"value":1,"sum":"00000000"}`, text + "\n", " " + text, text[1:], text[:len(text)-1],
		text + text, strings.ToUpper(text), `{"value":1,"loaded":"2026-01-02T03:04:05Z","ends":"2026-01-02T03:05:05Z"}`} {
		if e, _, err := decode("user:42", []byte(other)); err == nil {
			t.Errorf("%q decodes as %s", other, e.Data)
		}
	}
}
