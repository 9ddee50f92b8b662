package transport

import (
	"iter"
	"mime"
	"strconv"
	"strings"

	"fieldcache/cache/answers"
	"fieldcache/cache/apierror"
)

// media is a media type of responses.
type media uint8

const (
	noMedia media = iota // the client accepts none
	jsonMedia
	graphqlMedia
)

// contentType returns the header for m. Refusals to clients that accept none of our types are JSON.
func (m media) contentType() string {
	if m == graphqlMedia {
		return "application/graphql-response+json; charset=utf-8"
	}
	return "application/json; charset=utf-8"
}

// negotiateMedia chooses the type that the Accept headers prefer. If both are equal, it takes the
// newer type if it is named, since its status codes say more, and JSON if a wildcard matches both.
func negotiateMedia(accept []string) media {
	if len(accept) == 0 || len(accept) == 1 && (accept[0] == "" || accept[0] == "*/*") {
		return jsonMedia
	}
	// The most specific matching range decides: */*, then application/*, then the type itself.
	type preference struct{ rank, q int }
	var json, graphql preference
	prefer := func(p *preference, rank, q int) {
		if rank > p.rank || rank == p.rank && q > p.q {
			*p = preference{rank, q}
		}
	}
	for e := range weighted(accept) {
		if charset, ok := e.parameter("charset"); ok && !isUTF8(charset) {
			continue
		}
		switch {
		case strings.EqualFold(e.name, "application/json"):
			prefer(&json, 3, e.q)
		case strings.EqualFold(e.name, "application/graphql-response+json"):
			prefer(&graphql, 3, e.q)
		case strings.EqualFold(e.name, "application/*"):
			prefer(&json, 2, e.q)
			prefer(&graphql, 2, e.q)
		case e.name == "*/*":
			prefer(&json, 1, e.q)
			prefer(&graphql, 1, e.q)
		}
	}
	switch {
	case graphql.q > json.q, graphql.q > 0 && graphql.q == json.q && graphql.rank == 3:
		return graphqlMedia
	case json.q > 0:
		return jsonMedia
	}
	return noMedia
}

// negotiateEncoding chooses how a response is compressed. Of equal ones it takes the one with the
// lowest cost for its savings.
func negotiateEncoding(accept []string) answers.Encoding {
	if len(accept) == 0 {
		return answers.Identity
	}
	var q [answers.Encodings]int
	for i := range q {
		q[i] = -1 // not named
	}
	rest := -1
	for e := range weighted(accept) {
		if e.name == "*" {
			rest = e.q
			continue
		}
		for coding := range q {
			if strings.EqualFold(e.name, answers.Encoding(coding).String()) || coding == int(answers.Gzip) && strings.EqualFold(e.name, "x-gzip") {
				q[coding] = e.q
			}
		}
	}
	best, liking := answers.Identity, max(q[answers.Identity], 0)
	for _, coding := range []answers.Encoding{answers.Zstd, answers.Brotli, answers.Gzip} {
		v := q[coding]
		if v < 0 {
			v = rest
		}
		if v > liking || v == liking && v > 0 && best == answers.Identity {
			best, liking = coding, v
		}
	}
	return best
}

// element is one element of a header like Accept, with its weight in thousandths.
type element struct {
	name, parameters string
	q                int
}

// parameter returns the value of a parameter other than the weight.
func (e element) parameter(name string) (string, bool) {
	for p := range split(e.parameters, ';') {
		if key, value, ok := strings.Cut(p, "="); ok && strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.Trim(strings.TrimSpace(value), `"`), true
		}
	}
	return "", false
}

// weighted lists the elements of headers. An element without a valid weight is left out.
func weighted(values []string) iter.Seq[element] {
	return func(yield func(element) bool) {
		for _, value := range values {
			for part := range split(value, ',') {
				name, parameters, _ := strings.Cut(part, ";")
				e := element{strings.TrimSpace(name), parameters, 1000}
				if text, ok := e.parameter("q"); ok {
					q, err := strconv.ParseFloat(text, 64)
					if err != nil || !(q >= 0 && q <= 1) {
						continue
					}
					e.q = int(q * 1000)
				}
				if e.name != "" && !yield(e) {
					return
				}
			}
		}
	}
}

// split splits at each sep outside of quotes.
func split(s string, sep byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch {
			case s[i] == '\\' && quoted:
				i++
			case s[i] == '"':
				quoted = !quoted
			case s[i] == sep && !quoted:
				if !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(s[start:])
	}
}

// checkContentType refuses every body but JSON in UTF-8. That includes a form or plain text, which
// a page of another origin may send without a preflight.
func checkContentType(values []string) *refusal {
	if len(values) == 1 && (values[0] == "application/json" || values[0] == "application/json; charset=utf-8") {
		return nil
	}
	if len(values) == 1 {
		name, parameters, err := mime.ParseMediaType(values[0])
		charset, given := parameters["charset"]
		switch {
		case err != nil || name != "application/json":
		case given && !isUTF8(charset):
			return refuse(apierror.BadCharset)
		default:
			return nil
		}
	}
	return refuse(apierror.BadContentType)
}

func isUTF8(charset string) bool {
	return strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8")
}
