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
// It protects against DNS rebinding: once a page of evil.example is loaded, its name may resolve to
// 127.0.0.1. The browser then treats a server on this machine as the page's own origin, to which CORS
// does not apply. The Host header still says evil.example.
type hosts struct {
	listed []config.Host // in addition to loopback names, which no page of another machine has
}

// newHosts returns the allowed hosts of a server that listens on addr. If none are listed, a server on
// loopback allows only loopback names, and any other server allows every host.
func newHosts(listed []string, addr string) *hosts {
	if slices.Contains(listed, "*") || len(listed) == 0 && !config.IsLoopback(addr) {
		return nil
	}
	h := &hosts{}
	for _, text := range listed {
		one, _ := config.ParseHost(text) // valid, since the configuration was checked
		h.listed = append(h.listed, one)
	}
	return h
}

// allow reports whether a request may have this Host header. It does not allocate if text is in lower
// case.
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

// isAddr reports whether a parsed name may be an address. It saves parsing names, whose errors allocate.
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

// cached makes serve decline requests for other hosts.
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
