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

// hosts is what the Host of a request may say. Nil allows anything.
//
// A page of evil.example may have its name resolve to 127.0.0.1 once it is loaded (DNS rebinding): the browser then
// takes a server on this machine for the page's own origin, so that CORS does not apply. Host still says
// evil.example.
type hosts struct {
	listed []config.Host // beside loopback's names, which no page of another machine has
}

// newHosts returns what Host may say to a server that listens on addr. Where nothing is listed, a server that only
// this machine reaches answers for loopback's names, and any other for all.
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

// wrap refuses requests for other hosts: 421, since this server is not the one that they mean.
func (h *hosts) wrap(log *slog.Logger, next http.Handler) http.Handler {
	if h == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.allow(r.Host) {
			log.InfoContext(r.Context(), "request refused: ALLOWED_HOSTS does not list its Host", "host", r.Host)
			writeError(w, apierror.BadHost)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// kept keeps what answers in front of everything else from answering requests for other hosts.
func (h *hosts) kept(serve func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	if h == nil {
		return serve
	}
	return func(w http.ResponseWriter, r *http.Request) bool { return h.allow(r.Host) && serve(w, r) }
}
