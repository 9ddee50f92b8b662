package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
)

// bareCommand makes this program a bare server.
const bareCommand = "serve-bare"

// fixed is a response of a bare server, always the same.
type fixed struct {
	Header http.Header
	Body   []byte
}

// serveBare serves each path with its fixed response from in, a JSON object, and writes its URL to
// out. Like the gateway, it lets the heap grow to five times the live data.
func serveBare(ctx context.Context, in io.Reader, out io.Writer) error {
	debug.SetGCPercent(400)
	var answers map[string]fixed
	if err := json.NewDecoder(in).Decode(&answers); err != nil {
		return err
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "http://%s/\n", l.Addr()); err != nil {
		return err
	}
	s := &http.Server{Handler: bareHandler(answers)}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func bareHandler(answers map[string]fixed) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		a, ok := answers[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		for name, values := range a.Header {
			h[name] = values
		}
		_, _ = w.Write(a.Body)
	}
}
