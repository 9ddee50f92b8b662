package serve

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a token.
const (
	maxToken = 16 << 10        // bytes
	leeway   = 5 * time.Second // the tolerated difference between clocks
	lastDate = 253402300800    // the year 10000, in seconds
)

// tokenHeader is the part of a token's header that is used (RFC 7515, section 4.1). Keys and URLs of keys
// in the header are ignored, since the token's author must not choose the key that verifies it.
type tokenHeader struct {
	Algorithm string         `json:"alg"`
	KeyID     *string        `json:"kid"`
	Type      string         `json:"typ"`
	Critical  jsontext.Value `json:"crit"`
	Encoded   jsontext.Value `json:"b64"`
}

// claims are the claims of a token. sub is the user's id in decimal.
type claims struct {
	Subject   string   `json:"sub"`
	Role      string   `json:"role,omitempty"`
	Issuer    string   `json:"iss,omitempty"`
	Audience  audience `json:"aud,omitempty"`
	Expires   date     `json:"exp,omitzero"`
	NotBefore date     `json:"nbf,omitzero"`
	IssuedAt  date     `json:"iat,omitzero"`
}

// errExpired is the error for a token that is expired but otherwise valid.
var errExpired = errors.New("the token has expired")

// parseToken splits a token (JWS, compact serialization) and decodes its header. It is strict, so that no
// other parser reads the token differently: names are case-sensitive and unique at any depth, and base64
// has one form.
func parseToken(text string) (h tokenHeader, payload []byte, err error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 || len(text) > maxToken {
		return h, nil, errors.New("the token does not have three parts, or is too long")
	}
	var decoded [3][]byte
	for i, part := range parts {
		// The decoder skips line breaks.
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return h, nil, errors.New("a part of the token is not base64url")
		}
	}
	if err := decodeStrict(decoded[0], &h); err != nil {
		return h, nil, fmt.Errorf("the token's header: %w", err)
	}
	switch {
	case h.Critical != nil:
		return h, nil, errors.New("the token has critical extensions (crit), which are not supported")
	case h.Encoded != nil:
		return h, nil, errors.New("the token's payload is not base64url (b64)")
	case !isAccessToken(h.Type):
		return h, nil, fmt.Errorf("the token's type is %q", h.Type)
	}
	return h, decoded[1], nil
}

// isAccessToken reports whether a token of this type identifies a user: no type, JWT, or at+jwt of RFC
// 9068. Tokens of other types, such as logout+jwt, are signed by the same keys but have another meaning
// (RFC 8725, section 3.11).
func isAccessToken(typ string) bool {
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ == "" || typ == "jwt" || typ == "at+jwt"
}

// decodeStrict decodes a JSON object. Data after the object is an error.
func decodeStrict(data []byte, into any) error {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte{'{'}) {
		return errors.New("not a JSON object")
	}
	return json.Unmarshal(data, into)
}

// verify returns an error unless one of the keys signed the token.
func verify(text string, alg jose.SignatureAlgorithm, keys []any) error {
	signed, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{alg})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if _, err = signed.Verify(key); err == nil {
			return nil
		}
	}
	return errors.New("the token's signature is not valid")
}

// check returns an error if the claims are not valid at now. An empty issuer or audience accepts any.
func (c *claims) check(now time.Time, issuer, audience string) error {
	switch {
	case !c.Expires.given:
		return errors.New("the token has no expiration time (exp)")
	case !now.Before(c.Expires.time().Add(leeway)):
		return errExpired
	case c.NotBefore.given && now.Add(leeway).Before(c.NotBefore.time()):
		return errors.New("the token is not valid yet (nbf)")
	case issuer != "" && c.Issuer != issuer:
		return fmt.Errorf("the token's issuer is %q", c.Issuer)
	case audience != "" && !slices.Contains(c.Audience, audience):
		return fmt.Errorf("the token's audience is %q", c.Audience)
	}
	return nil
}

// date is a time in a token: seconds since 1970, which may have a fraction.
type date struct {
	given   bool
	seconds float64
}

func dateOf(t time.Time) date { return date{true, float64(t.Unix())} }

func (d date) time() time.Time {
	whole := int64(d.seconds)
	return time.Unix(whole, int64((d.seconds-float64(whole))*1e9))
}

// UnmarshalJSON implements [json.Unmarshaler]. It accepts numbers in the range of years 1970 to 9999.
func (d *date) UnmarshalJSON(text []byte) error {
	seconds, err := strconv.ParseFloat(string(text), 64)
	if c := text[0]; c != '-' && (c < '0' || c > '9') || err != nil || !(seconds >= 0 && seconds < lastDate) {
		return errors.New("not a date in seconds")
	}
	*d = date{true, seconds}
	return nil
}

// MarshalJSON implements [json.Marshaler]. It writes whole seconds.
func (d date) MarshalJSON() ([]byte, error) { return strconv.AppendInt(nil, int64(d.seconds), 10), nil }

// audience is the aud claim: a string or a list of strings.
type audience []string

// UnmarshalJSON implements [json.Unmarshaler]. It accepts both forms.
func (a *audience) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		*a = audience{""}
		return json.Unmarshal(text, &(*a)[0])
	}
	var list []string
	if text[0] != '[' {
		return errors.New("not an audience")
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	*a = list
	return nil
}
