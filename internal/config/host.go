package config

import (
	"errors"
	"net/netip"
	"strings"
)

// Host is a name in lower case, or an address without brackets, and a port. An empty Port matches any port.
type Host struct{ Name, Port string }

// ParseHost parses a Host header (RFC 9110, section 7.2): a name or an address, with brackets if it is
// IPv6, and an optional port. It removes a trailing dot of a name. It reports false if text is not valid.
func ParseHost(text string) (h Host, ok bool) {
	rest := ""
	if strings.HasPrefix(text, "[") {
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return Host{}, false
		}
		addr, err := netip.ParseAddr(text[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return Host{}, false
		}
		h.Name, rest = addr.String(), text[end+1:]
	} else {
		h.Name = text
		if at := strings.IndexByte(text, ':'); at >= 0 {
			h.Name, rest = text[:at], text[at:]
		}
		h.Name = strings.ToLower(strings.TrimSuffix(h.Name, "."))
		if !isHostName(h.Name) {
			return Host{}, false
		}
	}
	if rest == "" {
		return h, true
	}
	h.Port = rest[1:]
	return h, rest[0] == ':' && len(h.Port) <= 5 && strings.Trim(h.Port, "0123456789") == ""
}

// isHostName reports whether a name in lower case has only characters of DNS names and IPv4 addresses.
func isHostName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return name != "" && name[0] != '.'
}

// checkHost returns an error if an entry of ALLOWED_HOSTS is not valid.
func checkHost(text string) error {
	if _, ok := ParseHost(text); !ok && text != "*" {
		return errors.New("not a host")
	}
	return nil
}
