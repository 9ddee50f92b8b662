package serve

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/time/rate"
)

// A token with an unknown key causes the key set to be read again, at most once in keySetMinPause. The
// request waits for at most keySetWait.
const (
	keySetWait     = 2 * time.Second
	keySetRefresh  = 5 * time.Minute
	keySetMinPause = 5 * time.Second
	keySetBytes    = 1 << 20
)

// Sizes of RSA keys, in bits. RFC 7518, section 3.3 sets the minimum; the maximum bounds the cost of
// verifying a signature.
const (
	minRSA = 2048
	maxRSA = 8192
)

// errNoKeys says that the key set could not be read yet, so that no token can be verified.
var errNoKeys = errors.New("the key set has not been read yet")

// keySet holds the keys that JWT_JWKS_URL publishes. It keeps the last usable keys while the URL fails or
// publishes none.
type keySet struct {
	url    string
	client http.Client
	log    *slog.Logger
	life   context.Context // for reads, which serve several requests
	again  *rate.Limiter

	mu      sync.Mutex // guards the fields below
	keys    []publicKey
	known   bool          // whether the set was read at least once
	reading chan struct{} // closed when the current read ends; nil if there is none
}

// publicKey is a key that verifies signatures.
type publicKey struct {
	id   string
	algs []jose.SignatureAlgorithm
	key  any
}

// newKeySet reads the set, and refreshes it periodically until ctx ends.
func newKeySet(ctx context.Context, url string, log *slog.Logger) *keySet {
	s := &keySet{
		url: url, log: log, life: ctx, again: rate.NewLimiter(rate.Every(keySetMinPause), 1),
		client: http.Client{Timeout: keySetWait, CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > 3 || via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
				return errors.New("redirected too often, or away from https")
			}
			return nil
		}},
	}
	s.wait(ctx)
	go func() {
		for tick := time.NewTicker(keySetRefresh); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
				s.wait(ctx)
			}
		}
	}()
	return s
}

// find returns the keys that may have signed a token. If there is none, it reads the set again, at most
// once in keySetMinPause.
func (s *keySet) find(ctx context.Context, kid *string, alg jose.SignatureAlgorithm) ([]any, error) {
	keys, _ := s.fitting(kid, alg)
	if len(keys) == 0 && s.again.Allow() {
		s.wait(ctx)
	}
	keys, known := s.fitting(kid, alg)
	switch {
	case !known:
		return nil, errNoKeys
	case len(keys) == 0:
		return nil, errors.New("the key set has no key for the token")
	}
	return keys, nil
}

// fitting returns the known keys for an algorithm that have the id kid, or any id if kid is nil, and
// whether the set is known.
func (s *keySet) fitting(kid *string, alg jose.SignatureAlgorithm) (keys []any, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if (kid == nil || k.id == *kid) && slices.Contains(k.algs, alg) {
			keys = append(keys, k.key)
		}
	}
	return keys, s.known
}

// wait reads the set, once for all concurrent callers, and returns when it is read or ctx ends.
func (s *keySet) wait(ctx context.Context) {
	s.mu.Lock()
	done := s.reading
	if done == nil {
		done = make(chan struct{})
		s.reading = done
		go func() {
			keys, known, err := s.read()
			if err != nil {
				s.log.Error("cannot read the key set of JWT_JWKS_URL; using the known keys", "error", err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.known = s.known || known
			if err == nil {
				s.keys = keys
			}
			s.reading = nil
			close(done)
		}()
	}
	s.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// read reads the set. known is true if the set was read, even if the error says that it has no usable key.
func (s *keySet) read() (keys []publicKey, known bool, err error) {
	r, err := http.NewRequestWithContext(s.life, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, false, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json;q=0.9, */*;q=0.1")
	response, err := s.client.Do(r)
	if err != nil {
		return nil, false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, false, fmt.Errorf("status %d", response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, keySetBytes+1))
	if err != nil {
		return nil, false, err
	}
	if len(text) > keySetBytes {
		return nil, false, fmt.Errorf("longer than %d bytes", keySetBytes)
	}
	set, err := splitKeySet(text)
	if err != nil {
		return nil, false, err
	}
	var refused []error
	for i, text := range set {
		k, err := readKey(text)
		if err != nil {
			refused = append(refused, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, true, errors.Join(append([]error{errors.New("no usable key")}, refused...)...)
	}
	if len(refused) > 0 {
		s.log.Info("ignored some keys of JWT_JWKS_URL", "error", errors.Join(refused...))
	}
	return keys, true, nil
}

// splitKeySet returns the undecoded keys of a set, so that a malformed key does not affect the others.
func splitKeySet(text []byte) (keys []jsontext.Value, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true))
	if start, err := d.ReadToken(); err != nil || start.Kind() != '{' {
		return nil, errors.New("not a JSON object")
	}
	for seen := false; d.PeekKind() == '"'; {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		isKeys := name.String() == "keys"
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		if !isKeys {
			continue
		}
		if seen {
			return nil, errors.New("duplicate member keys")
		}
		seen = true
		if err := json.Unmarshal(value, &keys, jsontext.AllowDuplicateNames(true)); err != nil {
			return nil, err
		}
	}
	if _, err := d.ReadToken(); err != nil { // the end of the object
		return nil, err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, errors.New("unexpected data after the JSON object")
	}
	return keys, nil
}

// readKey reads a key of a set (RFC 7517). It returns an error if the key cannot verify signatures.
func readKey(text jsontext.Value) (publicKey, error) {
	var meta struct {
		ID         string                  `json:"kid"`
		Use        string                  `json:"use"`
		Operations []string                `json:"key_ops"`
		Algorithm  jose.SignatureAlgorithm `json:"alg"`
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		return publicKey{}, err
	}
	switch {
	case meta.Use != "" && meta.Use != "sig":
		return publicKey{}, fmt.Errorf("its use is %q", meta.Use)
	case meta.Operations != nil && !slices.Contains(meta.Operations, "verify"):
		return publicKey{}, fmt.Errorf("its key_ops are %q", meta.Operations)
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(text); err != nil {
		return publicKey{}, err
	}
	algs, err := algorithms(jwk.Key)
	if err != nil {
		return publicKey{}, err
	}
	if meta.Algorithm != "" {
		if !slices.Contains(algs, meta.Algorithm) {
			return publicKey{}, fmt.Errorf("its algorithm is %q", meta.Algorithm)
		}
		algs = []jose.SignatureAlgorithm{meta.Algorithm}
	}
	return publicKey{meta.ID, algs, jwk.Key}, nil
}

// algorithms returns the algorithms that a key may be used with. Each curve has one (RFC 7518, section
// 3.4).
func algorithms(key any) ([]jose.SignatureAlgorithm, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSA || bits > maxRSA || key.E < 3 || key.E%2 == 0 {
			return nil, fmt.Errorf("an RSA key of %d bits, exponent %d", bits, key.E)
		}
		return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}, nil
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}, nil
		case elliptic.P521():
			return []jose.SignatureAlgorithm{jose.ES512}, nil
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}, nil
	}
	return nil, errors.New("not a public key of a known kind") // private and secret ones included
}
