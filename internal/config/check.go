package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/caarlos0/env/v11"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"
)

// checker collects the faults of a configuration, at most one for each variable.
type checker struct {
	values map[string]string // as given, by variable; "" if none was given
	bad    map[string]string // the fault, by variable
}

func (c checker) fail(name, format string, args ...any) {
	if _, known := c.bad[name]; !known {
		c.bad[name] = fmt.Sprintf(format, args...)
	}
}

// faults returns the faults in the order of Config's fields, each with the value and the allowed values.
func (c checker) faults(vars []Variable) []string {
	var faults []string
	for _, v := range vars {
		problem, ok := c.bad[v.Name]
		if !ok {
			continue
		}
		line := v.Name
		if value := c.values[v.Name]; value != "" {
			line += "=" + v.shown(value)
		} else if v.Default != "" {
			line += fmt.Sprintf("=%q (the default)", v.Default)
		}
		line += ": " + problem
		if v.Allowed != "" {
			line += "; allowed: " + v.Allowed
		}
		faults = append(faults, line)
	}
	return faults
}

// shown returns the form of value that errors and logs may contain.
func (v Variable) shown(value string) string {
	switch v.kind {
	case "secret":
		return "(not shown)"
	case "url":
		var shown []string
		for item := range strings.SplitSeq(value, ",") {
			shown = append(shown, RedactURL(strings.TrimSpace(item)))
		}
		return strconv.Quote(strings.Join(shown, ","))
	default:
		return strconv.Quote(value)
	}
}

// RedactURL returns the scheme, host and path of a URL. The rest may contain a password, as may any part of
// a text that is not a URL.
func RedactURL(text string) string {
	u, err := url.Parse(text)
	switch scheme, _, ok := strings.Cut(text, "://"); {
	case err == nil && u.Opaque != "":
		return u.Scheme + ":" + u.Opaque
	case err == nil && u.Scheme != "":
		return u.Scheme + "://" + u.Host + u.Path
	case ok && schemePattern.MatchString(scheme):
		return scheme + "://…"
	default:
		return "…"
	}
}

var (
	schemePattern = regexp.MustCompile(`^[a-z]{1,16}$`)
	headerPattern = regexp.MustCompile("^[A-Za-z0-9!#$%&'+.^_`|~-]+$") // a token of HTTP without *
	prefixPattern = regexp.MustCompile(`^[A-Za-z0-9._:/-]{0,64}$`)
)

// unparsable records an error of the env library, which names the field and not the variable.
func (c checker) unparsable(err error) {
	var parse env.ParseError
	if !errors.As(err, &parse) {
		panic(err) // a fault in Config's tags, which occurs at every start
	}
	f, _ := reflect.TypeFor[Config]().FieldByName(parse.Name)
	var problem string
	switch {
	case errors.Is(parse.Err, strconv.ErrRange):
		problem = "out of range"
	case f.Type == reflect.TypeFor[time.Duration]():
		problem = "not a duration with a unit, like 150ms or 10s"
	case f.Type == reflect.TypeFor[Bytes]():
		problem = "not a size, like 64KiB or 256MiB"
	case f.Type.Kind() == reflect.Bool:
		problem = "neither true nor false"
	case parse.Name == "LogLevel":
		problem = "not a level"
	default:
		problem = "not a whole number"
	}
	c.fail(f.Tag.Get("env"), "%s", problem)
}

// ranges checks numbers against the bounds in the tags.
func (c checker) ranges(cfg Config, vars []Variable) {
	for _, v := range vars {
		if v.field.Tag.Get("min") == "" {
			continue
		}
		lo, err1 := number(v.field.Type, v.field.Tag.Get("min"))
		hi, err2 := number(v.field.Type, v.field.Tag.Get("max"))
		if err := errors.Join(err1, err2); err != nil {
			panic(fmt.Errorf("tags of %s: %w", v.Name, err))
		}
		if n := reflect.ValueOf(cfg).FieldByIndex(v.field.Index).Int(); n < lo || n > hi {
			c.fail(v.Name, "out of range")
		}
	}
}

// rules checks what tags cannot express: the form of addresses and URLs, and combinations of variables.
func (c checker) rules(command string, cfg Config) {
	c.each("LISTEN_ADDR", checkAddr, cfg.ListenAddr)
	c.each("ADMIN_ADDR", checkAddr, cfg.AdminAddr)
	c.each("DATABASE_URL", checkDatabase, cfg.DatabaseURL)
	c.each("DATABASE_REPLICA_URLS", checkReplica, cfg.DatabaseReplicaURLs...)
	if len(cfg.DatabaseReplicaURLs) > 0 && !strings.HasPrefix(cfg.DatabaseURL, "postgres") {
		c.fail("DATABASE_REPLICA_URLS", "the embedded database has no replicas")
	}
	c.redis(cfg)
	if !prefixPattern.MatchString(cfg.RedisPrefix) {
		c.fail("REDIS_PREFIX", "too long, or has other characters")
	}
	if !slices.Contains([]string{"", "Surrogate-Key", "Cache-Tag"}, cfg.TagHeader) {
		c.fail("TAG_HEADER", "unknown")
	}
	c.each("JWT_JWKS_URL", checkJWKS, cfg.JWTJWKSURL)
	c.each("CORS_ORIGINS", checkOrigin, cfg.CORSOrigins...)
	c.each("ALLOWED_HOSTS", checkHost, cfg.AllowedHosts...)
	c.each("IDENTITY_HEADERS", checkHeader, cfg.IdentityHeaders...)
	if cfg.LogFormat != "" && cfg.LogFormat != "text" && cfg.LogFormat != "json" {
		c.fail("LOG_FORMAT", "unknown")
	}
	if cfg.JWTSecret != "" && len(cfg.JWTSecret) < 32 {
		c.fail("JWT_SECRET", "only %d bytes", len(cfg.JWTSecret))
	}

	switch command {
	case "serve":
		if cfg.JWTSecret != "" && cfg.JWTJWKSURL != "" {
			c.fail("JWT_JWKS_URL", "must not be set together with JWT_SECRET")
		}
		if cfg.Open() && !IsLoopback(cfg.ListenAddr) {
			c.fail("LISTEN_ADDR", "anyone who can reach this address could run every mutation; set JWT_SECRET or JWT_JWKS_URL, or listen on 127.0.0.1")
		}
		if cfg.TrustedOnly && cfg.TrustedDocuments == "" {
			c.fail("TRUSTED_ONLY", "requires TRUSTED_DOCUMENTS; without it the server would refuse every document")
		}
		if sameAddr(cfg.ListenAddr, cfg.AdminAddr) {
			c.fail("ADMIN_ADDR", "the port is already used by LISTEN_ADDR=%q", cfg.ListenAddr)
		}
	case "outbox":
		switch {
		case !slices.Contains([]string{"postgres", "sqlite"}, cfg.OutboxDialect):
			c.fail("OUTBOX_DIALECT", "unknown")
		case cfg.OutboxDialect == "sqlite" && !strings.HasPrefix(cfg.DatabaseURL, "sqlite://"):
			c.fail("DATABASE_URL", "must be the SQLite file with the tables that the triggers are for, as sqlite://path")
		case cfg.OutboxDialect == "sqlite" && cfg.OutboxIn != "":
			c.fail("OUTBOX_IN", "SQLite has no schemas")
		}
		if len(cfg.OutboxTable) > 0 && !cfg.OutboxWatch {
			c.fail("OUTBOX_TABLE", "requires OUTBOX_WATCH")
		}
	case "token":
		if cfg.JWTSecret == "" {
			c.fail("JWT_SECRET", "required: it signs the token")
		}
		if cfg.TokenUser == 0 {
			c.fail("TOKEN_USER", "required, such as --user 42")
		} else if cfg.TokenUser < 0 {
			c.fail("TOKEN_USER", "out of range")
		}
		if cfg.TokenRole != "" && cfg.TokenRole != AdminRole {
			c.fail("TOKEN_ROLE", "unknown")
		}
	}
}

// each records the error of the first value that check rejects. It skips a single empty value.
func (c checker) each(name string, check func(string) error, values ...string) {
	for _, value := range values {
		if value == "" && len(values) == 1 {
			continue
		}
		if err := check(value); err != nil {
			c.fail(name, "%v", err)
		}
	}
}

func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("not host:port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("port %q is not a number from 0 to 65535", port)
	} else if strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("port %q has a sign or leading zeros", port)
	}
	return nil
}

// sameAddr reports whether two listeners would use the same port.
func sameAddr(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	every := []string{"", "0.0.0.0", "::"}
	return hostA == hostB || slices.Contains(every, hostA) || slices.Contains(every, hostB) || IsLoopback(a) && IsLoopback(b)
}

func checkDatabase(text string) error {
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok {
		file, isFile := strings.CutPrefix(path, "//")
		if isFile && file != "" || strings.HasPrefix(path, ":memory:") {
			return nil
		}
		return errors.New("sqlite without a path")
	}
	return checkReplica(text)
}

func checkReplica(text string) error {
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return errors.New("not a URL of PostgreSQL or SQLite")
	}
	if _, err := pgconn.ParseConfig(text); err != nil {
		return errors.New("not a PostgreSQL URL") // err may quote parts of the password
	}
	return nil
}

func (c checker) redis(cfg Config) {
	schemes := map[string]bool{}
	for _, text := range cfg.RedisURL {
		options, err := redis.ParseURL(text)
		if err != nil {
			c.fail("REDIS_URL", "not a Redis URL") // err may quote parts of the password
			return
		}
		scheme, _, _ := strings.Cut(text, "://")
		schemes[scheme] = true
		if len(cfg.RedisURL) > 1 && cfg.RedisSentinelMaster == "" && options.DB != 0 {
			c.fail("REDIS_URL", "a Cluster has no database other than 0")
		}
	}
	if len(schemes) > 1 {
		c.fail("REDIS_URL", "the URLs have different schemes")
	}
	if schemes["unix"] && len(cfg.RedisURL) > 1 {
		c.fail("REDIS_URL", "several unix sockets; one is allowed")
	}
	if cfg.RedisSentinelMaster != "" && (len(cfg.RedisURL) == 0 || schemes["unix"]) {
		c.fail("REDIS_SENTINEL_MASTER", "REDIS_URL lists no Sentinels")
	}
}

func checkJWKS(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("not an http or https URL")
	}
	return nil
}

func checkOrigin(origin string) error {
	if origin == "*" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != strings.ToLower(origin) || strings.Contains(u.Host, "*") {
		return fmt.Errorf("%q is not an origin", origin)
	}
	return nil
}

func checkHeader(name string) error {
	if !headerPattern.MatchString(name) {
		return fmt.Errorf("%q is not a header name", name)
	}
	return nil
}

// warningsOf returns warnings about valid values that may be mistakes.
func warningsOf(command string, cfg Config, given map[string]string) []string {
	var warnings []string
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if command == "serve" {
		if cfg.Open() {
			warn("open server: anyone on this machine may run every mutation; set JWT_SECRET or JWT_JWKS_URL to verify tokens")
		}
		if cfg.Open() && slices.Contains(cfg.CORSOrigins, "*") {
			warn("open server with CORS_ORIGINS=*: any page in a browser on this machine may run every mutation")
		}
		if cfg.Open() && slices.Contains(cfg.AllowedHosts, "*") {
			warn("open server with ALLOWED_HOSTS=*: any page whose name resolves to this machine may run every mutation")
		}
		if !IsLoopback(cfg.AdminAddr) {
			warn("ADMIN_ADDR=%q is not on loopback: eviction and pprof are open to anyone who can reach it", cfg.AdminAddr)
		}
		if u, err := url.Parse(cfg.JWTJWKSURL); err == nil && u.Scheme == "http" && !IsLoopback(net.JoinHostPort(u.Hostname(), "80")) {
			warn("JWT_JWKS_URL is not https: anyone who can change the response can sign tokens")
		}
	}
	return append(warnings, misspelled(given)...)
}

// misspelled returns warnings about unknown variables whose names are similar to known ones.
func misspelled(given map[string]string) []string {
	known := map[string]bool{}
	for _, v := range all() {
		known[v.Name] = true
	}
	var warnings []string
	for name := range given {
		if known[name] {
			continue
		}
		if ours, ok := Nearest(strings.ToUpper(name), known); ok {
			warnings = append(warnings, fmt.Sprintf("unknown variable %s: did you mean %s?", name, ours))
		}
	}
	slices.Sort(warnings)
	return warnings
}

// Nearest returns the name in names that is closest to name. It reports false if none is within two edits.
func Nearest(name string, names map[string]bool) (string, bool) {
	best, distance := "", 3
	for candidate := range names {
		d := levenshtein.ComputeDistance(name, candidate)
		if d < distance || d == distance && candidate < best {
			best, distance = candidate, d
		}
	}
	return best, distance < 3
}
