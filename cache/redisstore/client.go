package redisstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options configure a [Store].
type Options struct {
	// URLs are redis://, rediss:// (TLS) or unix:// addresses. One is a single server; several are
	// the seeds of a Cluster or, with SentinelMaster, the Sentinels. The parameter ?skip_verify=true
	// of a rediss:// address disables the verification of the server's certificate. Required.
	URLs []string
	// SentinelMaster is the name of the primary in the Sentinels' configuration. If empty, Sentinel is
	// not used.
	SentinelMaster string
	// Username and Password are the credentials for the servers. They override those in the URLs,
	// which with Sentinel are the credentials for the Sentinels.
	Username, Password string
	// RootCAs are the certificate authorities for rediss:// servers. Default: the system's, which on
	// Linux the variables SSL_CERT_FILE and SSL_CERT_DIR may replace.
	RootCAs *x509.CertPool
	// Prefix is prepended to every key and to the channel of evictions. It must not contain braces.
	Prefix string
	// Timeout is the timeout for connecting, for each read and each write, and for waiting for a free
	// connection. Default: 150 ms.
	Timeout time.Duration
	// PoolSize is the maximum number of connections to each server. Default: 10 per processor.
	PoolSize int
	// Instrument is called with the client before its first command, to add hooks for traces or
	// metrics. May be nil.
	Instrument func(redis.UniversalClient) error
	// Log is the logger. Default: slog.Default().
	Log *slog.Logger
}

// Check returns an error for everything that is wrong with the options, or nil. The error never
// contains a password.
func (o Options) Check() error {
	_, err := o.universal()
	return err
}

// universal converts the options to those of go-redis.
func (o Options) universal() (*redis.UniversalOptions, error) {
	var errs []error
	if len(o.URLs) == 0 {
		errs = append(errs, errors.New("Options.URLs is required"))
	}
	if strings.ContainsAny(o.Prefix, "{}") {
		errs = append(errs, errors.New("the prefix must not contain braces: they would move keys to other slots of a cluster"))
	}
	u := &redis.UniversalOptions{
		MasterName: o.SentinelMaster,
		// A user with few privileges may not set the connection's name or the client's version. Neither is
		// needed.
		DisableIdentity: true,
		OnConnect: func(ctx context.Context, conn *redis.Conn) error {
			_ = conn.ClientSetName(ctx, "fieldcache").Err()
			return nil
		},

		// A slow cache is worse than none: fail fast, and retry once.
		DialTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, PoolTimeout: o.Timeout,
		ContextTimeoutEnabled: true,
		MaxRetries:            1, MinRetryBackoff: time.Millisecond, MaxRetryBackoff: 10 * time.Millisecond,
		DialerRetries: 1,
		// Pipelines have no pool of their own, which would add to the connections.
		PoolSize: o.PoolSize, PipelinePoolSize: -1,
		IsClusterMode: len(o.URLs) > 1 && o.SentinelMaster == "",
		// While slots move, nodes with outdated knowledge redirect clients back and forth.
		MaxRedirects: 8,

		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	for i, raw := range o.URLs {
		one, err := redis.ParseURL(raw)
		if err != nil {
			errs = append(errs, fmt.Errorf("address %d: %w", i+1, urlError(raw, err)))
			continue
		}
		for name := range parameters(raw) {
			if name != "db" && name != "skip_verify" {
				errs = append(errs, fmt.Errorf("address %d: the parameter %s has no effect here; allowed are db and skip_verify", i+1, name))
			}
		}
		if u.IsClusterMode && one.DB != 0 {
			errs = append(errs, fmt.Errorf("address %d: a cluster has database 0 only", i+1))
		}
		if i > 0 && (one.TLSConfig != nil) != (u.TLSConfig != nil) {
			errs = append(errs, fmt.Errorf("address %d: all addresses are rediss:// or none is", i+1))
		}
		if len(o.URLs) > 1 && one.Network == "unix" {
			errs = append(errs, fmt.Errorf("address %d: a unix socket is a single server", i+1))
		}
		u.Addrs = append(u.Addrs, one.Addr)
		u.DB = one.DB
		if one.TLSConfig != nil && u.TLSConfig == nil {
			u.TLSConfig = one.TLSConfig
			u.TLSConfig.MinVersion = tls.VersionTLS12
			u.TLSConfig.RootCAs = o.RootCAs
			u.TLSConfig.ServerName = "" // go-redis sets it for each server, also for those that a Sentinel returns
		}
		if o.SentinelMaster != "" {
			u.SentinelUsername, u.SentinelPassword = one.Username, one.Password
		} else {
			u.Username, u.Password = one.Username, one.Password
		}
	}
	if o.Username != "" {
		u.Username = o.Username
	}
	if o.Password != "" {
		u.Password = o.Password
	}
	return u, errors.Join(errs...)
}

// parameters returns the query parameters of a valid URL.
func parameters(raw string) url.Values {
	u, err := url.Parse(raw)
	if err != nil {
		return nil
	}
	return u.Query()
}

// connect returns a client. It sends nothing yet.
func connect(u *redis.UniversalOptions) redis.UniversalClient {
	if !u.IsClusterMode {
		client := redis.NewUniversalClient(u)
		client.AddHook(&server{})
		return client
	}
	c := u.Cluster()
	// Routing policies serve commands that go to several nodes, which we do not use. They would request
	// the server's list of commands first, with a timeout of 5 s.
	c.DisableRoutingPolicies = true
	client := redis.NewClusterClient(c)
	client.AddHook(pipelines{})
	client.OnNewNode(func(node *redis.Client) { node.AddHook(greeting{}) })
	return client
}

// urlError returns err without the URL, which may hold a password.
func urlError(raw string, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if strings.Contains(err.Error(), raw) {
		err = errors.New("not a Redis URL")
	}
	return fmt.Errorf("%w; allowed are redis://host:port/database, rediss://… and unix:///path", err)
}
