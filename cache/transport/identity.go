package transport

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"fieldcache/cache/answers"
)

// sender is the sender of a request. The zero value is an unknown sender: nothing private is stored
// for it, nor served to it from the cache.
type sender struct {
	server    uint32 // the number of the handler in the store of responses
	viewer    string
	anonymous bool // the sender is known to be anonymous; then viewer is empty
}

// senderKey is the key under which an operation's context has its sender.
type senderKey struct{}

// senderOf returns the sender of a request.
func (h *Handler) senderOf(r *http.Request) sender {
	if h.o.Viewer == nil {
		return sender{server: h.server}
	}
	viewer := h.o.Viewer(r.Context())
	return sender{h.server, viewer, viewer == "" && !h.identified(r)}
}

// identified reports whether a request has anything that may identify its sender.
func (h *Handler) identified(r *http.Request) bool {
	for _, name := range h.identity {
		if _, ok := r.Header[name]; ok {
			return true
		}
	}
	return certified(r)
}

// certified reports whether a client certificate came with a request.
func certified(r *http.Request) bool { return r.TLS != nil && len(r.TLS.PeerCertificates) > 0 }

// question returns q for this sender.
func (s sender) question(q answers.Question) answers.Question {
	q.Server, q.Viewer, q.Nobody = s.server, s.viewer, s.anonymous
	return q
}

// check returns the canonical names of the identifying headers, or all faults of the options.
func (o *Options) check() (identity []string, err error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	names := o.IdentityHeaders
	if names == nil {
		names = []string{"Authorization", "Cookie"}
	}
	for _, name := range names {
		if !isToken(name) || name == "*" {
			fault("IdentityHeaders: %q is no name of a header", name)
		}
		if name = http.CanonicalHeaderKey(name); !slices.Contains(identity, name) {
			identity = append(identity, name)
		}
	}
	for name := range strings.SplitSeq(o.CachedVary, ",") {
		if o.CachedVary != "" && !isToken(strings.Trim(name, " \t")) {
			fault("CachedVary: %q is no name of a header", name)
		}
	}
	if !slices.Contains([]string{"", "Surrogate-Key", "Cache-Tag"}, o.TagHeader) {
		fault("TagHeader: %q is neither Surrogate-Key nor Cache-Tag", o.TagHeader)
	}
	if o.MaxBodyBytes < 0 || o.RequestBytes < 0 || o.MaxBatch < 0 || o.MaxTokens < 0 || o.Timeout < 0 {
		fault("a bound is negative")
	}
	if o.TrustedOnly && len(o.Trusted) == 0 {
		fault("TrustedOnly without Trusted documents refuses everything")
	}
	for hash, text := range o.Trusted {
		if hashOf(text) != hash {
			fault("Trusted: the document under %q has the hash %s", hash, hashOf(text))
		}
	}
	return identity, errors.Join(faults...)
}

// isToken reports whether a text is a token of HTTP (RFC 9110, section 5.6.2), such as a header's name.
func isToken(text string) bool {
	for i := range len(text) {
		c := text[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return text != ""
}

// QuestionOf returns q with the viewer of the request that ctx belongs to. ok is false if nothing of the operation may
// be stored, or served from the store.
func QuestionOf(ctx context.Context, q answers.Question) (_ answers.Question, ok bool) {
	a, _ := ctx.Value(senderKey{}).(sender)
	return a.question(q), ctx.Value(noStoreKey{}) == nil
}

// CheckVary returns an error if names are not names of headers.
func CheckVary(names []string) error {
	var faults []error
	for _, name := range names {
		if !isToken(name) || name == "*" {
			faults = append(faults, fmt.Errorf("header %q of Vary is no name", name))
		}
	}
	return errors.Join(faults...)
}

// CheckIdentityHeaders returns an error if names are not valid for IdentityHeaders.
func CheckIdentityHeaders(names []string) error {
	_, err := (&Options{IdentityHeaders: names}).check()
	return err
}
