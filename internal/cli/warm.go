package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
	"golang.org/x/term"

	"fieldcache/internal/config"
)

const (
	warmParallel = 4                // concurrent requests; warming must not crowd out users
	warmTimeout  = 10 * time.Minute // the maximum of REQUEST_TIMEOUT
	warmMaxBytes = 64 << 20         // the maximum size of a response
)

// warmup is one request: an operation of a file with one set of variables.
type warmup struct {
	name string // for messages
	body []byte
}

// doWarm sends each operation of the files to the server at LISTEN_ADDR. It sends all of them, even if some
// fail, and returns an error that lists those that failed.
func doWarm(ctx context.Context, files []string, cfg config.Config, sys System, _ *slog.Logger) error {
	var requests []warmup
	var faults []string
	for _, file := range files {
		list, err := readWarmups(file, cfg.WarmVariables)
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", file, err))
		}
		requests = append(requests, list...)
	}
	if len(faults) > 0 {
		return &config.Error{Faults: faults}
	}
	var (
		client = http.Client{Timeout: warmTimeout, Transport: &http.Transport{MaxConnsPerHost: warmParallel}} // and no proxy
		url    = "http://" + dialable(cfg.ListenAddr) + "/graphql"
		slots  = make(chan struct{}, warmParallel)
		group  sync.WaitGroup
		errs   = make([]error, len(requests))
		hits   = make([]bool, len(requests))
		bar    = progressbar.NewOptions(len(requests), progressbar.OptionSetWriter(progressWriter(sys.Stderr)),
			progressbar.OptionSetDescription("warming"), progressbar.OptionShowCount(), progressbar.OptionClearOnFinish())
	)
	for i, w := range requests {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			hits[i], errs[i] = w.send(ctx, &client, url, cfg.WarmToken)
			_ = bar.Add(1)
		})
	}
	group.Wait()
	client.CloseIdleConnections()
	_ = bar.Finish()
	failed, cached := 0, 0
	for i, err := range errs {
		switch {
		case err != nil:
			failed++
			errs[i] = fmt.Errorf("%s: %w", requests[i].name, err)
		case hits[i]:
			cached++
		}
	}
	fmt.Fprintf(sys.Stdout, "warmed: %d operations, %d of which were already cached\n", len(requests)-failed, cached)
	if failed > 0 {
		return fmt.Errorf("%d of %d operations failed:\n%w", failed, len(requests), errors.Join(errs...))
	}
	return nil
}

// progressWriter returns w if it is a terminal.
func progressWriter(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return w
	}
	return io.Discard
}

// readWarmups reads the operations of a file. Their variables are in given, or else in the file of the same
// name that ends in .json: an object, or a list of objects, each of which makes a request of its own.
func readWarmups(file, given string) ([]warmup, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, errors.Unwrap(err) // without the name, which the caller adds
	}
	doc, err := parser.ParseQuery(&ast.Source{Input: string(text)})
	if err != nil {
		return nil, err
	}
	if len(doc.Operations) == 0 {
		return nil, errors.New("no operation")
	}
	variables, err := readVariables(file, given)
	if err != nil {
		return nil, err
	}
	var list []warmup
	for _, op := range doc.Operations {
		if op.Operation != ast.Query {
			return nil, fmt.Errorf("cannot warm the %s %q: only queries are cached", op.Operation, op.Name)
		}
		for i, v := range variables {
			w := warmup{name: file}
			if len(doc.Operations) > 1 {
				w.name += " " + op.Name
			}
			if len(variables) > 1 {
				w.name += fmt.Sprintf(" #%d", i+1)
			}
			w.body, err = json.Marshal(map[string]any{"query": string(text), "operationName": op.Name, "variables": v})
			if err != nil {
				return nil, err
			}
			list = append(list, w)
		}
	}
	return list, nil
}

func readVariables(file, given string) ([]json.RawMessage, error) {
	from, text := "--variables", []byte(given)
	if given == "" {
		from = strings.TrimSuffix(file, filepath.Ext(file)) + ".json"
		beside, err := os.ReadFile(from)
		if errors.Is(err, fs.ErrNotExist) {
			return []json.RawMessage{[]byte("{}")}, nil
		}
		if err != nil {
			return nil, err
		}
		text = beside
	}
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		list = []json.RawMessage{text}
	}
	for _, v := range list {
		if err := json.Unmarshal(v, new(map[string]any)); err != nil {
			return nil, fmt.Errorf("%s is not a JSON object or a list of objects: %w", from, err)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s is an empty list", from)
	}
	return list, nil
}

// send sends the request and reports whether the response was already cached. It returns an error for a
// response with errors.
func (w warmup) send(ctx context.Context, client *http.Client, url, token string) (hit bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(w.body))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(r)
	if err != nil {
		return false, fmt.Errorf("no server responds: %w", errors.Unwrap(err))
	}
	defer response.Body.Close()
	var answer struct {
		Data   json.RawMessage
		Errors []struct{ Message string }
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, warmMaxBytes)).Decode(&answer); err != nil {
		return false, fmt.Errorf("%s, not a GraphQL response: %w", response.Status, err)
	}
	if len(answer.Errors) > 0 {
		return false, fmt.Errorf("%s: %s", response.Status, answer.Errors[0].Message)
	}
	if response.StatusCode != http.StatusOK {
		return false, errors.New(response.Status)
	}
	return strings.Contains(response.Header.Get("Cache-Status"), "; hit"), nil
}
