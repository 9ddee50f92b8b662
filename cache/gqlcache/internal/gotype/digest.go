package gotype

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"reflect"
	"slices"
)

// maxDigestDepth limits the depth of a value; a deeper one is a cycle.
const maxDigestDepth = 32

// Digest returns a text that is equal for two values only if their contents are equal, private fields included: 128
// bits of SHA-256. It reports false for functions, channels and cycles, which have no digest.
func Digest(v any) (string, bool) {
	b, ok := appendContent(make([]byte, 0, 256), reflect.ValueOf(v), 0)
	if !ok {
		return "", false
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16]), true
}

// appendContent writes a value so that different values of any type are written differently.
func appendContent(b []byte, v reflect.Value, depth int) ([]byte, bool) {
	if depth > maxDigestDepth {
		return b, false
	}
	b = append(b, byte(v.Kind()))
	ok := true
	switch v.Kind() {
	case reflect.Invalid:
	case reflect.Bool:
		if v.Bool() {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		b = binary.AppendVarint(b, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		b = binary.AppendUvarint(b, v.Uint())
	case reflect.Float32, reflect.Float64:
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(v.Float()))
	case reflect.Complex64, reflect.Complex128:
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(real(v.Complex())))
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(imag(v.Complex())))
	case reflect.String:
		b = append(binary.AppendUvarint(b, uint64(v.Len())), v.String()...)
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.IsNil() {
			return append(b, 0), true
		}
		b = binary.AppendUvarint(b, 1+uint64(v.Len())) //nolint:gosec // a length
		for i := 0; ok && i < v.Len(); i++ {
			b, ok = appendContent(b, v.Index(i), depth+1)
		}
	case reflect.Map:
		if v.IsNil() {
			return append(b, 0), true
		}
		b = binary.AppendUvarint(b, 1+uint64(v.Len())) //nolint:gosec // a length
		var entries []string
		for k, e := range v.Seq2() {
			var entry []byte
			if entry, ok = appendContent(nil, k, depth+1); ok {
				entry, ok = appendContent(entry, e, depth+1)
			}
			if !ok {
				return b, false
			}
			entries = append(entries, string(entry))
		}
		slices.Sort(entries)
		for _, e := range entries {
			b = append(b, e...)
		}
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, 0), true
		}
		b = append(b, 1)
		if v.Kind() == reflect.Interface {
			name := v.Elem().Type().String()
			b = append(binary.AppendUvarint(b, uint64(len(name))), name...)
		}
		b, ok = appendContent(b, v.Elem(), depth+1)
	case reflect.Struct:
		for i := 0; ok && i < v.NumField(); i++ {
			b, ok = appendContent(b, v.Field(i), depth+1)
		}
	default:
		return b, v.IsZero()
	}
	return b, ok
}
