package serve

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"fieldcache/graph"
	"fieldcache/internal/config"
)

const testSecret = "a secret of at least thirty-two bytes"

// authenticate sends a request with the given Authorization headers through a. It returns the response and
// the viewer, or nil if the request was refused.
func authenticate(a *authenticator, headers ...string) (*httptest.ResponseRecorder, *graph.Viewer) {
	var viewer *graph.Viewer
	r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
	r.Header["Authorization"] = headers
	w := httptest.NewRecorder()
	a.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		v := graph.ViewerFrom(r.Context())
		viewer = &v
	})).ServeHTTP(w, r)
	return w, viewer
}

func newTestAuthenticator(t *testing.T, cfg config.Config) *authenticator {
	t.Helper()
	return newAuthenticator(t.Context(), cfg, slog.New(slog.DiscardHandler))
}

func sign(t *testing.T, method jwt.SigningMethod, key any, kid string, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func claimsOf(sub any, changes ...any) jwt.MapClaims {
	c := jwt.MapClaims{"sub": sub, "exp": time.Now().Add(time.Hour).Unix()}
	for i := 0; i < len(changes); i += 2 {
		c[changes[i].(string)] = changes[i+1]
	}
	return c
}

func newRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func wantRefused(t *testing.T, w *httptest.ResponseRecorder, viewer *graph.Viewer) {
	t.Helper()
	var body struct {
		Errors []struct {
			Message    string
			Extensions struct{ Code string }
		}
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Errors) != 1 || body.Errors[0].Extensions.Code != "UNAUTHENTICATED" {
		t.Errorf("body = %s (%v), want one error UNAUTHENTICATED", w.Body, err)
	}
	if w.Code != http.StatusUnauthorized || viewer != nil {
		t.Errorf("status %d, viewer %+v; want 401 and no viewer", w.Code, viewer)
	}
	if got := w.Header().Get("WWW-Authenticate"); got != `Bearer error="invalid_token"` {
		t.Errorf("WWW-Authenticate = %q", got)
	}
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q", got)
	}
}

func TestAuthOfSecret(t *testing.T) {
	t.Parallel()
	a := newTestAuthenticator(t, config.Config{JWTSecret: testSecret})
	key := []byte(testSecret)
	hs := func(c jwt.MapClaims) string { return "Bearer " + sign(t, jwt.SigningMethodHS256, key, "", c) }
	rsaKey := newRSA(t)
	public, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	hour := time.Hour
	tests := []struct {
		name    string
		headers []string
		want    *graph.Viewer // nil if the request is refused
	}{
		{"no header", nil, &graph.Viewer{}},
		{"empty header", []string{""}, &graph.Viewer{}},
		{"user", []string{hs(claimsOf("42"))}, &graph.Viewer{ID: 42}},
		{"admin", []string{hs(claimsOf("1", "role", "admin"))}, &graph.Viewer{ID: 1, Admin: true}},
		{"another role", []string{hs(claimsOf("42", "role", "Admin"))}, &graph.Viewer{ID: 42}},
		{"scheme in lower case", []string{strings.Replace(hs(claimsOf("42")), "Bearer", "bearer", 1)}, &graph.Viewer{ID: 42}},
		{"expired", []string{hs(claimsOf("42", "exp", time.Now().Add(-time.Minute).Unix()))}, nil},
		{"without exp", []string{"Bearer " + sign(t, jwt.SigningMethodHS256, key, "", jwt.MapClaims{"sub": "42"})}, nil},
		{"not yet", []string{hs(claimsOf("42", "nbf", time.Now().Add(hour).Unix()))}, nil},
		{"another secret", []string{"Bearer " + sign(t, jwt.SigningMethodHS256, []byte(testSecret+"!"), "", claimsOf("42"))}, nil},
		{"another HMAC", []string{"Bearer " + sign(t, jwt.SigningMethodHS512, key, "", claimsOf("42"))}, nil},
		{"unsigned", []string{"Bearer " + sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", claimsOf("42"))}, nil},
		{"RS256", []string{"Bearer " + sign(t, jwt.SigningMethodRS256, rsaKey, "", claimsOf("42"))}, nil},
		{"a public key as secret", []string{"Bearer " + sign(t, jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), "", claimsOf("42"))}, nil},
		{"no sub", []string{hs(jwt.MapClaims{"exp": time.Now().Add(hour).Unix()})}, nil},
		{"sub is a name", []string{hs(claimsOf("ada"))}, nil},
		{"sub is a JSON number", []string{hs(claimsOf(42))}, nil},
		{"sub is zero", []string{hs(claimsOf("0"))}, nil},
		{"sub is negative", []string{hs(claimsOf("-42"))}, nil},
		{"sub with a plus", []string{hs(claimsOf("+42"))}, nil},
		{"sub with zeros in front", []string{hs(claimsOf("042"))}, nil},
		{"sub too large", []string{hs(claimsOf("9223372036854775808"))}, nil},
		{"roles as a list", []string{hs(claimsOf("42", "role", []string{"admin"}))}, nil},
		{"garbage", []string{"Bearer x.y.z"}, nil},
		{"no token", []string{"Bearer"}, nil},
		{"basic", []string{"Basic YTpi"}, nil},
		{"two headers", []string{hs(claimsOf("42")), hs(claimsOf("43"))}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, viewer := authenticate(a, tt.headers...)
			if tt.want == nil {
				wantRefused(t, w, viewer)
			} else if viewer == nil || *viewer != *tt.want {
				t.Errorf("viewer = %+v (%d %s), want %+v", viewer, w.Code, w.Body, *tt.want)
			}
		})
	}
}

// Clocks differ a little, so a token is accepted for a moment after it expires.
func TestAuthLeeway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newTestAuthenticator(t, config.Config{JWTSecret: testSecret})
		token := "Bearer " + sign(t, jwt.SigningMethodHS256, []byte(testSecret), "", claimsOf("42"))
		time.Sleep(time.Hour + 4*time.Second)
		if w, viewer := authenticate(a, token); viewer == nil {
			t.Errorf("4 s after it expired the token was refused: %s", w.Body)
		}
		time.Sleep(2 * time.Second)
		w, viewer := authenticate(a, token)
		wantRefused(t, w, viewer)
	})
}

func TestAuthSaysThatATokenExpired(t *testing.T) {
	t.Parallel()
	a := newTestAuthenticator(t, config.Config{JWTSecret: testSecret})
	w, _ := authenticate(a, "Bearer "+sign(t, jwt.SigningMethodHS256, []byte(testSecret), "", claimsOf("42", "exp", 1)))
	if !strings.Contains(w.Body.String(), "The token has expired.") {
		t.Errorf("body = %s, want the expiry", w.Body)
	}
	w, _ = authenticate(a, "Bearer "+sign(t, jwt.SigningMethodHS256, []byte("wrong"), "", claimsOf("42", "exp", 1)))
	if !strings.Contains(w.Body.String(), "The token is not valid.") {
		t.Errorf("body for a forged and expired token = %s, want not valid", w.Body)
	}
}

func TestAuthOpen(t *testing.T) {
	t.Parallel()
	a := newTestAuthenticator(t, config.Config{})
	for _, headers := range [][]string{nil, {"Bearer garbage"}, {"Basic YTpi"}} {
		if _, viewer := authenticate(a, headers...); viewer == nil || *viewer != (graph.Viewer{Open: true}) {
			t.Errorf("viewer of %q = %+v, want the viewer of an open server", headers, viewer)
		}
	}
}

func TestAuthIssuerAndAudience(t *testing.T) {
	t.Parallel()
	cfg := config.Config{JWTSecret: testSecret, JWTIssuer: "https://id.example", JWTAudience: "shop", TokenUser: 42, TokenTTL: time.Hour}
	a := newTestAuthenticator(t, cfg)
	good, err := SignToken(cfg, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, viewer := authenticate(a, "Bearer "+good); viewer == nil || viewer.ID != 42 {
		t.Errorf("viewer of a token from SignToken = %+v, want user 42", viewer)
	}
	for _, c := range []jwt.MapClaims{
		claimsOf("42"), claimsOf("42", "iss", "https://id.example"), claimsOf("42", "iss", "https://id.example", "aud", "other"),
		claimsOf("42", "iss", "https://evil.example", "aud", "shop"),
	} {
		w, viewer := authenticate(a, "Bearer "+sign(t, jwt.SigningMethodHS256, []byte(testSecret), "", c))
		wantRefused(t, w, viewer)
	}
}

// keyServer publishes a key set that tests can change.
type keyServer struct {
	*httptest.Server
	mu  sync.Mutex
	set []byte // guarded by mu
}

func newKeyServer(t *testing.T, keys map[string]crypto.Signer) *keyServer {
	s := &keyServer{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Write(s.set)
	}))
	t.Cleanup(s.Close)
	s.publish(t, keys)
	return s
}

func (s *keyServer) publish(t *testing.T, keys map[string]crypto.Signer) {
	t.Helper()
	storage := jwkset.NewMemoryStorage()
	for kid, key := range keys {
		jwk, err := jwkset.NewJWKFromKey(key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: kid}})
		if err == nil {
			err = storage.KeyWrite(t.Context(), jwk)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	set, err := storage.JSONPublic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set = set
}

func TestAuthOfKeySet(t *testing.T) {
	t.Parallel()
	rsaKey, stranger := newRSA(t), newRSA(t)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := newKeyServer(t, map[string]crypto.Signer{"r": rsaKey, "e": ecKey})
	a := newTestAuthenticator(t, config.Config{JWTJWKSURL: keys.URL})
	public, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		token string
		good  bool
	}{
		{"RS256", sign(t, jwt.SigningMethodRS256, rsaKey, "r", claimsOf("42")), true},
		{"PS512", sign(t, jwt.SigningMethodPS512, rsaKey, "r", claimsOf("42")), true},
		{"ES256", sign(t, jwt.SigningMethodES256, ecKey, "e", claimsOf("42")), true},
		{"without kid", sign(t, jwt.SigningMethodES256, ecKey, "", claimsOf("42")), true},
		{"a stranger's key", sign(t, jwt.SigningMethodRS256, stranger, "r", claimsOf("42")), false},
		{"another's kid", sign(t, jwt.SigningMethodES256, ecKey, "r", claimsOf("42")), false},
		{"expired", sign(t, jwt.SigningMethodRS256, rsaKey, "r", claimsOf("42", "exp", 1)), false},
		{"the public key as secret", sign(t, jwt.SigningMethodHS256, public, "r", claimsOf("42")), false},
		{"unsigned", sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "r", claimsOf("42")), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, viewer := authenticate(a, "Bearer "+tt.token)
			if !tt.good {
				wantRefused(t, w, viewer)
			} else if viewer == nil || viewer.ID != 42 {
				t.Errorf("viewer = %+v (%d %s), want user 42", viewer, w.Code, w.Body)
			}
		})
	}
}

func TestAuthFollowsKeyRotation(t *testing.T) {
	t.Parallel()
	before, after := newRSA(t), newRSA(t)
	keys := newKeyServer(t, map[string]crypto.Signer{"before": before})
	a := newTestAuthenticator(t, config.Config{JWTJWKSURL: keys.URL})
	old := "Bearer " + sign(t, jwt.SigningMethodRS256, before, "before", claimsOf("42"))
	if w, viewer := authenticate(a, old); viewer == nil {
		t.Fatalf("refused before the rotation: %s", w.Body)
	}
	keys.publish(t, map[string]crypto.Signer{"after": after})
	if w, viewer := authenticate(a, "Bearer "+sign(t, jwt.SigningMethodRS256, after, "after", claimsOf("42"))); viewer == nil {
		t.Errorf("the new key was refused: %s", w.Body)
	}
	w, viewer := authenticate(a, old)
	wantRefused(t, w, viewer)
}

// Without a key set, no token can be verified. That is a server error, not a fault of the token.
// Requests without a token are served.
func TestAuthWithKeyServerDown(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(hang) })
	begin := time.Now()
	a := newTestAuthenticator(t, config.Config{JWTJWKSURL: server.URL})
	if _, viewer := authenticate(a); viewer == nil || *viewer != (graph.Viewer{}) {
		t.Errorf("viewer without a token = %+v, want the anonymous viewer", viewer)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	token := "Bearer " + sign(t, jwt.SigningMethodRS256, newRSA(t), "x", claimsOf("42"))
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/graphql", nil)
	r.Header.Set("Authorization", token)
	w := httptest.NewRecorder()
	a.wrap(http.NotFoundHandler()).ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "INTERNAL") {
		t.Errorf("response to a token = %d %s, want 503", w.Code, w.Body)
	}
	if took := time.Since(begin); took > 4*keySetWait {
		t.Errorf("a hanging key server delayed the requests for %v", took)
	}
}
