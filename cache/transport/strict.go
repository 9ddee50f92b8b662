package transport

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// jsonReader reads JSON from clients so that every parser would read the same: names are
// case-sensitive, a repeated name is an error, and so is a string that is not valid Unicode, such
// as "\ud800". encoding/json takes the last of two names regardless of case, and replaces half a
// surrogate pair by U+FFFD.
type jsonReader struct {
	*jsontext.Decoder
	input *bytes.Buffer
	large bool // it read a large text
}

// jsonReaders has readers to use again: a decoder allocates memory to detect repeated names.
var jsonReaders = sync.Pool{New: func() any {
	input := new(bytes.Buffer)
	return &jsonReader{Decoder: jsontext.NewDecoder(input), input: input}
}}

// byteOrderMark may precede a text in UTF-8. RFC 8259 lets a reader skip it.
var byteOrderMark = []byte("\ufeff")

// newJSONReader returns a reader of text. The caller closes it.
func newJSONReader(text []byte) *jsonReader {
	r := jsonReaders.Get().(*jsonReader)
	*r.input = *bytes.NewBuffer(bytes.TrimPrefix(text, byteOrderMark))
	r.Reset(r.input)
	r.large = len(text) > pooledBytes
	return r
}

// close ends the use of r. It is not used again after a large text: a decoder keeps its memory of
// the names of the last objects, which is a multiple of the text.
func (r *jsonReader) close() {
	if r.large {
		return
	}
	*r.input = bytes.Buffer{}
	r.Reset(r.input) // which drops the text
	jsonReaders.Put(r)
}

// errKind is the error for a value of another kind than the caller expects.
var errKind = errors.New("a value of the wrong kind")

// object reads an object. It calls member with each name; member reads the value. A null is an
// object without members.
func (r *jsonReader) object(member func(name string) error) error {
	switch r.PeekKind() {
	case 'n':
		return r.SkipValue()
	case '{':
	default:
		return r.mismatch()
	}
	if _, err := r.ReadToken(); err != nil {
		return err
	}
	for r.PeekKind() != '}' {
		name, err := r.ReadToken()
		if err != nil {
			return err
		}
		if err := member(name.String()); err != nil {
			return err
		}
	}
	_, err := r.ReadToken()
	return err
}

// string reads a string. A null is the empty string.
func (r *jsonReader) string() (string, error) {
	switch r.PeekKind() {
	case 'n':
		return "", r.SkipValue()
	case '"':
		t, err := r.ReadToken()
		return t.String(), err
	}
	return "", r.mismatch()
}

// mismatch returns errKind, or the syntax error in the text of the value.
func (r *jsonReader) mismatch() error {
	if err := r.SkipValue(); err != nil {
		return err
	}
	return errKind
}

// value reads any value, as encoding/json would with UseNumber.
func (r *jsonReader) value() (any, error) {
	switch r.PeekKind() {
	case '{':
		return r.members()
	case '[':
		return r.elements()
	}
	t, err := r.ReadToken()
	if err != nil {
		return nil, err
	}
	switch t.Kind() {
	case '"':
		return t.String(), nil
	case '0':
		return json.Number(t.String()), nil
	case 't', 'f':
		return t.Bool(), nil
	}
	return nil, nil
}

// members reads the members of an object; nil for null.
func (r *jsonReader) members() (map[string]any, error) {
	if r.PeekKind() == 'n' {
		return nil, r.SkipValue()
	}
	all := map[string]any{}
	err := r.object(func(name string) error {
		v, err := r.value()
		all[name] = v
		return err
	})
	return all, err
}

func (r *jsonReader) elements() ([]any, error) {
	if _, err := r.ReadToken(); err != nil {
		return nil, err
	}
	all := []any{}
	for r.PeekKind() != ']' {
		v, err := r.value()
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	_, err := r.ReadToken()
	return all, err
}

// end returns nil if there is no further input.
func (r *jsonReader) end() error {
	_, err := r.ReadToken()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return errors.New("more than one JSON value")
	}
	return err
}
