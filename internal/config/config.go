// Package config is everything that can be set: each variable with its default, its meaning and its check.
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

// Config is everything that can be set. The tags are the one place where a variable's name (env),
// default (envDefault, or default where it depends), meaning (help), bounds (min, max) or rule
// (allowed) stand: flags, variables, help texts and the table of docs/operations.md are made from them.
//
// cmd names the commands that a variable is for (serve where there is none); its flag is its name in kebab case,
// less the command's own name: SEED_USERS is `seed --users`. kind says what must not be shown:
// nothing of a secret, no more than scheme and host of a url.
type Config struct {
	ListenAddr string `env:"LISTEN_ADDR" envDefault:"127.0.0.1:8080" help:"address of GraphQL and the playground" allowed:"host:port; port 0 takes a free one"`
	AdminAddr  string `env:"ADMIN_ADDR" cmd:"serve,evict,top" envDefault:"127.0.0.1:8081" help:"address of metrics, health, eviction and pprof" allowed:"host:port, another than LISTEN_ADDR; port 0 takes a free one"`

	DatabaseURL         string        `env:"DATABASE_URL" cmd:"serve,migrate,seed" kind:"url" envDefault:"sqlite://fieldcache.db" help:"the database" allowed:"postgres://user:password@host:port/name, sqlite://path or sqlite::memory:"`
	DatabaseReplicaURLs []string      `env:"DATABASE_REPLICA_URLS" kind:"url" help:"read replicas, comma separated" allowed:"postgres:// URLs, beside a PostgreSQL DATABASE_URL"`
	DatabaseMaxConns    int           `env:"DATABASE_MAX_CONNS" cmd:"serve,migrate,seed" envDefault:"16" min:"1" max:"10000" help:"connections in each database's pool"`
	DatabaseTimeout     time.Duration `env:"DATABASE_TIMEOUT" cmd:"serve,migrate,seed" envDefault:"5s" min:"10ms" max:"10m" help:"to connect to the database"`
	Migrate             bool          `env:"MIGRATE" envDefault:"false" help:"run migrations at start; the embedded database always does"`

	RedisURL            []string      `env:"REDIS_URL" kind:"url" help:"shared cache tier; none: memory alone; several, comma separated: Cluster" allowed:"redis://, rediss:// (TLS) or unix:// URLs; several of one scheme, and none of unix"`
	RedisSentinelMaster string        `env:"REDIS_SENTINEL_MASTER" help:"name of the master; REDIS_URL then lists Sentinels" allowed:"a name, beside redis:// or rediss:// URLs in REDIS_URL"`
	RedisUsername       string        `env:"REDIS_USERNAME" help:"overrides the user in REDIS_URL"`
	RedisPassword       string        `env:"REDIS_PASSWORD" kind:"secret" help:"overrides the password in REDIS_URL"`
	RedisPrefix         string        `env:"REDIS_PREFIX" help:"in front of every key" allowed:"up to 64 letters, digits and any of . _ : / -"`
	RedisTimeout        time.Duration `env:"REDIS_TIMEOUT" envDefault:"150ms" min:"1ms" max:"10s" help:"for each command"`
	RedisMaxConns       int           `env:"REDIS_MAX_CONNS" envDefault:"40" min:"1" max:"10000" help:"connections to each Redis server"`
	MemoryBytes         Bytes         `env:"MEMORY_BYTES" envDefault:"256MiB" min:"1MiB" max:"1TiB" help:"bound of memory tier, answer cache and documents together"`
	AnswerCache         bool          `env:"ANSWER_CACHE" envDefault:"true" help:"whether whole answers are kept in memory"`
	TagHeader           string        `env:"TAG_HEADER" help:"header that lists what an answer was made of, for a CDN that purges by it; none: no such header" allowed:"Surrogate-Key or Cache-Tag"`
	StaleIfError        time.Duration `env:"STALE_IF_ERROR" envDefault:"60s" min:"0s" max:"1h" help:"how long after the database was last heard of what is cached is answered in place of an error, marked as stale; 0s: strict, never"`
	CacheAudit          int           `env:"CACHE_AUDIT" envDefault:"1000" min:"0" max:"1000000000" help:"one hit in so many, one a second at most, is read again from the database, to see that it is true; 0: none"`
	CacheShadow         []string      `env:"CACHE_SHADOW" help:"coordinates (Product.reviews) and types (Country) that are answered from their sources, while the cache is filled and compared, comma separated; none: no shadow mode" allowed:"names of the schema; * for all"`

	JWTSecret   string `env:"JWT_SECRET" cmd:"serve,token" kind:"secret" help:"key of HS256 tokens" allowed:"at least 32 bytes, and no JWT_JWKS_URL beside it"`
	JWTJWKSURL  string `env:"JWT_JWKS_URL" kind:"url" help:"key set of RS256, PS256, ES256, EdDSA … tokens" allowed:"an http:// or https:// URL, and no JWT_SECRET beside it"`
	JWTIssuer   string `env:"JWT_ISSUER" cmd:"serve,token" help:"the iss a token must have; none: any"`
	JWTAudience string `env:"JWT_AUDIENCE" cmd:"serve,token" help:"the aud a token must have; none: any"`

	IdentityHeaders []string `env:"IDENTITY_HEADERS" envDefault:"Authorization,Cookie" help:"headers that tell who asks, comma separated: a request with one of them gets nothing cached for nobody, and private answers vary by them" allowed:"names of headers; Authorization is always one where tokens are checked"`

	CORSOrigins   []string `env:"CORS_ORIGINS" help:"origins of foreign pages that may ask, comma separated; none: same origin only" allowed:"* or scheme://host[:port] without a path"`
	AllowedHosts  []string `env:"ALLOWED_HOSTS" help:"what Host may say on both ports, beside loopback's names, comma separated; none: on loopback loopback's names alone, else any" allowed:"names or addresses, with a port or for all ports; * for any"`
	Introspection bool     `env:"INTROSPECTION" default:"true on loopback, else false" help:"whether __schema and __type are answered"`
	Playground    bool     `env:"PLAYGROUND" default:"true on loopback, else false" help:"whether GET / is the playground"`
	CacheDebug    bool     `env:"CACHE_DEBUG" default:"as PLAYGROUND" help:"whether the header Cache-Debug: 1 is honoured"`

	TrustedDocuments string `env:"TRUSTED_DOCUMENTS" help:"folder of documents that clients name by documentId, the SHA-256 of their text" allowed:"a folder with files *.graphql"`
	TrustedOnly      bool   `env:"TRUSTED_ONLY" envDefault:"false" help:"whether every other document is refused"`

	MaxDepth        int           `env:"MAX_DEPTH" envDefault:"15" min:"1" max:"1000" help:"nesting of an operation's fields"`
	MaxAliases      int           `env:"MAX_ALIASES" envDefault:"30" min:"0" max:"100000" help:"aliases in an operation"`
	MaxTokens       int           `env:"MAX_TOKENS" envDefault:"2000" min:"10" max:"1000000" help:"lexical tokens in a document"`
	MaxComplexity   int           `env:"MAX_COMPLEXITY" envDefault:"10000" min:"1" max:"1000000000" help:"cost of an operation, list sizes multiplied in; of all operations of a batch together"`
	MaxBatch        int           `env:"MAX_BATCH" envDefault:"10" min:"1" max:"1000" help:"operations in a request"`
	MaxBodyBytes    Bytes         `env:"MAX_BODY_BYTES" envDefault:"1MiB" min:"1KiB" max:"1GiB" help:"size of a request's body"`
	RequestTimeout  time.Duration `env:"REQUEST_TIMEOUT" envDefault:"10s" min:"1ms" max:"10m" help:"for answering a request"`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"10s" min:"1ms" max:"10m" help:"for the requests under way when the server is told to end"`

	LogLevel  slog.Level `env:"LOG_LEVEL" cmd:"serve,migrate,seed,evict" envDefault:"info" help:"least level that is logged" allowed:"debug, info, warn or error"`
	LogFormat string     `env:"LOG_FORMAT" cmd:"serve,migrate,seed,evict" default:"text on a terminal, else json" help:"form of the log" allowed:"text or json"`

	SeedUsers    int   `env:"SEED_USERS" cmd:"seed" envDefault:"10000" min:"1" max:"10000000" help:"how many users"`
	SeedProducts int   `env:"SEED_PRODUCTS" cmd:"seed" envDefault:"10000" min:"1" max:"10000000" help:"how many products"`
	SeedReviews  int   `env:"SEED_REVIEWS" cmd:"seed" envDefault:"100000" min:"0" max:"100000000" help:"how many reviews"`
	SeedOrders   int   `env:"SEED_ORDERS" cmd:"seed" envDefault:"20000" min:"0" max:"100000000" help:"how many orders"`
	SeedSeed     int64 `env:"SEED_SEED" cmd:"seed" envDefault:"1" help:"the same seed makes the same data" allowed:"a whole number"`

	TokenUser int64         `env:"TOKEN_USER" cmd:"token" help:"id of the user whom the token is for" allowed:"a whole number from 1"`
	TokenRole string        `env:"TOKEN_ROLE" cmd:"token" help:"role of the user" allowed:"admin, or none"`
	TokenTTL  time.Duration `env:"TOKEN_TTL" cmd:"token" envDefault:"1h" min:"1s" max:"87600h" help:"how long the token is good"`

	EvictType       []string `env:"EVICT_TYPE" cmd:"evict" help:"types all of whose entries go, comma separated: Product"`
	EvictTag        []string `env:"EVICT_TAG" cmd:"evict" help:"tags whose entries go, comma separated"`
	EvictCoordinate []string `env:"EVICT_COORDINATE" cmd:"evict" help:"fields all of whose values go, comma separated: Product.reviews; one that an audit barred is cached again"`
	EvictRow        []string `env:"EVICT_ROW" cmd:"evict" help:"rows of the database; what is made of them goes, comma separated: reviews:9"`
	EvictSoft       bool     `env:"EVICT_SOFT" cmd:"evict" envDefault:"false" help:"whether what is named is answered once more, to its next reader, while it is loaded anew"`

	ExplainVariables string `env:"EXPLAIN_VARIABLES" cmd:"explain" help:"values of the operation's variables" allowed:"a JSON object; none: keys show the variables' names"`
	ExplainOperation string `env:"EXPLAIN_OPERATION" cmd:"explain" help:"name of the operation, where the document has several"`
	ExplainJSON      bool   `env:"EXPLAIN_JSON" cmd:"explain" envDefault:"false" help:"print JSON in place of a table"`
}

// Bytes is a size. It is written as a whole number with an optional unit: 1048576, 64KiB, 1.5MB.
type Bytes int64

// UnmarshalText knows every unit that people use for sizes.
func (b *Bytes) UnmarshalText(text []byte) error {
	n, err := humanize.ParseBytes(string(text))
	if err != nil || n > 1<<62 {
		return errors.New("not a size")
	}
	*b = Bytes(n)
	return nil
}

// AdminRole is the role claim that makes an administrator. Other roles are a user's.
const AdminRole = "admin"

// Variable is what the tags of one field of [Config] say.
type Variable struct {
	Name, Help string
	Allowed    string // what values there are, in words; "" for any
	Default    string // as shown; where it depends on others, in words
	Type       string // bool, string, duration, size, list, level or number

	kind     string // "", "secret" or "url"
	commands []string
	field    reflect.StructField
}

// all lists every variable in the order of Config's fields.
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

// Variables lists the variables of one command, in the order of Config's fields.
func Variables(command string) []Variable {
	return slices.DeleteFunc(all(), func(v Variable) bool { return !slices.Contains(v.commands, command) })
}

// Flag is the name of v's flag at command.
func (v Variable) Flag(command string) string {
	name := strings.ToLower(strings.ReplaceAll(v.Name, "_", "-"))
	return strings.TrimPrefix(name, command+"-")
}

// Error tells every fault of a configuration at once, and what may have led to them.
type Error struct{ Faults, Hints []string }

func (e *Error) Error() string {
	return "the configuration cannot be used:\n  " + strings.Join(slices.Concat(e.Faults, e.Hints), "\n  ")
}

// Load reads command's part of the configuration out of environ ("NAME=value" lines, as of
// os.Environ), overlaid by set, the values given as flags under their variables' names. An empty value
// counts as not given. The error, an [*Error], names every fault; the warnings are for the log.
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
	for _, list := range []*[]string{&cfg.DatabaseReplicaURLs, &cfg.RedisURL, &cfg.CORSOrigins, &cfg.AllowedHosts, &cfg.IdentityHeaders, &cfg.EvictType, &cfg.EvictTag, &cfg.EvictCoordinate, &cfg.EvictRow, &cfg.CacheShadow} {
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

// Open says whether nobody's tokens are checked: everyone may do everything, on loopback only.
func (c Config) Open() bool { return c.JWTSecret == "" && c.JWTJWKSURL == "" }

// IsLoopback reports whether only this machine reaches a server that listens on addr.
func IsLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// number reads a bound out of a tag, in the unit of a field of type t.
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

// Table is the table of all variables, in Markdown.
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
