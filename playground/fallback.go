package playground

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"

	"github.com/99designs/gqlgen/graphql/playground"
)

// fallback serves gqlgen's playground page. It is rendered once, since its Content-Security-Policy
// allows exactly the files and the script of the page.
func fallback() http.Handler {
	var page capture
	playground.Handler("fieldcache", "/graphql", playground.WithStoragePrefix("fieldcache:"))(&page, nil)
	return site{
		files:  map[string]file{"/": textFile("index.html", page.String())},
		policy: fallbackPolicy(page.String()), missing: playgroundMissing, readOnly: playgroundReadOnly,
	}
}

var (
	scriptSource = regexp.MustCompile(`<script\s[^>]*src="([^"]+)"`)
	styleSource  = regexp.MustCompile(`<link\s[^>]*href="([^"]+)"`)
	inlineScript = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
)

func fallbackPolicy(page string) string {
	scripts, styles := []string{"script-src"}, []string{"style-src 'unsafe-inline'"}
	for _, m := range scriptSource.FindAllStringSubmatch(page, -1) {
		scripts = append(scripts, m[1])
	}
	for _, m := range inlineScript.FindAllStringSubmatch(page, -1) {
		sum := sha256.Sum256([]byte(m[1]))
		scripts = append(scripts, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	for _, m := range styleSource.FindAllStringSubmatch(page, -1) {
		styles = append(styles, m[1])
	}
	return strings.Join([]string{
		"default-src 'none'",
		strings.Join(scripts, " "),
		strings.Join(styles, " "),
		"connect-src 'self'",
		"font-src data:",
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
}

// capture is a response writer that stores the body.
type capture struct {
	bytes.Buffer
	header http.Header
}

func (c *capture) Header() http.Header {
	if c.header == nil {
		c.header = http.Header{}
	}
	return c.header
}

func (c *capture) WriteHeader(int) {}
