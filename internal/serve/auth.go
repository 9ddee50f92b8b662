package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"fieldcache/cache/apierror"
	"fieldcache/graph"
	"fieldcache/internal/config"
)

// authenticator identifies the viewer by the Authorization header.
type authenticator struct {
	open             bool
	secret           []byte  // for HS256; nil with a key set
	keys             *keySet // nil with a secret
	issuer, audience string  // "" accepts any
	log              *slog.Logger
}

// newAuthenticator reads the key set, if there is one, and refreshes it until ctx ends. If it cannot
// read the set, it logs the error and retries later.
func newAuthenticator(ctx context.Context, cfg config.Config, log *slog.Logger) *authenticator {
	a := &authenticator{open: cfg.Open(), issuer: cfg.JWTIssuer, audience: cfg.JWTAudience, log: log}
	switch {
	case cfg.JWTSecret != "":
		a.secret = []byte(cfg.JWTSecret)
	case cfg.JWTJWKSURL != "":
		a.keys = newKeySet(ctx, cfg.JWTJWKSURL, log)
	}
	return a
}

// wrap adds the viewer to the context of each request. It responds with 401 to a request with an invalid
// token.
func (a *authenticator) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		viewer, err := a.viewer(r)
		if err != nil {
			w.Header().Add("Vary", "Authorization")
		}
		if errors.Is(err, errNoKeys) {
			a.log.ErrorContext(r.Context(), "cannot verify a token", "error", err)
			w.Header().Set("Retry-After", "5")
			writeError(w, apierror.TokensUnavailable)
			return
		}
		if err != nil {
			a.log.InfoContext(r.Context(), "rejected a token", "error", err)
			shown := apierror.InvalidToken
			if errors.Is(err, errExpired) {
				shown = apierror.ExpiredToken
			}
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			writeError(w, shown)
			return
		}
		next.ServeHTTP(w, r.WithContext(graph.WithViewer(r.Context(), viewer)))
	})
}

// viewer returns the viewer that the Authorization header of r identifies, or a zero Viewer if there is
// no such header. The error is for the log.
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
		return graph.Viewer{}, errors.New("the Authorization header does not contain exactly one bearer token")
	}
	c, err := a.claims(r.Context(), strings.TrimSpace(token))
	if err != nil {
		return graph.Viewer{}, err
	}
	id, err := strconv.ParseInt(c.Subject, 10, 64)
	if err != nil || id < 1 || strconv.FormatInt(id, 10) != c.Subject {
		return graph.Viewer{}, fmt.Errorf("sub %q is not a user's id", c.Subject)
	}
	return graph.Viewer{ID: id, Admin: c.Role == config.AdminRole}, nil
}

// claims returns the verified claims of a token.
func (a *authenticator) claims(ctx context.Context, token string) (c claims, err error) {
	header, payload, err := parseToken(token)
	if err != nil {
		return c, err
	}
	// A key set excludes HS256: otherwise anyone could sign a token with a public key as the secret.
	alg, keys := jose.SignatureAlgorithm(header.Algorithm), []any{a.secret}
	switch {
	case a.keys != nil && slices.Contains(asymmetric, alg):
		keys, err = a.keys.find(ctx, header.KeyID, alg)
	case a.keys != nil || alg != jose.HS256:
		err = fmt.Errorf("the token's algorithm is %q", header.Algorithm)
	}
	if err != nil {
		return c, err
	}
	if err := verify(token, alg, keys); err != nil {
		return c, err
	}
	if err := decodeStrict(payload, &c); err != nil {
		return c, fmt.Errorf("the token's claims: %w", err)
	}
	return c, c.check(time.Now(), a.issuer, a.audience)
}

// asymmetric lists the algorithms of key sets.
var asymmetric = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// SignToken signs a token for cfg.TokenUser with cfg.JWTSecret.
func SignToken(cfg config.Config, now time.Time) (string, error) {
	c := claims{
		Subject: strconv.FormatInt(cfg.TokenUser, 10), Role: cfg.TokenRole, Issuer: cfg.JWTIssuer,
		IssuedAt: dateOf(now), Expires: dateOf(now.Add(cfg.TokenTTL)),
	}
	if cfg.JWTAudience != "" {
		c.Audience = audience{cfg.JWTAudience}
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(cfg.JWTSecret)}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
