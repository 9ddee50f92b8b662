package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var whole = flag.Bool("whole", false, "TestTheTreeIsMoved also regenerates all code and builds everything")

// copied returns a copy of the tree without generated and built files.
func copied(t *testing.T) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		at, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		switch {
		case e.IsDir() && e.Name() == "dist":
			if err := os.MkdirAll(filepath.Join(to, at), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(to, at, ".gitkeep"), nil, 0o600)
		case e.IsDir() && skipped(e.Name()):
			return fs.SkipDir
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, at), 0o755)
		case !e.Type().IsRegular() || strings.Contains(e.Name(), ".db") || at == "fieldcache": // go build may leave it
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, at), text, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// digests returns the hashes of all files of a tree.
func digests(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		all[name] = fmt.Sprintf("%x", sha256.Sum256(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func run(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// generateOnlyExamples removes gqlgen's other configurations from a copy, so that their generated
// code is moved as it is.
func generateOnlyExamples(t *testing.T, root string) {
	t.Helper()
	left := 0
	if err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || e.Name() != "gqlgen.yml":
			return err
		case strings.HasPrefix(name, filepath.Join(root, "examples")+string(filepath.Separator)):
			left++
			return nil
		}
		return os.Remove(name)
	}); err != nil || left == 0 {
		t.Fatalf("%d configurations are left (%v), want those of the examples", left, err)
	}
}

// A copy of the tree that is moved to a hosted path builds, and so do its examples; moving it again
// changes nothing. By default all imports are resolved, and the examples are generated and compiled
// with the packages they use. With -whole everything is.
func TestTheTreeIsMoved(t *testing.T) {
	t.Parallel()
	root := copied(t)
	if !*whole {
		generateOnlyExamples(t, root)
	}
	const to = "example.com/some-team/field.cache"
	rename := filepath.Join("scripts", "rename")
	if out, err := run(t, root, "./"+rename, to); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	before := digests(t, root)
	if out, err := run(t, root, "./"+rename, to); err != nil || !strings.Contains(out, "already") {
		t.Errorf("the second move: got %v\n%s", err, out)
	}
	for name, sum := range digests(t, root) {
		if before[name] != sum {
			t.Errorf("the second move changed %s", name)
		}
	}
	left, err := newNames(root, "fieldcache", to)
	if err != nil {
		t.Fatal(err)
	}
	for name := range before {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if at := left.packages.FindIndex(text); at != nil && filepath.Dir(name) != filepath.Join(root, "scripts", "modpath") {
			t.Errorf("%s still has %s", name, text[at[0]:min(at[1]+40, len(text))])
		}
		if strings.HasSuffix(name, "adopting.md") && (strings.Contains(string(text), "has no host") || !strings.Contains(string(text), "`go get "+to+"`")) {
			t.Errorf("%s does not say how to get the module", name)
		}
	}
	type command struct{ dir, command string }
	commands := []command{
		{"", "go list -deps -test -f {{\"\"}} ./..."}, {"examples/todo", "go vet ./..."}, {"examples/issues", "go vet ./..."},
		{"examples/todo", "go mod tidy -diff"}, {"", "gofmt -l ."},
	}
	if *whole {
		commands = append(commands, command{"", "go build ./..."}, command{"", "go vet ./cache/..."})
	}
	for _, c := range commands {
		words := strings.Fields(c.command)
		if out, err := run(t, filepath.Join(root, c.dir), words[0], words[1:]...); err != nil || words[0] == "gofmt" && out != "" {
			t.Errorf("%s in %q: %v\n%s", c.command, c.dir, err, out)
		}
	}
}

// docs/adopting.md has the sentences that the move replaces. Without one of them nothing is moved.
func TestSentencesAboutTheHostAreFound(t *testing.T) {
	t.Parallel()
	if err := findHostless(filepath.Join("..", "..")); err != nil {
		t.Error(err)
	}
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "docs"), 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		filepath.Join(root, "go.mod"):              "module fieldcache\n\ngo 1.26\n",
		filepath.Join(root, "docs", "adopting.md"): "The module's name has no host: use `replace`.\n",
	}
	for file, text := range files {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := move(root, "example.com/x")
	for sentence := range hostless {
		if err == nil || !strings.Contains(err.Error(), "adopting.md no longer has this sentence") || !strings.Contains(err.Error(), sentence) {
			t.Errorf("the error does not name %q: %v", sentence, err)
		}
	}
	for file, text := range files {
		if now, err := os.ReadFile(file); err != nil || string(now) != text {
			t.Errorf("%s was changed: %s, %v", file, now, err)
		}
	}
}

// A path that `go get` cannot fetch is refused, and nothing changes.
func TestBadPathsAreRefused(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	text := "module fieldcache\n\ngo 1.26\n\nrequire github.com/jackc/pgx/v5 v5.12.0\n"
	if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{
		"":                             "malformed module path",
		"fieldcache2":                  "missing dot in first path element",
		"https://example.com/x":        "malformed module path",
		"example.com/a b":              "malformed module path",
		"example.com/x/":               "trailing slash",
		"example.com//x":               "double slash",
		"Example.com/x":                "malformed module path",
		"example.com/x/v2":             "no first one yet",
		"github.com/jackc/pgx/v5":      "",
		"github.com/jackc/pgx/v5/sub":  "whose path it would share",
		"github.com/jackc":             "whose path it would share",
		"example.com/fieldcache@v1":    "malformed module path",
		"example.com/x\nreplace a=> b": "malformed module path",
	} {
		if _, err := move(root, to); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", to, err, want)
		}
	}
	if now, err := os.ReadFile(filepath.Join(root, "go.mod")); err != nil || string(now) != text {
		t.Errorf("go.mod was changed: %s, %v", now, err)
	}
}

// Only the module path changes, not the name of the product.
func TestTheProductKeepsItsName(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, folder := range []string{"cache", "db"} {
		if err := os.Mkdir(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n, err := newNames(root, "fieldcache", "example.com/x/y")
	if err != nil {
		t.Fatal(err)
	}
	for old, want := range map[string]string{
		`go doc fieldcache/cache/gqlcache`:          `go doc example.com/x/y/cache/gqlcache`,
		`[fieldcache/cache.Store], fieldcache/db`:   `[example.com/x/y/cache.Store], example.com/x/y/db`,
		"module fieldcache\n":                       "module example.com/x/y\n",
		"\tfieldcache v0.0.0\n":                     "\texample.com/x/y v0.0.0\n",
		"replace fieldcache => ../..":               "replace example.com/x/y => ../..",
		`grep '"fieldcache/' . -v '"fieldcache/db'`: `grep '"example.com/x/y/' . -v '"example.com/x/y/db'`,
		`"fieldcache/cache","fieldcache/db"`:        `"example.com/x/y/cache","example.com/x/y/db"`,
		`Cache-Status: fieldcache; hit`:             `Cache-Status: fieldcache; hit`,
		`fieldcache_loads_total`:                    `fieldcache_loads_total`,
		`fieldcache migrate up`:                     `fieldcache migrate up`,
		`https://github.com/x/fieldcache/cache`:     `https://github.com/x/fieldcache/cache`,
		`ENTRYPOINT ["fieldcache"]`:                 `ENTRYPOINT ["fieldcache"]`,
		`the file fieldcache/dbase`:                 `the file fieldcache/dbase`,
	} {
		file := filepath.Join(root, "file.md")
		if err := os.WriteFile(file, []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := n.replace(file); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%q: got %q, %v; want %q", old, got, err, want)
		}
	}
}
