package main

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// hosts is what the Host of a request may say. Nil allows anything.
//
// A page of evil.example may have its name resolve to 127.0.0.1 once it is loaded (DNS rebinding): the browser then
// takes a server on this machine for the page's own origin, so that CORS does not apply. Host still says
// evil.example.
type hosts struct {
	listed []host // beside loopback's names, which no page of another machine has
}

// host is a name or address without brackets, in lower case, and a port; without one any port is meant.
type host struct{ name, port string }

// newHosts returns what Host may say to a server that listens on addr. Where nothing is listed, a server that only
// this machine reaches answers for loopback's names, and any other for all.
func newHosts(listed []string, addr string) *hosts {
	if slices.Contains(listed, "*") || len(listed) == 0 && !isLoopback(addr) {
		return nil
	}
	h := &hosts{}
	for _, text := range listed {
		one, _ := parseHost(text) // the configuration was checked
		h.listed = append(h.listed, one)
	}
	return h
}

// allow reports whether a request may have this Host. It does not allocate for one in lower case.
func (h *hosts) allow(text string) bool {
	if h == nil {
		return true
	}
	got, ok := parseHost(text)
	if !ok {
		return false
	}
	if got.name == "localhost" {
		return true
	}
	if isAddr(got.name) {
		if addr, err := netip.ParseAddr(got.name); err == nil && addr.Unmap().IsLoopback() {
			return true
		}
	}
	for _, one := range h.listed {
		if one.name == got.name && (one.port == "" || one.port == got.port) {
			return true
		}
	}
	return false
}

// parseHost reads what Host may hold (RFC 9110, section 7.2): a name or an address, an IPv6 one in brackets, and
// perhaps a port. A dot at the end of a name makes no other name of it.
func parseHost(text string) (h host, ok bool) {
	rest := ""
	if strings.HasPrefix(text, "[") {
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return host{}, false
		}
		addr, err := netip.ParseAddr(text[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return host{}, false
		}
		h.name, rest = addr.String(), text[end+1:]
	} else {
		h.name = text
		if at := strings.IndexByte(text, ':'); at >= 0 {
			h.name, rest = text[:at], text[at:]
		}
		h.name = strings.ToLower(strings.TrimSuffix(h.name, "."))
		if !isHostName(h.name) {
			return host{}, false
		}
	}
	if rest == "" {
		return h, true
	}
	h.port = rest[1:]
	return h, rest[0] == ':' && len(h.port) <= 5 && strings.Trim(h.port, "0123456789") == ""
}

// isHostName reports whether a name in lower case is made of the characters of names in DNS and IPv4 addresses.
func isHostName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return name != "" && name[0] != '.'
}

// isAddr reports whether a parsed name can be an address at all: errors of parsing one allocate.
func isAddr(name string) bool {
	return '0' <= name[0] && name[0] <= '9' || strings.Contains(name, ":")
}

// checkHost reports what is wrong with an entry of ALLOWED_HOSTS.
func checkHost(text string) error {
	if _, ok := parseHost(text); !ok && text != "*" {
		return errors.New("not a host")
	}
	return nil
}

// wrap refuses requests for other hosts: 421, since this server is not the one that they mean.
func (h *hosts) wrap(log *slog.Logger, next http.Handler) http.Handler {
	if h == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.allow(r.Host) {
			log.InfoContext(r.Context(), "request refused: ALLOWED_HOSTS does not list its Host", "host", r.Host)
			writeError(w, http.StatusMisdirectedRequest, "BAD_REQUEST",
				"This server does not answer for the host in the request. ALLOWED_HOSTS lists the hosts that it answers for.")
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
