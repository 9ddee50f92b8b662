package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// documentAge is how long a registered document is stored; registering it again restarts its age.
const documentAge = 24 * time.Hour

func (s *Store) document(hash string) string { return s.prefix + "apq:" + hash }

// Document returns a document that a client registered with any gateway, by its SHA-256 in hexadecimal.
// An error, or a text with another hash, is a miss. A call takes no longer than the timeout.
func (s *Store) Document(ctx context.Context, hash string) (text string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	text, err := s.client.Get(ctx, s.document(hash)).Result()
	if err != nil {
		if !harmless(err) {
			s.log.DebugContext(ctx, "cannot read a registered document", "error", s.fault(ctx, "get", err))
		}
		return "", false
	}
	if sum := sha256.Sum256([]byte(text)); !strings.EqualFold(hex.EncodeToString(sum[:]), hash) {
		return "", false
	}
	return text, true
}

// PutDocument stores a document for a day. It logs an error and does not return it. A call takes no
// longer than the timeout.
func (s *Store) PutDocument(ctx context.Context, hash, text string) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := s.client.Set(ctx, s.document(hash), text, documentAge).Err(); err != nil {
		s.log.DebugContext(ctx, "cannot store a registered document", "error", s.fault(ctx, "set", err))
	}
}
