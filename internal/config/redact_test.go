package config

import (
	"strings"
	"testing"
)

// Redact removes every secret of the configuration from a text, in whatever form it is written.
func TestRedact(t *testing.T) {
	t.Parallel()
	c := Config{
		DatabaseURL:   "postgres://shop:p%40ss%2Fword@db.example:5432/shop?sslpassword=hunter5&sslmode=require",
		RedisURL:      []string{"redis://:hunter2@cache.example:6379/0", "rediss://worker:hunter2and3@b.example", "redis://c.example", "redis://:a!b:c@d.example"},
		RedisPassword: "hunter4",
		JWTSecret:     strings.Repeat("s", 32),
	}
	for text, want := range map[string]string{
		"dial tcp 10.0.0.5:6379: connect: connection refused":      "dial tcp 10.0.0.5:6379: connect: connection refused",
		`parse "redis://:hunter2@cache.example:6379/0": port`:      `parse "redis://:…@cache.example:6379/0": port`,
		"rediss://worker:hunter2and3@b.example is away":            "rediss://worker:…@b.example is away",
		"AUTH hunter4: WRONGPASS":                                  "AUTH …: WRONGPASS",
		"cannot connect as shop with p@ss/word":                    "cannot connect as shop with …",
		"postgres://shop:p%40ss%2Fword@db.example:5432/shop":       "postgres://shop:…@db.example:5432/shop",
		"sslpassword=hunter5&sslmode=require":                      "…",
		"the key needs hunter5":                                    "the key needs …",
		"redis://:a!b:c@d.example, that is a!b:c, or a%21b%3Ac":    "redis://:…@d.example, that is …, or …",
		"HS256 by " + strings.Repeat("s", 32) + " is not verified": "HS256 by … is not verified",
	} {
		if got := c.Redact(text); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
	if got := (Config{}).Redact("nothing is hidden"); got != "nothing is hidden" {
		t.Errorf("without secrets: got %q, want the text unchanged", got)
	}
}
