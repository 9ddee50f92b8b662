// Command modpath moves the module in the working directory to another path. It changes imports,
// go.mod files, gqlgen's configurations, documents, and everything else that names the module or
// one of its packages. The product's name, as in headers, metrics and tables, stays.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

func main() {
	if len(os.Args) != 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: scripts/rename MODULE, such as example.com/team/fieldcache")
		os.Exit(2)
	}
	summary, err := move(".", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "scripts/rename:", err)
		os.Exit(1)
	}
	fmt.Println(summary)
}

// move moves the module in a folder to another path, and returns a summary. It changes nothing if
// it refuses the path.
func move(root, to string) (summary string, err error) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", err
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return "", err
	}
	if err := check(to, mod); err != nil {
		return "", err
	}
	from := mod.Module.Mod.Path
	if from == to {
		return "the module is already " + to, nil
	}
	if err := findHostless(root); err != nil {
		return "", err
	}
	names, err := newNames(root, from, to)
	if err != nil {
		return "", err
	}
	changed, configs := 0, []string{}
	err = filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if skipped(e.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !e.Type().IsRegular() {
			return nil
		}
		if e.Name() == "gqlgen.yml" {
			configs = append(configs, filepath.Dir(name))
		}
		is, err := names.replace(name)
		if is {
			changed++
		}
		return err
	})
	if err != nil {
		return "", err
	}
	for _, dir := range configs { // generated names contain the module path
		cmd := exec.Command("go", "tool", "gqlgen", "generate", "--config", "gqlgen.yml")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: generate: %w\n%s", dir, err, out)
		}
	}
	return fmt.Sprintf("the module is %s: %d files changed", to, changed), nil
}

// check refuses a path that cannot be fetched, or that belongs to another module.
func check(to string, mod *modfile.File) error {
	if err := module.CheckPath(to); err != nil {
		return err
	}
	if _, major, _ := module.SplitPathVersion(to); major != "" {
		return fmt.Errorf("malformed module path %q: %s is for a second version, and there is no first one yet", to, major)
	}
	for _, r := range mod.Require {
		if p := r.Mod.Path; p == to || strings.HasPrefix(p, to+"/") || strings.HasPrefix(to, p+"/") {
			return fmt.Errorf("module path %q: this module needs %s, whose path it would share", to, p)
		}
	}
	return nil
}

// skipped reports whether a folder has no files of the module itself.
func skipped(folder string) bool {
	return slices.Contains([]string{".git", "node_modules", ".tools", "dist"}, folder)
}

// names finds the module in texts.
type names struct {
	from, to string
	packages *regexp.Regexp // a path that begins with the module's
	alone    *regexp.Regexp // the module's path alone, where it cannot be another name
}

// hostless maps sentences of docs/adopting.md about a path without a host to their replacements for
// a path with one.
var hostless = map[string]string{
	"The module's name has no host: `go mod edit -replace fieldcache=../fieldcache`": "`go get MODULE`",
	" The module's name has no host: use it by `replace`, or copy `cache/`.":         "",
}

// findHostless returns an error if the document no longer has one of these sentences: its new
// wording would not be replaced.
func findHostless(root string) error {
	file := filepath.Join(root, "docs", "adopting.md")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for sentence := range hostless {
		if !bytes.Contains(text, []byte(sentence)) {
			err = errors.Join(err, fmt.Errorf("%s no longer has this sentence; update hostless in scripts/modpath: %s", file, sentence))
		}
	}
	return err
}

func newNames(root, from, to string) (*names, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	folders := []string{`\.\.\.`}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			folders = append(folders, regexp.QuoteMeta(e.Name())+`\b`)
		}
	}
	quoted := regexp.QuoteMeta(from)
	return &names{from, to,
		regexp.MustCompile(`(^|[^A-Za-z0-9_./@-])` + quoted + `(/(?:` + strings.Join(folders, "|") + `|["']))`),
		regexp.MustCompile(`(?m)(^module |^replace |replace |^\t|^require |const module = ")` + quoted + `( v0\.0\.0| =>|"|$)`),
	}, nil
}

// replace rewrites a file with the new path, and reports whether it changed.
func (n *names) replace(file string) (bool, error) {
	old, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	if !bytes.Contains(old, []byte(n.from)) || !utf8.Valid(old) || bytes.IndexByte(old, 0) >= 0 {
		return false, nil
	}
	text := string(old)
	for sentence, instead := range hostless {
		text = strings.ReplaceAll(text, sentence, strings.ReplaceAll(instead, "MODULE", n.to))
	}
	to := strings.ReplaceAll(n.to, "$", "$$")
	text = n.packages.ReplaceAllString(text, "${1}"+to+"${2}")
	text = n.packages.ReplaceAllString(text, "${1}"+to+"${2}") // the second of two that share the character between them
	text = n.alone.ReplaceAllString(text, "${1}"+to+"${2}")
	if text == string(old) {
		return false, nil
	}
	written := []byte(text)
	switch {
	case filepath.Ext(file) == ".go":
		if written, err = format.Source(written); err != nil { // sorts the imports
			return false, fmt.Errorf("%s: %w", file, err)
		}
	case filepath.Base(file) == "go.mod":
		mod, err := modfile.Parse(file, written, nil)
		if err != nil {
			return false, err
		}
		mod.SortBlocks()
		if written, err = mod.Format(); err != nil {
			return false, err
		}
	}
	info, err := os.Stat(file)
	return true, errors.Join(err, os.WriteFile(file, written, info.Mode().Perm()))
}
