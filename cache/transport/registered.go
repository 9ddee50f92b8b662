package transport

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"fieldcache/cache/apierror"
)

// Documents shares between gateways the documents that clients register by their hash, which is SHA-256 in 64 lower
// case hexadecimal digits. If it fails or takes too long, the document counts as missing, and the client sends it
// again. It is safe for concurrent use.
type Documents interface {
	// Get returns the document of a hash. It reports whether there is one.
	Get(ctx context.Context, hash string) (text string, ok bool)
	// Put shares a document, for at least a day.
	Put(ctx context.Context, hash, text string)
}

// day is about how long shared documents are stored. At most sharedBytes of new ones are shared per
// day.
const (
	day         = 24 * time.Hour
	sharedBytes = 8 << 20
)

// documents finds the document that an operation names.
type documents struct {
	trusted    Trusted
	only       bool // no other document is executed
	registered *otter.Cache[string, registered]
	shared     Documents // nil: documents are not shared
	budget     *rate.Limiter
}

// registered is a document that was registered by its hash.
type registered struct {
	text   string
	shared bool // it came from the shared store, or the budget allowed to share it
}

// documentBytes limits one registered document.
const documentBytes = 64 << 10

// registeredCost is the approximate memory of a registered document besides its text.
const registeredCost = 320

func newDocuments(trusted Trusted, only bool, shared Documents, bytes uint64) *documents {
	return &documents{
		trusted: trusted, only: only, shared: shared,
		registered: otter.Must(&otter.Options[string, registered]{
			MaximumWeight: bytes,
			Weigher:       func(_ string, r registered) uint32 { return uint32(len(r.text) + registeredCost) }, //nolint:gosec // at most documentBytes
		}),
		budget: rate.NewLimiter(rate.Every(day/sharedBytes), sharedBytes),
	}
}

// find returns the text of the document that p identifies, and the hash to register it under once
// it is known to be valid; "" if there is nothing to register.
func (d *documents) find(ctx context.Context, p *params) (text, register string, _ *refusal) {
	if p.DocumentID != "" {
		if text, ok := d.trusted[strings.TrimPrefix(p.DocumentID, "sha256:")]; ok {
			return text, "", nil
		}
		return "", "", refuse(apierror.NoDocument)
	}
	hash, refused := p.persisted()
	switch {
	case refused != nil:
		return "", "", refused
	case d.only:
		return d.findTrusted(p.Query, hash)
	case hash == "":
		return p.Query, "", nil
	case p.Query == "":
		return d.findRegistered(ctx, hash)
	case hashOf(p.Query) != hash:
		return "", "", refuse(apierror.BadHash)
	}
	return p.Query, hash, nil
}

// trusts reports whether the text is that of a trusted document, however it was named.
func (d *documents) trusts(text string) bool {
	if len(d.trusted) == 0 {
		return false
	}
	_, ok := d.trusted[hashOf(text)]
	return ok
}

// findTrusted finds a trusted document, however it is named.
func (d *documents) findTrusted(query, hash string) (text, register string, _ *refusal) {
	if query != "" {
		hash = hashOf(query)
	}
	if text, ok := d.trusted[hash]; ok {
		return text, "", nil
	}
	return "", "", refuse(apierror.Untrusted)
}

func (d *documents) findRegistered(ctx context.Context, hash string) (text, register string, _ *refusal) {
	if text, ok := d.trusted[hash]; ok {
		return text, "", nil
	}
	if r, ok := d.registered.GetIfPresent(hash); ok {
		return r.text, "", nil
	}
	if d.shared != nil {
		// A shared document is verified: other programs may write to the same store.
		if text, ok := d.shared.Get(ctx, hash); ok && hashOf(text) == hash {
			d.registered.Set(hash, registered{text, true})
			return text, "", nil
		}
	}
	return "", "", refuse(apierror.NotRegistered)
}

// register stores a valid document, here and in the shared store, unless it is too large. If a
// client sends a document that was shared before, another gateway did not find it: it is shared
// again. All others are shared within a budget, so that a client that invents documents, and sends
// each twice, fills only the small store of this process.
func (d *documents) register(ctx context.Context, hash, text string) {
	if len(text) > documentBytes {
		return
	}
	known, _ := d.registered.GetIfPresent(hash)
	share := d.shared != nil && (known.shared || d.budget.AllowN(time.Now(), len(text)))
	if known.text == "" || share != known.shared {
		d.registered.Set(hash, registered{text, share})
	}
	if share {
		d.shared.Put(ctx, hash, text)
	}
}

// persisted returns the hash in extensions.persistedQuery, or "" if there is none.
func (p *params) persisted() (hash string, _ *refusal) {
	extension := p.Extensions["persistedQuery"]
	if extension == nil {
		return "", nil
	}
	fields, _ := extension.(map[string]any)
	hash, _ = fields["sha256Hash"].(string)
	if version, _ := fields["version"].(json.Number); version.String() != "1" || !isHash(hash) {
		return "", refuse(apierror.BadPersistedQuery)
	}
	return hash, nil
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func isHash(s string) bool {
	return len(s) == 2*sha256.Size && strings.Trim(s, "0123456789abcdef") == ""
}
