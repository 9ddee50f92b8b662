package apierror_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fieldcache/cache/apierror"
)

// Every error of this package is in the table, with everything that the author of a client needs.
func TestTableIsComplete(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("apierror.go")
	if err != nil {
		t.Fatal(err)
	}
	if defined, listed := len(regexp.MustCompile(`(?m)^\t\w+ += Error\{"`).FindAll(source, -1)), len(apierror.All()); defined != listed || listed < 50 {
		t.Errorf("%d errors are defined but %d are listed", defined, listed)
	}
	seen := map[string]bool{}
	for _, e := range apierror.All() {
		id := e.Code + " " + e.Message
		if seen[id] {
			t.Errorf("%s is listed twice", id)
		}
		seen[id] = true
		if e.Code != strings.ToUpper(e.Code) || e.Meaning == "" || e.Remedy == "" || e.Status != 0 && e.Status < 400 {
			t.Errorf("incomplete entry %+v", e)
		}
		if strings.ContainsAny(e.Message+e.Meaning+e.Remedy, "|\n") {
			t.Errorf("%s would break the table", id)
		}
	}
}

// No other file has an error code of its own.
func TestCodesStandHereAlone(t *testing.T) {
	t.Parallel()
	codes := map[string]bool{}
	for _, e := range apierror.All() {
		codes[e.Code] = true
	}
	literal := regexp.MustCompile(`"[A-Z]+(?:_[A-Z]+)*"`)
	files := 0
	for _, dir := range []string{"../../cache/gqlcache", "../../cache/transport", "../../graph", "../../internal/serve", "../../db"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			text, err := os.ReadFile(path)
			for _, m := range literal.FindAllString(string(text), -1) {
				if codes[strings.Trim(m, `"`)] {
					t.Errorf("%s has the code %s: use the error of apierror", path, m)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 20 {
		t.Errorf("read %d files, want at least 20", files)
	}
}

func TestWith(t *testing.T) {
	t.Parallel()
	if got := apierror.BodyTooLarge.With(7); got.Message != "The body is too large; the limit is 7 bytes." || got.Status != 413 {
		t.Errorf("got %+v", got)
	}
	if got := apierror.Forbidden.With(); got != apierror.Forbidden {
		t.Errorf("got %+v", got)
	}
}
