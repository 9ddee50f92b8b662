// Package playground serves two pages: the playground, to try the gateway in a browser, and the
// operator's page, which shows what the cache does.
//
// The playground is GraphiQL. Both are built by Vite from the sources in src:
//
//	npm ci && npm run build
//
// writes dist, which is embedded here. The pages load nothing from elsewhere, and their
// Content-Security-Policy forbids requests to other origins. The build is not committed. Without it
// [Handler] serves gqlgen's own playground page, whose scripts come from a public CDN, and
// [Operator] serves a page that says what is missing.
package playground

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"
)

// dist holds at least .gitkeep, so that a clone without the build compiles.
//
//go:embed all:dist
var dist embed.FS

// operatorPolicy is the Content-Security-Policy of the operator's page.
const operatorPolicy = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// policy is the Content-Security-Policy of the built playground and its workers. Everything comes
// from the page's own origin. In addition Monaco positions its lines with inline styles and writes
// its theme as a style sheet, and the style sheets of GraphiQL hold their fonts and a few images as
// data: URLs.
const policy = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; " +
	"style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Built reports whether the embedded page has been built.
func Built() bool {
	return built(build())
}

// Handler serves the page at "/" and its files; every other path is a 404. The page sends its
// operations to /graphql on its own origin.
func Handler() http.Handler {
	return newHandler(build())
}

// Operator serves the operator's page at "/" and its files; every other path is a 404. The page
// reads cache/events and cache/entry, and sends evictions to evict, all relative to its own
// address.
func Operator() http.Handler {
	return newOperator(build())
}

func build() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // "dist" is a valid path
	}
	return files
}

func built(files fs.FS) bool {
	_, err := fs.Stat(files, "index.html")
	return err == nil
}

const (
	playgroundPage = "index.html"
	operatorPage   = "operator.html"
)

// The responses of the playground to other paths and methods.
const (
	playgroundMissing  = "nothing here: the playground is at /, GraphQL at /graphql"
	playgroundReadOnly = "the playground is read by GET; send GraphQL operations to /graphql"
)

func newHandler(files fs.FS) http.Handler {
	if !built(files) {
		return fallback()
	}
	return newSite(files, playgroundPage, site{
		policy: policy, missing: playgroundMissing, readOnly: playgroundReadOnly,
	})
}

// unbuilt replaces the operator's page if it has not been built.
const unbuilt = `<!doctype html><html lang="en"><meta charset="utf-8"><title>fieldcache: operator</title>
<h1>fieldcache</h1><p>The operator's page has not been built: run <code>make playground</code>, then build the server again.</p>
<ul><li><a href="metrics">metrics</a></li><li><a href="readyz">readyz</a></li><li><a href="cache/events">cache/events</a></li></ul></html>
`

func newOperator(files fs.FS) http.Handler {
	page := site{
		policy: operatorPolicy, missing: "nothing here: the operator's page is at /, and there are /healthz, /readyz, /metrics, /cache/events, POST /evict and /debug/pprof/",
		readOnly: "the operator's page is read by GET",
	}
	if !built(files) {
		page.files = map[string]file{"/": textFile(operatorPage, unbuilt)}
		return page
	}
	return newSite(files, operatorPage, page)
}

// newSite makes a site of a page, served at "/", and of the files that the pages share.
func newSite(files fs.FS, page string, s site) http.Handler {
	s.files = map[string]file{}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			return err
		}
		at := "/" + name
		switch name {
		case page:
			at = "/"
		case playgroundPage, operatorPage: // another page
			return nil
		}
		// Not copied into memory: the garbage collector would let the heap grow by several times
		// these megabytes.
		s.files[at] = newFile(name, func() io.ReadSeeker { return opened(files, name) })
		return nil
	})
	if err != nil {
		panic(err) // listing embedded files cannot fail
	}
	// The editor has megabytes of script, which compress to a quarter. Only a first visit loads
	// them, since browsers cache assets. Level 7 of gzip takes less than half the time of the best
	// level, and writes 1.3 % more.
	compress, err := gzhttp.NewWrapper(gzhttp.PreferZstd(false), gzhttp.CompressionLevel(7))
	if err != nil {
		panic(err) // the level is valid
	}
	return compress(s)
}

// sendWithin is how long a file may take: the largest one takes that long at 3 kB/s.
const sendWithin = 5 * time.Minute

// A site is a fixed set of files by path, all under one Content-Security-Policy.
type site struct {
	files  map[string]file
	policy string
	// missing and readOnly are the responses to other paths and methods.
	missing, readOnly string
}

type file struct {
	open                func() io.ReadSeeker
	mime, cache, entity string // Content-Type, Cache-Control and ETag
}

// opened opens an embedded file.
func opened(files fs.FS, name string) io.ReadSeeker {
	f, err := files.Open(name)
	if err != nil {
		panic(err) // embedded files can be opened
	}
	return f.(io.ReadSeeker) // as embed.FS promises
}

// textFile is a file that is not embedded.
func textFile(name, text string) file {
	return newFile(name, func() io.ReadSeeker { return strings.NewReader(text) })
}

func newFile(name string, open func() io.ReadSeeker) file {
	sum := sha256.New()
	if _, err := io.Copy(sum, open()); err != nil {
		panic(err) // reading from memory cannot fail
	}
	f := file{
		open:  open,
		mime:  mimeType(name),
		cache: "no-cache",
		// Weak, because compression changes the bytes and not the content.
		entity: fmt.Sprintf(`W/"%s"`, base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:12])),
	}
	// Vite puts a hash of the content into these names.
	if strings.HasPrefix(name, "assets/") {
		f.cache = "public, max-age=31536000, immutable"
	}
	return f
}

// mimeType knows the types of Vite's files. Package mime would use the tables of the machine. Some
// of them call a script text/plain, and then browsers refuse to run it.
func mimeType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".md":
		return "text/markdown; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".ttf":
		return "font/ttf"
	case ".woff":
		return "font/woff"
	case ".woff2":
		return "font/woff2"
	default:
		return "application/octet-stream"
	}
}

func (s site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	// For every file, not only the page: a worker is bound by the policy of its own script.
	h.Set("Content-Security-Policy", s.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")

	f, ok := s.files[r.URL.Path]
	if !ok {
		http.Error(w, s.missing, http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, s.readOnly, http.StatusMethodNotAllowed)
		return
	}
	// The server's timeout is for short responses.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(sendWithin)) // if it is not supported, the timeout stays
	h.Set("Content-Type", f.mime)
	h.Set("Cache-Control", f.cache)
	h.Set("ETag", f.entity)
	http.ServeContent(w, r, "", time.Time{}, f.open())
}
