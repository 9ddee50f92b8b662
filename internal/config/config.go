// Package config reads and checks the configuration, which consists of environment variables and flags.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/dustin/go-humanize"
)

// Config is the configuration. Its tags define each variable: its name (env), default (envDefault, or
// default if it depends on other variables), meaning (help), bounds (min, max) and allowed values
// (allowed). Flags, variables, help texts and the table in docs/operations.md are generated from them.
//
// cmd lists the commands that read the variable; the default is serve. The flag is the name in kebab case
// without the command's name: SEED_USERS is `seed --users`. kind says what errors and logs may show:
// nothing of a secret, and scheme, host and path of a url.
type Config struct {
	ListenAddr string `env:"LISTEN_ADDR" cmd:"serve,warm" envDefault:"127.0.0.1:8080" help:"address of GraphQL and the playground" allowed:"host:port; port 0 chooses a free port"`
	AdminAddr  string `env:"ADMIN_ADDR" cmd:"serve,evict,top" envDefault:"127.0.0.1:8081" help:"address of metrics, health, eviction and pprof" allowed:"host:port, other than LISTEN_ADDR; port 0 chooses a free port"`

	DatabaseURL         string        `env:"DATABASE_URL" cmd:"serve,migrate,seed,outbox" kind:"url" envDefault:"sqlite://fieldcache.db" help:"URL of the database" allowed:"postgres://user:password@host:port/name, sqlite://path or sqlite::memory:"`
	DatabaseReplicaURLs []string      `env:"DATABASE_REPLICA_URLS" kind:"url" help:"read replicas, comma separated" allowed:"postgres:// URLs, together with a PostgreSQL DATABASE_URL"`
	DatabaseMaxConns    int           `env:"DATABASE_MAX_CONNS" cmd:"serve,migrate,seed" envDefault:"16" min:"1" max:"10000" help:"size of each connection pool"`
	DatabaseTimeout     time.Duration `env:"DATABASE_TIMEOUT" cmd:"serve,migrate,seed" envDefault:"5s" min:"10ms" max:"10m" help:"timeout of connecting to the database"`
	Migrate             bool          `env:"MIGRATE" envDefault:"false" help:"migrate PostgreSQL at start; the embedded database is always migrated"`

	RedisURL            []string      `env:"REDIS_URL" kind:"url" help:"URL of Redis, the cache tier that gateways share; several, comma separated, for a Cluster; empty: memory alone" allowed:"redis://, rediss:// (TLS) or unix://; several URLs have one scheme, and not unix"`
	RedisSentinelMaster string        `env:"REDIS_SENTINEL_MASTER" help:"name of the Sentinel master; REDIS_URL then lists the Sentinels" allowed:"a name, together with redis:// or rediss:// URLs in REDIS_URL"`
	RedisUsername       string        `env:"REDIS_USERNAME" help:"overrides the user in REDIS_URL"`
	RedisPassword       string        `env:"REDIS_PASSWORD" kind:"secret" help:"overrides the password in REDIS_URL"`
	RedisPrefix         string        `env:"REDIS_PREFIX" help:"prefix of every key in Redis" allowed:"up to 64 letters, digits and the characters . _ : / -"`
	RedisTimeout        time.Duration `env:"REDIS_TIMEOUT" envDefault:"150ms" min:"1ms" max:"10s" help:"timeout of each Redis command"`
	RedisMaxConns       int           `env:"REDIS_MAX_CONNS" envDefault:"40" min:"1" max:"10000" help:"size of the connection pool of each Redis server"`
	MemoryBytes         Bytes         `env:"MEMORY_BYTES" envDefault:"256MiB" min:"1MiB" max:"1TiB" help:"maximum size of everything cached in memory: values, responses and documents"`
	AnswerCache         bool          `env:"ANSWER_CACHE" envDefault:"true" help:"cache whole responses in memory"`
	TagHeader           string        `env:"TAG_HEADER" help:"response header that lists the tags of the response, for a CDN that purges by tags; empty: no header" allowed:"Surrogate-Key or Cache-Tag"`
	StaleIfError        time.Duration `env:"STALE_IF_ERROR" envDefault:"60s" min:"0s" max:"1h" help:"how long to serve cached values as stale while the database does not respond; 0s: never"`
	CacheAudit          int           `env:"CACHE_AUDIT" envDefault:"1000" min:"0" max:"1000000000" help:"verify one in N cache hits against the database, at most one a second; 0: never"`
	CacheShadow         []string      `env:"CACHE_SHADOW" help:"coordinates (Product.reviews) and types (Country: every field that returns it) in shadow mode, comma separated: values come from the source, and the cache is filled and compared; empty: none" allowed:"names of the schema; * for all"`

	JWTSecret   string `env:"JWT_SECRET" cmd:"serve,token" kind:"secret" help:"secret that verifies HS256 tokens" allowed:"at least 32 bytes, without JWT_JWKS_URL"`
	JWTJWKSURL  string `env:"JWT_JWKS_URL" kind:"url" help:"URL of the key set (JWKS) that verifies RS256, PS256, ES256 or EdDSA tokens" allowed:"an http:// or https:// URL, without JWT_SECRET"`
	JWTIssuer   string `env:"JWT_ISSUER" cmd:"serve,token" help:"issuer (iss) that a token must have; empty: any"`
	JWTAudience string `env:"JWT_AUDIENCE" cmd:"serve,token" help:"audience (aud) that a token must have; empty: any"`

	IdentityHeaders []string `env:"IDENTITY_HEADERS" envDefault:"Authorization,Cookie" help:"request headers that identify a user, comma separated; private responses vary by them" allowed:"names of headers; Authorization is always included if tokens are verified"`

	CORSOrigins   []string `env:"CORS_ORIGINS" help:"origins whose pages may send requests (CORS), comma separated; empty: same origin only" allowed:"* or scheme://host[:port] without a path"`
	AllowedHosts  []string `env:"ALLOWED_HOSTS" help:"values of the Host header that both ports accept besides loopback names, comma separated; empty: on loopback no others, else any" allowed:"names or addresses, with or without a port; * for any"`
	Introspection bool     `env:"INTROSPECTION" default:"true on loopback, else false" help:"allow introspection (__schema, __type)"`
	Playground    bool     `env:"PLAYGROUND" default:"true on loopback, else false" help:"serve the playground at /"`
	CacheDebug    bool     `env:"CACHE_DEBUG" default:"as PLAYGROUND" help:"honour the request header Cache-Debug: 1"`

	TrustedDocuments string `env:"TRUSTED_DOCUMENTS" help:"directory of documents that clients may name by documentId, the SHA-256 of the text" allowed:"a directory with files *.graphql"`
	TrustedOnly      bool   `env:"TRUSTED_ONLY" envDefault:"false" help:"refuse every document that is not in TRUSTED_DOCUMENTS"`

	MaxDepth        int           `env:"MAX_DEPTH" envDefault:"15" min:"1" max:"1000" help:"maximum nesting of fields in an operation"`
	MaxAliases      int           `env:"MAX_ALIASES" envDefault:"30" min:"0" max:"100000" help:"maximum number of aliases in an operation"`
	MaxTokens       int           `env:"MAX_TOKENS" envDefault:"2000" min:"10" max:"1000000" help:"maximum number of lexical tokens in a document"`
	MaxComplexity   int           `env:"MAX_COMPLEXITY" envDefault:"10000" min:"1" max:"1000000000" help:"maximum cost of an operation, and of a batch; list sizes multiply"`
	MaxBatch        int           `env:"MAX_BATCH" envDefault:"10" min:"1" max:"1000" help:"maximum number of operations in a batch"`
	MaxBodyBytes    Bytes         `env:"MAX_BODY_BYTES" envDefault:"1MiB" min:"1KiB" max:"1GiB" help:"maximum size of a request body"`
	RequestTimeout  time.Duration `env:"REQUEST_TIMEOUT" envDefault:"10s" min:"1ms" max:"10m" help:"timeout of a request"`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"10s" min:"1ms" max:"10m" help:"how long a shutdown waits for requests in flight"`

	LogLevel  slog.Level `env:"LOG_LEVEL" cmd:"serve,migrate,seed,evict" envDefault:"info" help:"minimum level of log lines" allowed:"debug, info, warn or error"`
	LogFormat string     `env:"LOG_FORMAT" cmd:"serve,migrate,seed,evict" default:"text on a terminal, else json" help:"format of the log" allowed:"text or json"`

	SeedUsers    int   `env:"SEED_USERS" cmd:"seed" envDefault:"10000" min:"1" max:"10000000" help:"number of users"`
	SeedProducts int   `env:"SEED_PRODUCTS" cmd:"seed" envDefault:"10000" min:"1" max:"10000000" help:"number of products"`
	SeedReviews  int   `env:"SEED_REVIEWS" cmd:"seed" envDefault:"100000" min:"0" max:"100000000" help:"number of reviews"`
	SeedOrders   int   `env:"SEED_ORDERS" cmd:"seed" envDefault:"20000" min:"0" max:"100000000" help:"number of orders"`
	SeedSeed     int64 `env:"SEED_SEED" cmd:"seed" envDefault:"1" help:"seed of the random data; the same seed gives the same data" allowed:"a whole number"`

	TokenUser int64         `env:"TOKEN_USER" cmd:"token" help:"id of the user" allowed:"a whole number from 1"`
	TokenRole string        `env:"TOKEN_ROLE" cmd:"token" help:"role of the user" allowed:"admin, or empty"`
	TokenTTL  time.Duration `env:"TOKEN_TTL" cmd:"token" envDefault:"1h" min:"1s" max:"87600h" help:"lifetime of the token"`

	EvictType       []string `env:"EVICT_TYPE" cmd:"evict" help:"types whose entries to evict, comma separated, such as Product"`
	EvictTag        []string `env:"EVICT_TAG" cmd:"evict" help:"tags whose entries to evict, comma separated"`
	EvictCoordinate []string `env:"EVICT_COORDINATE" cmd:"evict" help:"fields whose entries to evict, comma separated, such as Product.reviews; a field that an audit barred is cached again"`
	EvictRow        []string `env:"EVICT_ROW" cmd:"evict" help:"database rows whose dependent entries to evict, comma separated, such as reviews:9"`
	EvictSoft       bool     `env:"EVICT_SOFT" cmd:"evict" envDefault:"false" help:"mark the entries as stale instead: the next request starts a refresh, and requests get the stale value until it has ended"`

	WarmVariables string `env:"WARM_VARIABLES" cmd:"warm" help:"variables of every operation; empty: those of the JSON file beside each document" allowed:"a JSON object, or a list of objects"`
	WarmToken     string `env:"WARM_TOKEN" cmd:"warm" kind:"secret" help:"token of the user whose responses are cached; empty: public responses"`

	ExplainVariables string `env:"EXPLAIN_VARIABLES" cmd:"explain" help:"values of the operation's variables; empty: keys show the variables' names" allowed:"a JSON object"`
	ExplainOperation string `env:"EXPLAIN_OPERATION" cmd:"explain" help:"name of the operation, if the document has several"`
	ExplainJSON      bool   `env:"EXPLAIN_JSON" cmd:"explain" envDefault:"false" help:"print JSON instead of a table"`

	OutboxSchema  []string `env:"OUTBOX_SCHEMA" cmd:"outbox" help:"files of the GraphQL schema, comma separated" allowed:"paths; * matches names"`
	OutboxDialect string   `env:"OUTBOX_DIALECT" cmd:"outbox" envDefault:"postgres" help:"kind of the database; for sqlite, DATABASE_URL names one that has the tables" allowed:"postgres or sqlite"`
	OutboxIn      string   `env:"OUTBOX_IN" cmd:"outbox" help:"PostgreSQL schema of the outbox, as Options.Schema; empty: the current one" allowed:"a name, without OUTBOX_DIALECT=sqlite"`
	OutboxDown    bool     `env:"OUTBOX_DOWN" cmd:"outbox" envDefault:"false" help:"print what removes the outbox"`
	OutboxWatch   bool     `env:"OUTBOX_WATCH" cmd:"outbox" envDefault:"false" help:"record changes of every column, as Options.Watch needs it"`
	OutboxTable   []string `env:"OUTBOX_TABLE" cmd:"outbox" help:"further tables whose writes to record, comma separated" allowed:"names of tables, with OUTBOX_WATCH"`
}

// Bytes is a size. It is written as a whole number with an optional unit: 1048576, 64KiB, 1.5MB.
type Bytes int64

// UnmarshalText accepts the usual units of sizes.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return errors.New("not a size")
	}
	*b = Bytes(n)
	return nil
}

// AdminRole is the role claim of administrators. Any other role is that of a user.
const AdminRole = "admin"

// Variable describes one field of [Config].
type Variable struct {
	Name, Help string
	Allowed    string // the allowed values, in words; "" for any
	Default    string // in words if it depends on other variables
	Type       string // bool, string, duration, size, list, level or number

	kind     string // "", "secret" or "url"
	commands []string
	field    reflect.StructField
}

// all returns all variables in the order of Config's fields.
func all() []Variable {
	var vars []Variable
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		v := Variable{
			Name: f.Tag.Get("env"), Help: f.Tag.Get("help"), Allowed: f.Tag.Get("allowed"),
			Default: f.Tag.Get("envDefault") + f.Tag.Get("default"), Type: typeName(f.Type),
			kind: f.Tag.Get("kind"), commands: []string{"serve"}, field: f,
		}
		if cmd, ok := f.Tag.Lookup("cmd"); ok {
			v.commands = strings.Split(cmd, ",")
		}
		if lo := f.Tag.Get("min"); lo != "" {
			v.Allowed = lo + " to " + f.Tag.Get("max")
		}
		if v.Type == "bool" {
			v.Allowed = "true or false"
		}
		vars = append(vars, v)
	}
	return vars
}

func typeName(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[bool](), reflect.TypeFor[string]():
		return t.String()
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[Bytes]():
		return "size"
	case reflect.TypeFor[[]string]():
		return "list"
	case reflect.TypeFor[slog.Level]():
		return "level"
	default:
		return "number"
	}
}

// Variables returns the variables of a command in the order of Config's fields.
func Variables(command string) []Variable {
	return slices.DeleteFunc(all(), func(v Variable) bool { return !slices.Contains(v.commands, command) })
}

// Flag returns the name of the flag of v in a command.
func (v Variable) Flag(command string) string {
	name := strings.ToLower(strings.ReplaceAll(v.Name, "_", "-"))
	return strings.TrimPrefix(name, command+"-")
}

// Error is the error for an invalid configuration. It lists all faults, and hints about their causes.
type Error struct{ Faults, Hints []string }

func (e *Error) Error() string {
	return "the configuration is not valid:\n  " + strings.Join(slices.Concat(e.Faults, e.Hints), "\n  ")
}

// Load reads the variables of a command from environ ("NAME=value", as [os.Environ] returns it). set maps
// variables to values of flags, which take precedence. An empty value counts as not given. The error is an
// [*Error] with all faults. The warnings are for the log.
func Load(command string, environ []string, set map[string]string) (cfg Config, warnings []string, err error) {
	given := env.ToMap(environ)
	vars := Variables(command)
	values := map[string]string{}
	for _, v := range vars {
		values[v.Name] = strings.TrimSpace(given[v.Name])
		if value, ok := set[v.Name]; ok {
			values[v.Name] = strings.TrimSpace(value)
		}
	}

	c := checker{values: values, bad: map[string]string{}}
	var parse env.AggregateError
	if err := env.ParseWithOptions(&cfg, env.Options{Environment: values}); errors.As(err, &parse) {
		for _, err := range parse.Errors {
			c.unparsable(err)
		}
	} else if err != nil {
		return Config{}, nil, err
	}

	loopback := IsLoopback(cfg.ListenAddr)
	if values["INTROSPECTION"] == "" {
		cfg.Introspection = loopback
	}
	if values["PLAYGROUND"] == "" {
		cfg.Playground = loopback
	}
	if values["CACHE_DEBUG"] == "" {
		cfg.CacheDebug = cfg.Playground
	}
	for _, list := range []*[]string{&cfg.DatabaseReplicaURLs, &cfg.RedisURL, &cfg.CORSOrigins, &cfg.AllowedHosts, &cfg.IdentityHeaders, &cfg.EvictType, &cfg.EvictTag, &cfg.EvictCoordinate, &cfg.EvictRow, &cfg.CacheShadow, &cfg.OutboxSchema, &cfg.OutboxTable} {
		for i, item := range *list {
			(*list)[i] = strings.TrimSpace(item)
		}
	}

	c.ranges(cfg, vars)
	c.rules(command, cfg)
	if len(c.bad) > 0 {
		return Config{}, nil, &Error{c.faults(vars), misspelled(given)}
	}
	return cfg, warningsOf(command, cfg, given), nil
}

// Open reports whether the server does not verify tokens, so that anyone may run every mutation. This is
// allowed on loopback only.
func (c Config) Open() bool { return c.JWTSecret == "" && c.JWTJWKSURL == "" }

// IsLoopback reports whether only this machine can reach a server that listens on addr.
func IsLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// number parses a bound in a tag, in the unit of a field of type t.
func number(t reflect.Type, text string) (int64, error) {
	switch t {
	case reflect.TypeFor[time.Duration]():
		d, err := time.ParseDuration(text)
		return int64(d), err
	case reflect.TypeFor[Bytes]():
		var b Bytes
		err := b.UnmarshalText([]byte(text))
		return int64(b), err
	default:
		return strconv.ParseInt(text, 10, 64)
	}
}

// Table returns the table of all variables, in Markdown.
func Table() string {
	var b strings.Builder
	b.WriteString("| variable | default | meaning | allowed |\n| --- | --- | --- | --- |\n")
	for _, v := range all() {
		meaning := v.Help
		if !slices.Contains(v.commands, "serve") {
			meaning = fmt.Sprintf("`%s --%s`: %s", v.commands[0], v.Flag(v.commands[0]), meaning)
		}
		def := v.Default
		if def != "" && v.field.Tag.Get("default") == "" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", v.Name, def, meaning, strings.ReplaceAll(v.Allowed, "|", "\\|"))
	}
	return b.String()
}
