package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"fieldcache/cache/gqlcache"
	"fieldcache/internal/config"
)

func doExplain(_ context.Context, args []string, cfg config.Config, sys System, _ *slog.Logger) error {
	document, err := readDocument(args[0])
	if err != nil {
		return err
	}
	o := gqlcache.ExplainOptions{Operation: cfg.ExplainOperation}
	if cfg.ExplainVariables != "" {
		d := json.NewDecoder(strings.NewReader(cfg.ExplainVariables))
		d.UseNumber()
		if err := d.Decode(&o.Variables); err != nil || d.More() {
			return &config.Error{Faults: []string{`--variables is not a JSON object such as {"id": "42"}`}}
		}
	}
	e, err := sys.Explain(document, o)
	if err != nil {
		return fmt.Errorf("cannot explain the operation: %w", err)
	}
	if cfg.ExplainJSON {
		out := json.NewEncoder(sys.Stdout)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(e)
	}
	return writeExplanation(sys.Stdout, e)
}

// readDocument returns arg if it is a document, or else the text of the file named arg.
func readDocument(arg string) (string, error) {
	if strings.ContainsAny(arg, "{}") {
		return arg, nil
	}
	text, err := os.ReadFile(arg)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%q is neither an existing file nor a document, which has braces", arg)
	}
	return string(text), err
}

// writeExplanation writes a table with a line for each field, and the response's Cache-Control with the
// fields that determine it.
func writeExplanation(out io.Writer, e *gqlcache.Explanation) error {
	fmt.Fprintf(out, "%s\n\n", e.Operation)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIELD\tAGE\tSCOPE\tCACHED\tTRUTH\tKEY")
	for _, f := range e.Fields {
		age := "as its parent"
		if f.MaxAge != nil {
			age = shortDuration(*f.MaxAge)
		}
		cached := map[string]string{"field": "by itself", "loader": "by its loader", "parent": "with its parent", "no": "no"}[f.Stored]
		key := f.Key
		if f.Objects != "" {
			key = strings.TrimSpace(key + " " + f.Objects)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", f.Path, age, f.Scope, cached, f.Truth, key)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, f := range e.Fields {
		for _, m := range f.MadeOf {
			fmt.Fprintf(out, "%s depends on %s\n", f.Path, m)
		}
		if f.Note != "" {
			fmt.Fprintf(out, "%s: %s\n", f.Path, f.Note)
		}
	}
	decides := ""
	if e.MaxAgeBy != "" {
		decides = "; " + e.MaxAgeBy + " determines the age"
	}
	if e.ScopeBy != "" {
		decides += "; " + e.ScopeBy + " makes it private"
	}
	_, err := fmt.Fprintf(out, "\nCache-Control: %s%s\n", e.CacheControl, decides)
	return err
}

// shortDuration formats seconds as 1h, 5m or 30s.
func shortDuration(seconds int64) string {
	text := (time.Duration(seconds) * time.Second).String()
	for _, zero := range []string{"0s", "0m"} {
		if short, ok := strings.CutSuffix(text, zero); ok && strings.HasSuffix(short, map[string]string{"0s": "m", "0m": "h"}[zero]) {
			text = short
		}
	}
	return text
}
