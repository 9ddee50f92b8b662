package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
)

// server is one of the servers that are compared.
type server struct {
	name  string
	url   *url.URL
	admin string // URL of a gateway's admin port; "" for others
	pid   int    // 0 if unknown
	bare  bool   // returns a fixed response for each path
}

// otherServer parses NAME=URL or NAME=URL#PID.
func otherServer(text string) (server, error) {
	name, address, _ := strings.Cut(text, "=")
	u, err := url.Parse(address)
	if err != nil {
		return server{}, err
	}
	if name == "" || u.Scheme != "http" || u.Port() == "" {
		return server{}, fmt.Errorf("invalid server %q: want NAME=URL or NAME=URL#PID, such as plain=http://127.0.0.1:4000/graphql#1234", text)
	}
	s := server{name: name, url: u}
	if u.Fragment != "" {
		if s.pid, err = strconv.Atoi(u.Fragment); err != nil {
			return server{}, fmt.Errorf("%q is not a process id", u.Fragment)
		}
		u.Fragment = ""
	}
	return s, nil
}

// plain is a client that, like the load, does not accept compressed responses.
var plain = &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}}

// post sends a body and returns the response, which must have no errors.
func (s server) post(ctx context.Context, body string) (fixed, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url.String(), strings.NewReader(body))
	if err != nil {
		return fixed{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	return send(r)
}

func send(r *http.Request) (a fixed, err error) {
	w, err := plain.Do(r)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, w.Body.Close()) }()
	if a.Body, err = io.ReadAll(w.Body); err != nil {
		return a, err
	}
	a.Header = w.Header
	var errs struct{ Errors json.RawMessage }
	if w.StatusCode != http.StatusOK || bytes.HasPrefix(a.Body, []byte("{")) && (json.Unmarshal(a.Body, &errs) != nil || errs.Errors != nil) {
		return a, fmt.Errorf("%s returned %s: %.300s", r.URL, w.Status, a.Body)
	}
	return a, nil
}

// warm sends everything that an operation reads, so that a cache has it.
func warm(ctx context.Context, s server, op operation) error {
	if s.bare {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, body := range op.reads {
		g.Go(func() error {
			_, err := s.post(ctx, body)
			return err
		})
	}
	return g.Wait()
}

// hit returns a gateway's response from its cache.
func (s server) hit(ctx context.Context, body string) (fixed, error) {
	const tries = 3
	var status string
	for range tries {
		a, err := s.post(ctx, body)
		if err != nil {
			return a, err
		}
		if status = a.Header.Get("Cache-Status"); strings.HasPrefix(status, "fieldcache; hit") {
			a.Header.Del("Date") // net/http writes it by itself
			return a, nil
		}
	}
	return fixed{}, fmt.Errorf("%s does not cache the response to %s: %s", s.name, body, status)
}

// users returns how many users a server has.
func (s server) users(ctx context.Context) (int, error) {
	a, err := s.post(ctx, body(`{users(first:1){totalCount}}`, nil))
	if err != nil {
		return 0, err
	}
	var v struct {
		Data struct{ Users struct{ TotalCount int } }
	}
	if err := json.Unmarshal(a.Body, &v); err != nil {
		return 0, err
	}
	if v.Data.Users.TotalCount == 0 {
		return 0, fmt.Errorf("%s has no users: seed its database", s.name)
	}
	return v.Data.Users.TotalCount, nil
}

// tierHits are the values that a gateway's cache has served from each tier.
type tierHits struct{ memory, redis float64 }

// hits reads them from a gateway's metrics. Other servers have none.
func (s server) hits(ctx context.Context) (tierHits, error) {
	if s.admin == "" {
		return tierHits{}, nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.admin+"metrics", nil)
	if err != nil {
		return tierHits{}, err
	}
	a, err := send(r)
	if err != nil {
		return tierHits{}, err
	}
	return readHits(string(a.Body))
}

func readHits(metrics string) (h tierHits, err error) {
	for line := range strings.Lines(metrics) {
		for name, to := range map[string]*float64{"memory": &h.memory, "redis": &h.redis} {
			if value, ok := strings.CutPrefix(line, `fieldcache_hits_total{tier="`+name+`"} `); ok {
				if *to, err = strconv.ParseFloat(strings.TrimSpace(value), 64); err != nil {
					return h, err
				}
			}
		}
	}
	return h, nil
}

// share returns the share of Redis in the hits since before, or -1 if there were none.
func (h tierHits) share(before tierHits) float64 {
	all := h.memory - before.memory + h.redis - before.redis
	if all == 0 {
		return -1
	}
	return (h.redis - before.redis) / all
}
