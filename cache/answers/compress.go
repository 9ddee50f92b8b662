package answers

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compressible is the size from which responses are compressed: for smaller ones the additional
// headers cost more than compression saves.
const compressible = 1 << 10

// brotliLevel takes 1.5 times as long as gzip's default and saves more. Higher levels take twice as
// long and save nothing.
const brotliLevel = 2

// Compressor compresses responses. It reuses its buffers; the result depends on the input alone. It is safe for
// concurrent use.
type Compressor struct {
	gzip, brotli sync.Pool // of writers
	zstd         *zstd.Encoder
}

// writer is the common interface of gzip's and brotli's writers.
type writer interface {
	io.WriteCloser
	Reset(io.Writer)
}

// NewCompressor returns a Compressor. It starts no goroutine.
func NewCompressor() (*Compressor, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, fmt.Errorf("answers: zstd: %w", err)
	}
	return &Compressor{
		zstd:   z,
		gzip:   sync.Pool{New: func() any { return gzip.NewWriter(nil) }},
		brotli: sync.Pool{New: func() any { return brotli.NewWriterLevel(nil, brotliLevel) }},
	}, nil
}

// Compress returns the bytes in an encoding. If they are too few, or compression would save nothing, it
// returns them unchanged, with Identity. It does not modify the bytes.
func (c *Compressor) Compress(identity []byte, e Encoding) ([]byte, Encoding) {
	if e == Identity || len(identity) < compressible {
		return identity, Identity
	}
	var compressed []byte
	switch e {
	case Zstd:
		compressed = c.zstd.EncodeAll(identity, make([]byte, 0, len(identity)/2))
	case Gzip:
		compressed = pooled(&c.gzip, identity)
	case Brotli:
		compressed = pooled(&c.brotli, identity)
	}
	if len(compressed) >= len(identity) {
		return identity, Identity
	}
	return bytes.Clone(compressed), e // without spare capacity, since it is stored
}

func pooled(pool *sync.Pool, identity []byte) []byte {
	w := pool.Get().(writer)
	defer pool.Put(w)
	b := bytes.NewBuffer(make([]byte, 0, len(identity)/2))
	w.Reset(b)
	// A buffer's Write does not fail.
	_, _ = w.Write(identity)
	_ = w.Close()
	return b.Bytes()
}
