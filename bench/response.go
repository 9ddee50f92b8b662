package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// response reads responses, and of each just enough to recognize it: the status, the length, and
// that the body begins with data or, if the length is not known in advance, is complete.
type response struct{ in *bufio.Reader }

func (r response) read() error {
	line, err := r.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 200")) {
		return fmt.Errorf("got status line %q", bytes.TrimSpace(line))
	}
	length, chunked := -1, false
	for {
		line, err := r.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		name, value, found := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		if !found {
			break
		}
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	if chunked {
		return r.chunks()
	}
	if length < 0 {
		return fmt.Errorf("the response has no Content-Length")
	}
	begin, err := r.in.Peek(min(length, len(data)))
	if err != nil {
		return err
	}
	if string(begin) != data {
		return fmt.Errorf("the response begins with %q", begin)
	}
	_, err = r.in.Discard(length)
	return err
}

// data is how a response without errors begins.
const data = `{"data":`

// chunks reads a chunked body.
func (r response) chunks() error {
	for {
		line, err := r.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, r.in, int64(size)+2); err != nil || size == 0 { //nolint:gosec // of 31 bits
			return err
		}
	}
}
