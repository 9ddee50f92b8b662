package serve

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"fieldcache/cache/apierror"
	"fieldcache/internal/config"
)

// hosts is the set of allowed Host headers. Nil allows any.
//
// A page of evil.example may have its name resolve to 127.0.0.1 once it is loaded (DNS rebinding): the browser then
// takes a server on this machine for the page's own origin, so that CORS does not apply. Host still says
// evil.example.
type hosts struct {
	listed []config.Host // beside loopback's names, which no page of another machine has
}

// newHosts returns the allowed hosts of a server that listens on addr. If none are listed, a server on loopback allows loopback names
// alone, and any other server allows every host.
func newHosts(listed []string, addr string) *hosts {
	if slices.Contains(listed, "*") || len(listed) == 0 && !config.IsLoopback(addr) {
		return nil
	}
	h := &hosts{}
	for _, text := range listed {
		one, _ := config.ParseHost(text) // the configuration was checked
		h.listed = append(h.listed, one)
	}
	return h
}

// allow reports whether a request may have this Host. It does not allocate for one in lower case.
func (h *hosts) allow(text string) bool {
	if h == nil {
		return true
	}
	got, ok := config.ParseHost(text)
	if !ok {
		return false
	}
	if got.Name == "localhost" {
		return true
	}
	if isAddr(got.Name) {
		if addr, err := netip.ParseAddr(got.Name); err == nil && addr.Unmap().IsLoopback() {
			return true
		}
	}
	for _, one := range h.listed {
		if one.Name == got.Name && (one.Port == "" || one.Port == got.Port) {
			return true
		}
	}
	return false
}

// isAddr reports whether a parsed name can be an address at all: errors of parsing one allocate.
func isAddr(name string) bool {
	return '0' <= name[0] && name[0] <= '9' || strings.Contains(name, ":")
}

// wrap refuses requests for other hosts with 421 (Misdirected Request).
func (h *hosts) wrap(log *slog.Logger, next http.Handler) http.Handler {
	if h == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.allow(r.Host) {
			log.InfoContext(r.Context(), "refused a request: ALLOWED_HOSTS does not list its Host header", "host", r.Host)
			writeError(w, apierror.BadHost)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// cached keeps the fast path from serving requests for other hosts.
func (h *hosts) cached(serve serveCached) serveCached {
	if h == nil {
		return serve
	}
	return func(w http.ResponseWriter, r *http.Request) (operation string, served bool) {
		if !h.allow(r.Host) {
			return "", false
		}
		return serve(w, r)
	}
}
