package serve

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fieldcache/graph"
	"fieldcache/internal/config"
)

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// forge signs a header and claims verbatim with the secret of the tests.
func forge(header, claims string) string {
	signed := b64(header) + "." + b64(claims)
	mac := hmac.New(sha256.New, []byte(testSecret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Tokens are parsed strictly: what another parser could read differently is refused.
func TestFault31TokensAreReadStrictly(t *testing.T) {
	t.Parallel()
	a := newTestAuthenticator(t, config.Config{JWTSecret: testSecret})
	const header = `{"alg":"HS256","typ":"JWT"}`
	now := time.Now().Unix()
	good, past := fmt.Sprintf(`"exp":%d`, now+3600), fmt.Sprintf(`"exp":%d`, now-3600)
	// with replaces the placeholders EXP and PAST by a future and a past time.
	with := func(claims string) string {
		return strings.NewReplacer("EXP", fmt.Sprint(now+3600), "PAST", fmt.Sprint(now-3600)).Replace(claims)
	}
	six, admin := &graph.Viewer{ID: 6}, &graph.Viewer{ID: 6, Admin: true}
	for name, c := range map[string]struct {
		header, claims string
		want           *graph.Viewer // nil if the token is refused
	}{
		"plain":                        {header, `{"sub":"6",` + good + `}`, six},
		"an administrator":             {header, `{"sub":"6","role":"admin",` + good + `}`, admin},
		"other claims":                 {header, `{"sub":"6","name":"Ada","realm_access":{"roles":["x"]},"iat":1,` + good + `}`, six},
		"Role":                         {header, `{"sub":"6","Role":"admin",` + good + `}`, six},
		"ROLE and role":                {header, `{"sub":"6","role":"","ROLE":"admin",` + good + `}`, six},
		"ſub":                          {header, `{"ſub":"6",` + good + `}`, nil},
		"SUB":                          {header, `{"SUB":"6",` + good + `}`, nil},
		"SUB and sub":                  {header, `{"sub":"6","SUB":"7",` + good + `}`, six},
		"an escaped name":              {header, `{"s\u0075b":"6",` + good + `}`, six},
		"EXP and a past exp":           {header, `{"sub":"6",` + past + `,"Exp":` + with("EXP") + `}`, nil},
		"sub twice":                    {header, `{"sub":"6","sub":"7",` + good + `}`, nil},
		"sub twice, once escaped":      {header, `{"sub":"6","s\u0075b":"7",` + good + `}`, nil},
		"exp twice":                    {header, `{"sub":"6",` + past + `,` + good + `}`, nil},
		"a name twice further in":      {header, `{"sub":"6","x":{"a":1,"a":2},` + good + `}`, nil},
		"data after it":                {header, `{"sub":"6",` + good + `}{}`, nil},
		"a list":                       {header, `[{"sub":"6",` + good + `}]`, nil},
		"null":                         {header, `null`, nil},
		"not UTF-8":                    {header, "{\"sub\":\"6\",\"n\":\"\xff\"," + good + `}`, nil},
		"half a surrogate pair":        {header, `{"sub":"6","n":"\ud800",` + good + `}`, nil},
		"sub is a number":              {header, `{"sub":6,` + good + `}`, nil},
		"sub is a list":                {header, `{"sub":["6"],` + good + `}`, nil},
		"sub is null":                  {header, `{"sub":null,` + good + `}`, nil},
		"role is a list":               {header, `{"sub":"6","role":["admin"],` + good + `}`, nil},
		"role is true":                 {header, `{"sub":"6","role":true,` + good + `}`, nil},
		"iss is a number":              {header, `{"sub":"6","iss":1,` + good + `}`, nil},
		"aud is a number":              {header, `{"sub":"6","aud":1,` + good + `}`, nil},
		"aud has a number":             {header, `{"sub":"6","aud":["a",1],` + good + `}`, nil},
		"exp is a text":                {header, with(`{"sub":"6","exp":"EXP"}`), nil},
		"exp is null":                  {header, `{"sub":"6","exp":null}`, nil},
		"exp has a fraction":           {header, with(`{"sub":"6","exp":EXP.5}`), six},
		"exp has a fraction, and past": {header, with(`{"sub":"6","exp":PAST.5}`), nil},
		"exp with an exponent":         {header, `{"sub":"6","exp":2.5e11}`, six},
		"exp is huge":                  {header, `{"sub":"6","exp":1e300}`, nil},
		"exp is beyond numbers":        {header, `{"sub":"6","exp":1e999}`, nil},
		"exp of 64 bits":               {header, `{"sub":"6","exp":9223372036854775807}`, nil},
		"exp wraps":                    {header, `{"sub":"6","exp":18446744073709551617}`, nil},
		"exp is negative":              {header, `{"sub":"6","exp":-1}`, nil},
		"exp is true":                  {header, `{"sub":"6","exp":true}`, nil},
		"no exp":                       {header, `{"sub":"6"}`, nil},
		"nbf is a text":                {header, `{"sub":"6","nbf":"1",` + good + `}`, nil},
		"nbf is null":                  {header, `{"sub":"6","nbf":null,` + good + `}`, nil},
		"nbf ahead":                    {header, with(`{"sub":"6","nbf":EXP,"exp":EXP}`), nil},
		"NBF ahead":                    {header, with(`{"sub":"6","NBF":EXP,"exp":EXP}`), six},
		"iat is a text":                {header, `{"sub":"6","iat":"1",` + good + `}`, nil},

		"a header without typ":     {`{"alg":"HS256"}`, `{"sub":"6",` + good + `}`, six},
		"at+jwt":                   {`{"alg":"HS256","typ":"at+JWT"}`, `{"sub":"6",` + good + `}`, six},
		"application/at+jwt":       {`{"alg":"HS256","typ":"application/at+jwt"}`, `{"sub":"6",` + good + `}`, six},
		"a logout token":           {`{"alg":"HS256","typ":"logout+jwt"}`, `{"sub":"6",` + good + `}`, nil},
		"a proof of possession":    {`{"alg":"HS256","typ":"dpop+jwt"}`, `{"sub":"6",` + good + `}`, nil},
		"crit":                     {`{"alg":"HS256","crit":["http://example.com/UNDEFINED"],"http://example.com/UNDEFINED":true}`, `{"sub":"6",` + good + `}`, nil},
		"empty crit":               {`{"alg":"HS256","crit":[]}`, `{"sub":"6",` + good + `}`, nil},
		"crit is null":             {`{"alg":"HS256","crit":null}`, `{"sub":"6",` + good + `}`, nil},
		"crit of exp":              {`{"alg":"HS256","crit":["exp"],"exp":1}`, `{"sub":"6",` + good + `}`, nil},
		"b64":                      {`{"alg":"HS256","b64":false,"crit":["b64"]}`, `{"sub":"6",` + good + `}`, nil},
		"b64 without crit":         {`{"alg":"HS256","b64":true}`, `{"sub":"6",` + good + `}`, nil},
		"alg twice":                {`{"alg":"none","alg":"HS256"}`, `{"sub":"6",` + good + `}`, nil},
		"Alg":                      {`{"Alg":"HS256"}`, `{"sub":"6",` + good + `}`, nil},
		"Alg none and alg":         {`{"alg":"HS256","Alg":"none"}`, `{"sub":"6",` + good + `}`, six},
		"alg in another case":      {`{"alg":"hs256"}`, `{"sub":"6",` + good + `}`, nil},
		"none":                     {`{"alg":"none"}`, `{"sub":"6",` + good + `}`, nil},
		"no alg":                   {`{}`, `{"sub":"6",` + good + `}`, nil},
		"kid is a number":          {`{"alg":"HS256","kid":1}`, `{"sub":"6",` + good + `}`, nil},
		"a header that is a list":  {`["HS256"]`, `{"sub":"6",` + good + `}`, nil},
		"data after the header":    {header + "{}", `{"sub":"6",` + good + `}`, nil},
		"a key of its own":         {`{"alg":"HS256","jku":"http://127.0.0.1:1/"}`, `{"sub":"6",` + good + `}`, six},
		"a header of another name": {`{"alg":"HS256","x":{"alg":"none"}}`, `{"sub":"6",` + good + `}`, six},
	} {
		t.Run(name, func(t *testing.T) {
			w, viewer := authenticate(a, "Bearer "+forge(c.header, c.claims))
			if c.want == nil {
				wantRefused(t, w, viewer)
			} else if viewer == nil || *viewer != *c.want {
				t.Errorf("viewer = %+v (%d %s), want %+v", viewer, w.Code, w.Body, *c.want)
			}
		})
	}
}

// A token has only one accepted encoding.
func TestFault31TokensHaveOneForm(t *testing.T) {
	t.Parallel()
	a := newTestAuthenticator(t, config.Config{JWTSecret: testSecret})
	token := forge(`{"alg":"HS256"}`, fmt.Sprintf(`{"sub":"6","exp":%d}`, time.Now().Unix()+3600))
	if w, viewer := authenticate(a, "Bearer "+token); viewer == nil {
		t.Fatalf("the token itself was refused: %s", w.Body)
	}
	parts := strings.Split(token, ".")
	last := parts[2][len(parts[2])-1]
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for name, text := range map[string]string{
		"padding":              token + "=",
		"bits left over":       token[:len(token)-1] + string(alphabet[strings.IndexByte(alphabet, last)|1]),
		"a line break":         parts[0] + "." + parts[1] + "\n." + parts[2],
		"two parts":            parts[0] + "." + parts[1],
		"four parts":           token + ".x",
		"an empty part":        parts[0] + ".." + parts[2],
		"standard base64":      token[:len(token)-1] + "+",
		"JSON":                 fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`, parts[1], parts[0], parts[2]),
		"a space in it":        parts[0] + ". " + parts[1] + "." + parts[2],
		"two tokens":           token + ", Bearer " + token,
		"too long":             token + strings.Repeat("A", maxToken),
		"another's signature":  parts[0] + "." + parts[1] + "." + b64(strings.Repeat("x", 32)),
		"a signature too long": token + b64("xxx"),
	} {
		if text == token {
			t.Fatalf("%s: the text equals the token", name)
		}
		t.Run(name, func(t *testing.T) {
			w, viewer := authenticate(a, "Bearer "+text)
			wantRefused(t, w, viewer)
		})
	}
}

func TestFault31Audience(t *testing.T) {
	t.Parallel()
	a := newTestAuthenticator(t, config.Config{JWTSecret: testSecret, JWTAudience: "shop", JWTIssuer: "us"})
	for claims, good := range map[string]bool{
		`"iss":"us","aud":"shop"`: true, `"iss":"us","aud":["x","shop"]`: true, `"iss":"us","aud":"SHOP"`: false, `"iss":"us","Aud":"shop"`: false,
		`"iss":"us","aud":["shop,x"]`: false, `"iss":"us","aud":[]`: false, `"iss":"us","aud":null`: false, `"iss":"us"`: false, `"ISS":"us","aud":"shop"`: false,
		`"iss":"us","aud":"x","aud":"shop"`: false, `"iss":"us ","aud":"shop"`: false, `"iss":["us"],"aud":"shop"`: false,
	} {
		w, viewer := authenticate(a, "Bearer "+forge(`{"alg":"HS256"}`, fmt.Sprintf(`{"sub":"6","exp":%d,%s}`, time.Now().Unix()+60, claims)))
		if good != (viewer != nil) {
			t.Errorf("%s: got %d %s", claims, w.Code, w.Body)
		}
	}
}

func bigB64(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }

func rsaJWK(k *rsa.PrivateKey, more string) string {
	return fmt.Sprintf(`{"kty":"RSA","n":"%s","e":"AQAB"%s}`, bigB64(k.N), more)
}

func ecJWK(t *testing.T, k *ecdsa.PrivateKey, more string) string {
	t.Helper()
	point, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	n := (len(point) - 1) / 2
	return fmt.Sprintf(`{"kty":"EC","crv":"%s","x":"%s","y":"%s"%s}`, k.Curve.Params().Name, b64(string(point[1:1+n])), b64(string(point[1+n:])), more)
}

// keyServerOf publishes a key set verbatim.
func keyServerOf(t *testing.T, set *atomic.Value, status *atomic.Int64) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, set.Load())
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func keysOf(t *testing.T, set string) *authenticator {
	t.Helper()
	var text atomic.Value
	var status atomic.Int64
	text.Store(set)
	status.Store(http.StatusOK)
	return newTestAuthenticator(t, config.Config{JWTJWKSURL: keyServerOf(t, &text, &status)})
}

// A key verifies only what it is meant for.
func TestFault31KeysAreUsedForWhatTheyAreMeant(t *testing.T) {
	t.Parallel()
	r := newRSA(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	almost, err := rsa.GenerateKey(rand.Reader, 2047)
	if err != nil {
		t.Fatal(err)
	}
	ec := map[string]*ecdsa.PrivateKey{}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		ec[curve.Params().Name] = k
	}
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edJWK := func(more string) string {
		return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":"%s"%s}`, b64(string(edPublic)), more)
	}
	otherPublic, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherJWK := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":"other","x":"%s"}`, b64(string(otherPublic)))
	secret := []byte(testSecret)
	for name, c := range map[string]struct {
		key    string
		method jwt.SigningMethod
		by     crypto.PrivateKey
		good   bool
	}{
		"RSA":                        {rsaJWK(r, ``), jwt.SigningMethodRS256, r, true},
		"use sig":                    {rsaJWK(r, `,"use":"sig"`), jwt.SigningMethodPS256, r, true},
		"use enc":                    {rsaJWK(r, `,"use":"enc"`), jwt.SigningMethodRS256, r, false},
		"Use enc, which is no use":   {rsaJWK(r, `,"Use":"enc"`), jwt.SigningMethodRS256, r, true},
		"use SIG":                    {rsaJWK(r, `,"use":"SIG"`), jwt.SigningMethodRS256, r, false},
		"use twice":                  {rsaJWK(r, `,"use":"enc","use":"sig"`), jwt.SigningMethodRS256, r, false},
		"key_ops verify":             {rsaJWK(r, `,"key_ops":["verify","wrapKey"]`), jwt.SigningMethodRS256, r, true},
		"key_ops encrypt":            {rsaJWK(r, `,"key_ops":["encrypt"]`), jwt.SigningMethodRS256, r, false},
		"empty key_ops":              {rsaJWK(r, `,"key_ops":[]`), jwt.SigningMethodRS256, r, false},
		"key_ops sign":               {rsaJWK(r, `,"key_ops":["sign"]`), jwt.SigningMethodRS256, r, false},
		"key_ops and use differ":     {rsaJWK(r, `,"use":"enc","key_ops":["verify"]`), jwt.SigningMethodRS256, r, false},
		"alg of the key":             {rsaJWK(r, `,"alg":"RS256"`), jwt.SigningMethodRS256, r, true},
		"another alg":                {rsaJWK(r, `,"alg":"RS256"`), jwt.SigningMethodRS512, r, false},
		"alg of encryption":          {rsaJWK(r, `,"alg":"RSA-OAEP"`), jwt.SigningMethodRS256, r, false},
		"1,024 bits":                 {rsaJWK(weak, ``), jwt.SigningMethodRS256, weak, false},
		"2,047 bits":                 {rsaJWK(almost, ``), jwt.SigningMethodRS256, almost, false},
		"exponent 1":                 {strings.Replace(rsaJWK(r, ``), "AQAB", "AQ", 1), jwt.SigningMethodRS256, r, false},
		"P-256":                      {ecJWK(t, ec["P-256"], ``), jwt.SigningMethodES256, ec["P-256"], true},
		"P-384":                      {ecJWK(t, ec["P-384"], ``), jwt.SigningMethodES384, ec["P-384"], true},
		"P-521":                      {ecJWK(t, ec["P-521"], ``), jwt.SigningMethodES512, ec["P-521"], true},
		"P-256 that says it is 384":  {ecJWK(t, ec["P-256"], `,"alg":"ES384"`), jwt.SigningMethodES256, ec["P-256"], false},
		"Ed25519":                    {edJWK(``), jwt.SigningMethodEdDSA, ed, true},
		"Ed25519 to encrypt":         {edJWK(`,"use":"enc"`), jwt.SigningMethodEdDSA, ed, false},
		"a secret":                   {fmt.Sprintf(`{"kty":"oct","k":"%s"}`, b64(testSecret)), jwt.SigningMethodHS256, secret, false},
		"a secret for RSA":           {fmt.Sprintf(`{"kty":"oct","alg":"RS256","k":"%s"}`, b64(testSecret)), jwt.SigningMethodHS256, secret, false},
		"a private key":              {ecJWK(t, ec["P-256"], `,"d":"`+b64(strings.Repeat("x", 32))+`"`), jwt.SigningMethodES256, ec["P-256"], false},
		"its modulus as a secret":    {rsaJWK(r, ``), jwt.SigningMethodHS256, r.N.Bytes(), false},
		"kty twice":                  {rsaJWK(r, `,"kty":"EC"`), jwt.SigningMethodRS256, r, false},
		"a point off the curve":      {strings.Replace(ecJWK(t, ec["P-256"], ``), `"y":"`, `"y":"AA`, 1), jwt.SigningMethodES256, ec["P-256"], false},
		"an unknown key type":        {`{"kty":"AKP2","x":"y"}`, jwt.SigningMethodRS256, r, false},
		"a name twice further in it": {rsaJWK(r, `,"x":{"a":1,"a":2}`), jwt.SigningMethodRS256, r, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := "Bearer " + sign(t, c.method, c.by, "", claimsOf("6"))
			// Next to another, valid key: a key that is not used does not spoil others.
			a := keysOf(t, `{"keys":[`+c.key+`,`+otherJWK+`]}`)
			w, viewer := authenticate(a, token)
			if !c.good {
				if _, viewer := authenticate(a, "Bearer "+sign(t, jwt.SigningMethodEdDSA, other, "other", claimsOf("6"))); viewer == nil {
					t.Error("the other key of the set was not used")
				}
				wantRefused(t, w, viewer)
			} else if viewer == nil || viewer.ID != 6 {
				t.Errorf("viewer = %+v (%d %s), want user 6", viewer, w.Code, w.Body)
			}
		})
	}
}

func TestFault31KeyIDs(t *testing.T) {
	t.Parallel()
	a, b := newRSA(t), newRSA(t)
	set := `{"keys":[` + rsaJWK(a, `,"kid":"one"`) + `,` + rsaJWK(b, `,"kid":"one"`) + `,` + rsaJWK(b, `,"kid":"enc","use":"enc"`) + `]}`
	auth := keysOf(t, set)
	for name, c := range map[string]struct {
		by   *rsa.PrivateKey
		kid  string
		good bool
	}{
		"the first of an id": {a, "one", true}, "the second of it": {b, "one", true}, "without an id": {b, "", true},
		"one that encrypts": {b, "enc", false}, "unknown": {a, "two", false}, "in another case": {a, "ONE", false},
	} {
		w, viewer := authenticate(auth, "Bearer "+sign(t, jwt.SigningMethodRS256, c.by, c.kid, claimsOf("6")))
		if c.good != (viewer != nil) {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
}

// If the key server publishes no keys, or something that is not a key set, known keys stay valid. A
// gateway that has read an empty set can refuse tokens as invalid. Only without any key set it
// responds with 503.
func TestFault34KeyServerWithoutKeys(t *testing.T) {
	t.Parallel()
	key := newRSA(t)
	token := "Bearer " + sign(t, jwt.SigningMethodRS256, key, "k", claimsOf("6"))
	good := `{"keys":[` + rsaJWK(key, `,"kid":"k"`) + `]}`
	for name, c := range map[string]struct {
		set    string
		status int
		first  int // status for a token if nothing else was ever published
	}{
		"no keys":                 {`{"keys":[]}`, 200, 401},
		"no usable key":           {`{"keys":[` + rsaJWK(key, `,"use":"enc"`) + `]}`, 200, 401},
		"null":                    {`{"keys":null}`, 200, 401},
		"an empty object":         {`{}`, 200, 401},
		"Keys":                    {strings.Replace(good, "keys", "Keys", 1), 200, 401},
		"keys twice":              {`{"keys":[],` + good[1:], 200, 503},
		"not JSON":                {`<html>`, 200, 503},
		"nothing":                 {``, 200, 503},
		"a list":                  {`[]`, 200, 503},
		"data after it":           {good + good, 200, 503},
		"too long":                {good + strings.Repeat(" ", keySetBytes), 200, 503},
		"an error":                {good, 500, 503},
		"304 Not Modified":        {good, 304, 503},
		"somewhere else, nowhere": {good, 302, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var set atomic.Value
			var status atomic.Int64
			set.Store(c.set)
			status.Store(int64(c.status))
			url := keyServerOf(t, &set, &status)
			log := &bytes.Buffer{}
			a := newAuthenticator(t.Context(), config.Config{JWTJWKSURL: url}, slog.New(slog.NewTextHandler(log, nil)))
			if w, viewer := authenticate(a, token); w.Code != c.first || viewer != nil {
				t.Errorf("at first: got %d %s", w.Code, w.Body)
			}
			if w, viewer := authenticate(a); w.Code != 200 || viewer == nil {
				t.Errorf("without a token: got %d %s", w.Code, w.Body)
			}
			if !strings.Contains(log.String(), "JWT_JWKS_URL") {
				t.Errorf("the log does not name the key set: %q", log)
			}

			set.Store(good)
			status.Store(200)
			a = newTestAuthenticator(t, config.Config{JWTJWKSURL: url})
			if w, viewer := authenticate(a, token); viewer == nil {
				t.Fatalf("with a key: got %d %s", w.Code, w.Body)
			}
			set.Store(c.set)
			status.Store(int64(c.status))
			a.keys.wait(t.Context())
			if w, viewer := authenticate(a, token); viewer == nil {
				t.Errorf("the known key was forgotten: got %d %s", w.Code, w.Body)
			}
			w, viewer := authenticate(a, "Bearer "+sign(t, jwt.SigningMethodRS256, key, "unknown", claimsOf("6")))
			wantRefused(t, w, viewer)
			if w, viewer := authenticate(a, token); viewer == nil {
				t.Errorf("the known key was forgotten after a look-up of an unknown one: got %d %s", w.Code, w.Body)
			}
		})
	}
}

// Requests with unknown keys do not read the key set each time.
func TestFault34UnknownKeysReadTheSetOnce(t *testing.T) {
	t.Parallel()
	var reads atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reads.Add(1)
		fmt.Fprint(w, `{"keys":[]}`)
	}))
	t.Cleanup(server.Close)
	a := newTestAuthenticator(t, config.Config{JWTJWKSURL: server.URL})
	token := "Bearer " + sign(t, jwt.SigningMethodRS256, newRSA(t), "k", claimsOf("6"))
	for range 20 {
		w, viewer := authenticate(a, token)
		wantRefused(t, w, viewer)
	}
	if n := reads.Load(); n > 3 {
		t.Errorf("the key set was read %d times, want at most 3", n)
	}
}
