package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every mutant still fits the engine's code. Otherwise that would be noticed only when the mutants
// are run.
func TestMutantsFitTheFiles(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join("../..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: the text to change is in %s %d times, want once: %s", m.name, m.file, n, m.old)
		}
		if names[m.name] || len(m.red) == 0 || m.old == m.new {
			t.Errorf("%s: the name is not unique, or there is no test, or nothing changes", m.name)
		}
		names[m.name] = true
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	red := []string{"TestModel/a list", "TestFloors"}
	for name, c := range map[string]struct {
		out      string
		survived bool
		refused  bool
	}{
		"all fail":            {out: "--- FAIL: TestModel (0.00s)\n    --- FAIL: TestModel/a_list (0.00s)\n--- FAIL: TestFloors (0.01s)\nFAIL\n"},
		"only one fails":      {out: "--- FAIL: TestFloors (0.01s)\nFAIL\n", survived: true},
		"none fails":          {out: "ok  \tfieldcache/cache\t0.1s\n", survived: true},
		"another one failed":  {out: "--- FAIL: TestFloorsAndMore (0.01s)\n--- FAIL: TestModel (0.00s)\n", survived: true},
		"it does not compile": {out: "FAIL\tfieldcache/cache [build failed]\n", refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := verdict([]byte(c.out), nil, red)
			if errors.Is(err, errSurvived) != c.survived || (err != nil) != (c.survived || c.refused) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestPattern(t *testing.T) {
	t.Parallel()
	const want = "^TestModel$/^a_list$|^TestFloors$"
	if got := pattern([]string{"TestModel/a list", "TestFloors"}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRunRefusesUnknownNames(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), false, []string{"no such mutant"}); err == nil {
		t.Error("got no error, want one")
	}
}
