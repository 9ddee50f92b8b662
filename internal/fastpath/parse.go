package fastpath

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// Limits of a request of the subset.
const (
	maxFields = 32
	maxDigits = 6 // of Content-Length
)

// parse reports whether p is exactly one request of the subset, and if so reads it into x.request.
// The subset is chosen so that RFC 9112, section 6.3, leaves one reading of where the request ends:
// it has one Content-Length, or is a GET without content, and has none of the fields and spellings
// that HTTP implementations read in different ways. Everything else is refused, valid or not.
func (x *exchange) parse(p []byte) bool {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		return false
	}
	head := string(p[:end+len("\r\n")]) // a copy, as net/http's buffer does not last
	body := p[end+len("\r\n\r\n"):]

	line, rest := cutLine(head)
	method := http.MethodPost
	switch {
	case strings.HasPrefix(line, "POST "):
	case strings.HasPrefix(line, "GET "):
		method = http.MethodGet
	default:
		return false
	}
	target, ok := strings.CutSuffix(line[len(method)+1:], " HTTP/1.1")
	if !ok || !x.parseTarget(target) {
		return false
	}
	host, length, ok := x.parseFields(rest)
	if !ok || host == "" || (length < 0) != (method == http.MethodGet) || len(body) != max(length, 0) {
		return false
	}
	x.request = http.Request{
		Method: method, URL: &x.url, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: x.fields, Body: http.NoBody, ContentLength: int64(len(body)), Host: host, RequestURI: target,
	}
	if len(body) > 0 {
		x.body.Reset(body)
		x.request.Body = x
	}
	return true
}

// parseTarget reads a path of plain characters and a query: no escapes in the path, no other form of a target.
func (x *exchange) parseTarget(target string) bool {
	if target == "" || target[0] != '/' {
		return false
	}
	path := len(target)
	for i := range len(target) {
		c := class[target[i]]
		if c&visible == 0 || path == len(target) && c&inPath == 0 && target[i] != '?' {
			return false
		}
		if target[i] == '?' && path == len(target) {
			path = i
		}
	}
	x.url = url.URL{Path: target[:path]}
	if path < len(target) {
		x.url.RawQuery = target[path+1:]
		x.url.ForceQuery = x.url.RawQuery == ""
	}
	return true
}

// parseFields reads the header's lines, except Host, into x.fields. The length is -1 without
// Content-Length.
func (x *exchange) parseFields(lines string) (host string, length int, ok bool) {
	clear(x.fields)
	length = -1
	for n := 0; lines != ""; n++ {
		var line string
		line, lines = cutLine(lines)
		name, value, ok := parseField(line)
		if !ok || n == maxFields {
			return "", 0, false
		}
		switch name {
		case "Host":
			if host != "" || !all(value, inHost) {
				return "", 0, false
			}
			host = value
			continue
		case "Content-Length":
			var ok bool
			if length, ok = parseLength(value, length); !ok {
				return "", 0, false
			}
		case "Connection":
			if value != "keep-alive" {
				return "", 0, false
			}
		case "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect", "Keep-Alive", "Http2-Settings", "Pragma":
			// They affect framing or the connection. (net/http turns Pragma into Cache-Control.)
			return "", 0, false
		}
		if strings.HasPrefix(name, "Proxy-") {
			return "", 0, false
		}
		if old := x.fields[name]; old != nil {
			x.fields[name] = append(old, value)
			continue
		}
		x.values[n] = value
		x.fields[name] = x.values[n : n+1 : n+1]
	}
	return host, length, true
}

// parseField reads "Name: value". The name has only letters, digits and hyphens. The value is ASCII
// without control characters, with at most one space before it and none after it.
func parseField(line string) (name, value string, ok bool) {
	i := 0
	for i < len(line) && class[line[i]]&inName != 0 {
		i++
	}
	if i == 0 || i == len(line) || line[i] != ':' {
		return "", "", false
	}
	name, value = textproto.CanonicalMIMEHeaderKey(line[:i]), line[i+1:]
	if value != "" && value[0] == ' ' {
		value = value[1:]
	}
	if value == "" {
		return name, value, true
	}
	if value[0] == ' ' || value[len(value)-1] == ' ' || !all(value, inValue) {
		return "", "", false
	}
	return name, value, true
}

// parseLength reads the only valid form of Content-Length: digits, without leading zeros.
func parseLength(value string, before int) (int, bool) {
	if before >= 0 || value == "" || len(value) > maxDigits || value[0] == '0' && value != "0" {
		return 0, false
	}
	length := 0
	for i := range len(value) {
		if value[i] < '0' || value[i] > '9' {
			return 0, false
		}
		length = 10*length + int(value[i]-'0')
	}
	return length, true
}

// cutLine cuts text after its first CRLF. A single CR or LF stays in the line, where no class of
// characters has it.
func cutLine(text string) (line, rest string) {
	line, rest, _ = strings.Cut(text, "\r\n")
	return line, rest
}

func all(s string, want uint8) bool {
	for i := range len(s) {
		if class[s[i]]&want == 0 {
			return false
		}
	}
	return true
}

// The classes of characters.
const (
	visible uint8 = 1 << iota // ASCII without spaces and controls
	inPath                    // means itself in a path
	inName                    // of a field; without the underscore, which some take for a hyphen
	inValue
	inHost
)

var class = func() (class [256]uint8) {
	for c := byte(' '); c <= '~'; c++ {
		class[c] |= inValue
		if c > ' ' {
			class[c] |= visible
		}
	}
	for _, c := range []byte("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-") {
		class[c] |= inPath | inName | inHost
	}
	for _, c := range []byte("/._~") {
		class[c] |= inPath
	}
	for _, c := range []byte(".:[]") {
		class[c] |= inHost
	}
	return class
}()
