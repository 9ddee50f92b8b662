package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"fieldcache/graph"
)

// adminRole is the role claim that makes an administrator. Other roles are a user's.
const adminRole = "admin"

// claims is what a token says: sub is the user's id in decimal.
type claims struct {
	jwt.RegisteredClaims
	Role string `json:"role,omitempty"`
}

// authenticator tells who asks, from the Authorization header.
type authenticator struct {
	open   bool
	parser *jwt.Parser
	key    func(context.Context) jwt.Keyfunc
	keys   keyfunc.Keyfunc // nil with a secret
	log    *slog.Logger
}

// errNoKeys says that the key set could not be read yet, so that no token can be judged.
var errNoKeys = errors.New("the key set has not been read yet")

// How the key set is kept up to date. A token with an unknown key has it read again, at once but not
// too often, and the request waits for that no longer than keySetWait.
const (
	keySetWait     = 2 * time.Second
	keySetRefresh  = 5 * time.Minute
	keySetMinPause = 5 * time.Second
)

// newAuthenticator reads the key set once, where there is one; a server of keys that is down then is
// logged and asked again. The set is kept fresh until ctx ends.
func newAuthenticator(ctx context.Context, cfg Config, log *slog.Logger) (*authenticator, error) {
	a := &authenticator{open: cfg.Open(), log: log}
	options := []jwt.ParserOption{jwt.WithExpirationRequired(), jwt.WithLeeway(5 * time.Second)}
	if cfg.JWTIssuer != "" {
		options = append(options, jwt.WithIssuer(cfg.JWTIssuer))
	}
	if cfg.JWTAudience != "" {
		options = append(options, jwt.WithAudience(cfg.JWTAudience))
	}

	// Each kind of key has its own algorithms. HS256 beside a key set would let everyone sign with a
	// public key as if it were a secret.
	switch {
	case cfg.JWTSecret != "":
		options = append(options, jwt.WithValidMethods([]string{"HS256"}))
		a.key = func(context.Context) jwt.Keyfunc {
			return func(*jwt.Token) (any, error) { return []byte(cfg.JWTSecret), nil }
		}
	case cfg.JWTJWKSURL != "":
		options = append(options, jwt.WithValidMethods([]string{
			"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
		}))
		keys, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{cfg.JWTJWKSURL}, keyfunc.Override{
			HTTPTimeout:       keySetWait,
			RefreshInterval:   keySetRefresh,
			RefreshUnknownKID: rate.NewLimiter(rate.Every(keySetMinPause), 1),
			RateLimitWaitMax:  keySetWait,
			RefreshErrorHandlerFunc: func(string) func(context.Context, error) {
				return func(_ context.Context, err error) {
					log.Error("cannot read the key set of JWT_JWKS_URL; known keys go on being used", "error", err)
				}
			},
		})
		if err != nil {
			return nil, fmt.Errorf("key set of JWT_JWKS_URL: %w", err)
		}
		a.keys, a.key = keys, keys.KeyfuncCtx
	}
	a.parser = jwt.NewParser(options...)
	return a, nil
}

// wrap puts the viewer into each request's context, and answers 401 to what claims to be somebody and
// isn't.
func (a *authenticator) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		viewer, err := a.viewer(r)
		if err != nil {
			w.Header().Add("Vary", "Authorization")
		}
		if errors.Is(err, errNoKeys) {
			a.log.ErrorContext(r.Context(), "token not checked", "error", err)
			w.Header().Set("Retry-After", "5")
			writeError(w, http.StatusServiceUnavailable, "INTERNAL", "Tokens cannot be checked at the moment; please try again.")
			return
		}
		if err != nil {
			a.log.InfoContext(r.Context(), "token refused", "error", err)
			message := "The token is not valid."
			if errors.Is(err, jwt.ErrTokenExpired) {
				message = "The token has expired."
			}
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			writeError(w, http.StatusUnauthorized, "UNAUTHENTICATED", message)
			return
		}
		next.ServeHTTP(w, r.WithContext(graph.WithViewer(r.Context(), viewer)))
	})
}

// viewer is who sent r: nobody without a header. The error is for the log.
func (a *authenticator) viewer(r *http.Request) (graph.Viewer, error) {
	if a.open {
		return graph.Viewer{Open: true}, nil
	}
	header := r.Header.Values("Authorization")
	if len(header) == 0 || len(header) == 1 && header[0] == "" {
		return graph.Viewer{}, nil
	}
	scheme, token, _ := strings.Cut(header[0], " ")
	if len(header) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return graph.Viewer{}, errors.New("the Authorization header is not one bearer token")
	}
	var c claims
	if _, err := a.parser.ParseWithClaims(strings.TrimSpace(token), &c, a.key(r.Context())); err != nil {
		if errors.Is(err, jwt.ErrTokenUnverifiable) && a.noKeys(r.Context()) {
			err = errors.Join(errNoKeys, err)
		}
		return graph.Viewer{}, err
	}
	id, err := strconv.ParseInt(c.Subject, 10, 64)
	if err != nil || id < 1 || strconv.FormatInt(id, 10) != c.Subject {
		return graph.Viewer{}, fmt.Errorf("sub %q is not a user's id", c.Subject)
	}
	return graph.Viewer{ID: id, Admin: c.Role == adminRole}, nil
}

func (a *authenticator) noKeys(ctx context.Context) bool {
	if a.keys == nil {
		return false
	}
	all, err := a.keys.Storage().KeyReadAll(ctx)
	return err != nil || len(all) == 0
}

// signToken makes the token that a server with cfg's secret takes for cfg.TokenUser.
func signToken(cfg Config, now time.Time) (string, error) {
	c := claims{Role: cfg.TokenRole, RegisteredClaims: jwt.RegisteredClaims{
		Subject:   strconv.FormatInt(cfg.TokenUser, 10),
		Issuer:    cfg.JWTIssuer,
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(cfg.TokenTTL)),
	}}
	if cfg.JWTAudience != "" {
		c.Audience = jwt.ClaimStrings{cfg.JWTAudience}
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString([]byte(cfg.JWTSecret))
}
