package config

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const testSecret = "a secret of at least thirty-two bytes"

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	cfg, warnings, err := Load("serve", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		ListenAddr: "127.0.0.1:8080", AdminAddr: "127.0.0.1:8081",
		DatabaseURL: "sqlite://fieldcache.db", DatabaseMaxConns: 16, DatabaseTimeout: 5 * time.Second,
		RedisTimeout: 150 * time.Millisecond, RedisMaxConns: 40, MemoryBytes: 256 << 20,
		IdentityHeaders: []string{"Authorization", "Cookie"},
		StaleIfError:    time.Minute, CacheAudit: 1000, AnswerCache: true,
		Introspection: true, Playground: true, CacheDebug: true,
		MaxDepth: 15, MaxAliases: 30, MaxTokens: 2000, MaxComplexity: 10000, MaxBatch: 10, MaxBodyBytes: 1 << 20,
		RequestTimeout: 10 * time.Second, ShutdownTimeout: 10 * time.Second,
		SeedUsers: 10000, SeedProducts: 10000, SeedReviews: 100000, SeedOrders: 20000, SeedSeed: 1, TokenTTL: time.Hour,
		OutboxDialect: "postgres",
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("defaults:\n got %+v\nwant %+v", cfg, want)
	}
	if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "open server:") {
		t.Errorf("warnings = %q, want the one of an open server", warnings)
	}
}

func TestConfigSources(t *testing.T) {
	t.Parallel()
	auth := "JWT_SECRET=" + testSecret
	tests := []struct {
		name    string
		environ []string
		set     map[string]string
		check   func(Config) bool
	}{
		{"variable", []string{"MAX_DEPTH=7"}, nil, func(c Config) bool { return c.MaxDepth == 7 }},
		{"flag over variable", []string{"MAX_DEPTH=7"}, map[string]string{"MAX_DEPTH": "8"}, func(c Config) bool { return c.MaxDepth == 8 }},
		{"empty flag over variable", []string{"REDIS_URL=redis://h"}, map[string]string{"REDIS_URL": ""}, func(c Config) bool { return len(c.RedisURL) == 0 }},
		{"an empty variable is unset", []string{"MAX_DEPTH="}, nil, func(c Config) bool { return c.MaxDepth == 15 }},
		{"space around", []string{"MAX_DEPTH= 9 "}, nil, func(c Config) bool { return c.MaxDepth == 9 }},
		{"list", []string{"CORS_ORIGINS=https://a.example, https://b.example:8443"}, nil, func(c Config) bool {
			return slices.Equal(c.CORSOrigins, []string{"https://a.example", "https://b.example:8443"})
		}},
		{"sizes", []string{"MEMORY_BYTES=64 MiB", "MAX_BODY_BYTES=2048"}, nil, func(c Config) bool { return c.MemoryBytes == 64<<20 && c.MaxBodyBytes == 2048 }},
		{"loopback v6", []string{"LISTEN_ADDR=[::1]:80"}, nil, func(c Config) bool { return c.Introspection && c.Playground && c.CacheDebug && c.Open() }},
		{"localhost", []string{"LISTEN_ADDR=localhost:80"}, nil, func(c Config) bool { return c.Introspection && c.Playground }},
		{"off loopback", []string{"LISTEN_ADDR=:80", auth}, nil, func(c Config) bool { return !c.Introspection && !c.Playground && !c.CacheDebug && !c.Open() }},
		{"off loopback, wanted", []string{"LISTEN_ADDR=:80", auth, "PLAYGROUND=true"}, nil, func(c Config) bool { return !c.Introspection && c.Playground && c.CacheDebug }},
		{"cache debug against playground", []string{"CACHE_DEBUG=false"}, nil, func(c Config) bool { return c.Playground && !c.CacheDebug }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, _, err := Load("serve", tt.environ, tt.set)
			if err != nil || !tt.check(cfg) {
				t.Errorf("err = %v, config = %+v", err, cfg)
			}
		})
	}
}

func TestConfigNamesAllFaultsAtOnce(t *testing.T) {
	t.Parallel()
	_, _, err := Load("serve", []string{
		"LISTEN_ADDR=localhost", "ADMIN_ADDR=127.0.0.1:99999", "DATABASE_URL=postgres://u:hunter2@h:x/db",
		"DATABASE_REPLICA_URLS=mysql://u:hunter2@h/db", "REDIS_TIMEOUT=abc", "REDIS_URL=redis://:hunter2@h:1,rediss://h:2",
		"REDIS_PREFIX=a{b}", "MEMORY_BYTES=1", "JWT_SECRET=hunter2", "JWT_JWKS_URL=ftp://u:hunter2@x/keys?k=hunter2",
		"CORS_ORIGINS=https://a.example/b", "INTROSPECTION=maybe", "MAX_DEPTH=x", "MAX_ALIASES=99999999999", "REQUEST_TIMEOUT=-1s",
		"LOG_LEVEL=loud", "LOG_FORMAT=xml", "REDIS_TIMOUT=1s",
	}, nil)
	want := `the configuration is not valid:
  LISTEN_ADDR="localhost": not host:port; allowed: host:port; port 0 chooses a free port
  ADMIN_ADDR="127.0.0.1:99999": port "99999" is not a number from 0 to 65535; allowed: host:port, other than LISTEN_ADDR; port 0 chooses a free port
  DATABASE_URL="postgres://…": not a PostgreSQL URL; allowed: postgres://user:password@host:port/name, sqlite://path or sqlite::memory:
  DATABASE_REPLICA_URLS="mysql://h/db": not a URL of PostgreSQL or SQLite; allowed: postgres:// URLs, together with a PostgreSQL DATABASE_URL
  REDIS_URL="redis://h:1,rediss://h:2": the URLs have different schemes; allowed: redis://, rediss:// (TLS) or unix://; several URLs have one scheme, and not unix
  REDIS_PREFIX="a{b}": too long, or has other characters; allowed: up to 64 letters, digits and the characters . _ : / -
  REDIS_TIMEOUT="abc": not a duration with a unit, like 150ms or 10s; allowed: 1ms to 10s
  MEMORY_BYTES="1": out of range; allowed: 1MiB to 1TiB
  JWT_SECRET=(not shown): only 7 bytes; allowed: at least 32 bytes, without JWT_JWKS_URL
  JWT_JWKS_URL="ftp://x/keys": not an http or https URL; allowed: an http:// or https:// URL, without JWT_SECRET
  CORS_ORIGINS="https://a.example/b": "https://a.example/b" is not an origin; allowed: * or scheme://host[:port] without a path
  INTROSPECTION="maybe": neither true nor false; allowed: true or false
  MAX_DEPTH="x": not a whole number; allowed: 1 to 1000
  MAX_ALIASES="99999999999": out of range; allowed: 0 to 100000
  REQUEST_TIMEOUT="-1s": out of range; allowed: 1ms to 10m
  LOG_LEVEL="loud": not a level; allowed: debug, info, warn or error
  LOG_FORMAT="xml": unknown; allowed: text or json
  unknown variable REDIS_TIMOUT: did you mean REDIS_TIMEOUT?`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if !errors.As(err, new(*Error)) {
		t.Errorf("error is a %T, want an *Error", err)
	}
}

func TestConfigRules(t *testing.T) {
	t.Parallel()
	auth := "JWT_SECRET=" + testSecret
	pg := "DATABASE_URL=postgres://u@h/db"
	tests := []struct {
		name    string
		command string
		environ string // separated by spaces; without a fault it is allowed
		fault   string
	}{
		{"open off loopback", "serve", "LISTEN_ADDR=0.0.0.0:80", "LISTEN_ADDR"},
		{"open on every address", "serve", "LISTEN_ADDR=:80", "LISTEN_ADDR"},
		{"open by a name", "serve", "LISTEN_ADDR=gateway.example:80", "LISTEN_ADDR"},
		{"closed off loopback", "serve", "LISTEN_ADDR=:80 JWT_JWKS_URL=https://id.example/keys", ""},
		{"two kinds of keys", "serve", "JWT_SECRET=" + strings.Repeat("x", 32) + " JWT_JWKS_URL=https://id.example/keys", "JWT_JWKS_URL"},
		{"secret of 32", "serve", "JWT_SECRET=" + strings.Repeat("x", 32), ""},
		{"secret of 31", "serve", "JWT_SECRET=" + strings.Repeat("x", 31), "JWT_SECRET"},
		{"one port", "serve", "LISTEN_ADDR=127.0.0.1:8081", "ADMIN_ADDR"},
		{"one port, every address", "serve", "LISTEN_ADDR=127.0.0.1:80 ADMIN_ADDR=:80", "ADMIN_ADDR"},
		{"one port, two loopback names", "serve", "LISTEN_ADDR=localhost:8081", "ADMIN_ADDR"},
		{"both on port 0", "serve", "LISTEN_ADDR=127.0.0.1:0 ADMIN_ADDR=127.0.0.1:0", ""},
		{"sqlite file", "serve", "DATABASE_URL=sqlite:///var/lib/x.db", ""},
		{"sqlite in memory", "serve", "DATABASE_URL=sqlite::memory:", ""},
		{"sqlite without a path", "serve", "DATABASE_URL=sqlite://", "DATABASE_URL"},
		{"foreign database", "serve", "DATABASE_URL=mysql://h/db", "DATABASE_URL"},
		{"replicas", "serve", pg + " DATABASE_REPLICA_URLS=postgres://a/db,postgres://b/db", ""},
		{"replicas of sqlite", "serve", "DATABASE_REPLICA_URLS=postgres://a/db", "DATABASE_REPLICA_URLS"},
		{"an empty replica", "serve", pg + " DATABASE_REPLICA_URLS=postgres://a/db,", "DATABASE_REPLICA_URLS"},
		{"redis by TLS", "serve", "REDIS_URL=rediss://u:p@h:6380/2", ""},
		{"redis by socket", "serve", "REDIS_URL=unix:///run/redis.sock", ""},
		{"redis by http", "serve", "REDIS_URL=http://h", "REDIS_URL"},
		{"redis database", "serve", "REDIS_URL=redis://h/x", "REDIS_URL"},
		{"cluster", "serve", "REDIS_URL=redis://a:1,redis://b:1", ""},
		{"cluster with a database", "serve", "REDIS_URL=redis://a:1/1,redis://b:1/1", "REDIS_URL"},
		{"two sockets", "serve", "REDIS_URL=unix:///a,unix:///b", "REDIS_URL"},
		{"sentinel", "serve", "REDIS_URL=redis://a:1,redis://b:1 REDIS_SENTINEL_MASTER=m", ""},
		{"sentinel without any", "serve", "REDIS_SENTINEL_MASTER=m", "REDIS_SENTINEL_MASTER"},
		{"sentinel by socket", "serve", "REDIS_URL=unix:///a REDIS_SENTINEL_MASTER=m", "REDIS_SENTINEL_MASTER"},
		{"every origin", "serve", "CORS_ORIGINS=*", ""},
		{"origin with a slash", "serve", "CORS_ORIGINS=https://a.example/", "CORS_ORIGINS"},
		{"origin without a scheme", "serve", "CORS_ORIGINS=a.example", "CORS_ORIGINS"},
		{"origin null", "serve", "CORS_ORIGINS=null", "CORS_ORIGINS"},
		{"origin by pattern", "serve", "CORS_ORIGINS=https://*.example", "CORS_ORIGINS"},
		{"size without bound", "serve", "MAX_BODY_BYTES=1EiB", "MAX_BODY_BYTES"},
		{"size below", "serve", "MAX_BODY_BYTES=1023", "MAX_BODY_BYTES"},
		{"negative size", "serve", "MEMORY_BYTES=-5MiB", "MEMORY_BYTES"},
		{"duration zero", "serve", "SHUTDOWN_TIMEOUT=0s", "SHUTDOWN_TIMEOUT"},
		{"duration without unit", "serve", "SHUTDOWN_TIMEOUT=5", "SHUTDOWN_TIMEOUT"},
		{"trusted documents", "serve", "TRUSTED_DOCUMENTS=documents TRUSTED_ONLY=true", ""},
		{"only trusted documents, without any", "serve", "TRUSTED_ONLY=true", "TRUSTED_ONLY"},
		{"a batch of 0", "serve", "MAX_BATCH=0", "MAX_BATCH"},
		{"others' variables do not matter", "migrate", "LISTEN_ADDR=:80 REDIS_URL=http://h TOKEN_TTL=x", ""},
		{"seed below", "seed", "SEED_USERS=0", "SEED_USERS"},
		{"token", "token", "TOKEN_USER=42 TOKEN_ROLE=admin " + strings.ReplaceAll(auth, " ", "-"), ""},
		{"token without a secret", "token", "TOKEN_USER=42", "JWT_SECRET"},
		{"token of a strange role", "token", "TOKEN_USER=42 TOKEN_ROLE=root " + strings.ReplaceAll(auth, " ", "-"), "TOKEN_ROLE"},
		{"token without a user", "token", strings.ReplaceAll(auth, " ", "-"), "TOKEN_USER"},
		{"token for a negative user", "token", "TOKEN_USER=-1 " + strings.ReplaceAll(auth, " ", "-"), "TOKEN_USER"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := Load(tt.command, strings.Fields(tt.environ), nil)
			var config *Error
			switch {
			case tt.fault == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case tt.fault != "" && !errors.As(err, &config):
				t.Errorf("got %v, want an *Error", err)
			case tt.fault != "" && (len(config.Faults) != 1 || !strings.HasPrefix(config.Faults[0], tt.fault)):
				t.Errorf("faults = %q, want one of %s", config.Faults, tt.fault)
			}
		})
	}
}

func TestConfigWarnings(t *testing.T) {
	t.Parallel()
	auth := "JWT_SECRET=" + testSecret
	tests := []struct {
		name    string
		environ []string
		want    []string // their prefixes
	}{
		{"nothing", []string{auth}, nil},
		{"admin off loopback", []string{auth, "ADMIN_ADDR=:8081"}, []string{"ADMIN_ADDR=\":8081\" is not on loopback"}},
		{"open for every page", []string{"CORS_ORIGINS=*"}, []string{"open server: ", "open server with CORS_ORIGINS=*"}},
		{"keys by http", []string{"JWT_JWKS_URL=http://id.example/keys"}, []string{"JWT_JWKS_URL is not https"}},
		{"keys by http on loopback", []string{"JWT_JWKS_URL=http://127.0.0.1:99/keys"}, nil},
		{"misspelled", []string{auth, "REDIS_ULR=x", "jwt_secret=x", "PATH=/bin", "HOME=/", "REDIS_HOST=h", "LOGNAME=me"}, []string{
			"unknown variable REDIS_ULR: did you mean REDIS_URL?",
			"unknown variable jwt_secret: did you mean JWT_SECRET?",
		}},
		{"another command's", []string{auth, "SEED_USERS=5"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, warnings, err := Load("serve", tt.environ, nil)
			if err != nil || !slices.EqualFunc(warnings, tt.want, strings.HasPrefix) {
				t.Errorf("err = %v, warnings = %q, want %q", err, warnings, tt.want)
			}
		})
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{"0": 0, "512": 512, "1KiB": 1 << 10, "1.5 MiB": 3 << 19, "2kb": 2000, "1TiB": 1 << 40} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%s: got %d (%v), want %d", text, b, err, want)
		}
	}
	for _, text := range []string{"", "x", "-1", "1 parsec", "16EiB"} {
		if err := new(Bytes).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was accepted as a size", text)
		}
	}
}

// Users rely on these names.
func TestVariablesAreComplete(t *testing.T) {
	t.Parallel()
	promised := strings.Fields(`LISTEN_ADDR ADMIN_ADDR DATABASE_URL DATABASE_REPLICA_URLS REDIS_URL REDIS_SENTINEL_MASTER
		REDIS_USERNAME REDIS_PASSWORD REDIS_PREFIX REDIS_TIMEOUT MEMORY_BYTES JWT_SECRET JWT_JWKS_URL CORS_ORIGINS INTROSPECTION
		PLAYGROUND CACHE_DEBUG MAX_DEPTH MAX_ALIASES MAX_TOKENS MAX_COMPLEXITY MAX_BODY_BYTES REQUEST_TIMEOUT SHUTDOWN_TIMEOUT
		MIGRATE LOG_LEVEL LOG_FORMAT`)
	known := map[string]bool{}
	flags := map[string]bool{}
	for _, v := range all() {
		known[v.Name] = true
		if v.Help == "" || v.Name == "" {
			t.Errorf("field %s has no name or no help", v.field.Name)
		}
		for _, command := range v.commands {
			id := command + " --" + v.Flag(command)
			if flags[id] {
				t.Errorf("two variables have the flag %s", id)
			}
			flags[id] = true
		}
	}
	for _, name := range promised {
		if !known[name] {
			t.Errorf("no variable %s", name)
		}
	}
	for _, flag := range []string{"serve --listen-addr", "seed --users", "seed --seed", "token --user", "token --role", "token --ttl", "evict --type"} {
		if !flags[flag] {
			t.Errorf("no flag %q among %v", flag, slices.Sorted(maps.Keys(flags)))
		}
	}
	for name := range known {
		if !strings.Contains(Table(), "| `"+name+"` |") {
			t.Errorf("the table lacks %s", name)
		}
	}
}
