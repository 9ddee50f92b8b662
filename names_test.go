package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each exported name of the engine's packages has a comment that begins with the name.
func TestExportedNamesAreDocumented(t *testing.T) {
	t.Parallel()
	files, names := token.NewFileSet(), 0
	err := filepath.WalkDir("cache", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "internal" || e.Name() == "testdata"):
			return fs.SkipDir
		case e.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, lacking := range undocumented(file, &names) {
			t.Errorf("%s: %s lacks a doc comment", files.Position(lacking.Pos()), lacking.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if names < 300 {
		t.Errorf("found %d exported names, want at least 300", names)
	}
}

// undocumented returns the exported names of a file that lack a doc comment, and adds the number of
// all exported names to count.
func undocumented(file *ast.File, count *int) (lacking []*ast.Ident) {
	check := func(name *ast.Ident, begins bool, docs ...*ast.CommentGroup) {
		if !name.IsExported() {
			return
		}
		*count++
		for _, doc := range docs {
			if text := doc.Text(); text != "" && (!begins || regexp.MustCompile(`^((A|An|The) )?`+name.Name+`\b`).MatchString(text)) {
				return
			}
		}
		lacking = append(lacking, name)
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type)) {
				check(d.Name, true, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					check(spec.Name, true, spec.Doc, d.Doc)
					if spec.Name.IsExported() {
						members(spec, check)
					}
				case *ast.ValueSpec:
					for _, name := range spec.Names { // a group has one comment, or each name its own
						check(name, d.Lparen == token.NoPos && len(spec.Names) == 1, spec.Doc, spec.Comment, d.Doc)
					}
				}
			}
		}
	}
	return lacking
}

// members checks the methods of an interface, whose comments begin with their names, and the fields
// of option structs. Other structs explain their fields in their own comment where needed.
func members(spec *ast.TypeSpec, check func(name *ast.Ident, begins bool, docs ...*ast.CommentGroup)) {
	switch typ := spec.Type.(type) {
	case *ast.InterfaceType:
		for _, m := range typ.Methods.List {
			for _, name := range m.Names {
				check(name, true, m.Doc, m.Comment)
			}
		}
	case *ast.StructType:
		if !strings.HasSuffix(spec.Name.Name, "Options") {
			return
		}
		var above *ast.CommentGroup // of a group of fields
		for _, f := range typ.Fields.List {
			if f.Doc != nil {
				above = f.Doc
			}
			for _, name := range f.Names {
				check(name, false, f.Doc, f.Comment, above)
			}
		}
	}
}

// receiver returns the name of a method's receiver type.
func receiver(typ ast.Expr) string {
	switch typ := typ.(type) {
	case *ast.StarExpr:
		return receiver(typ.X)
	case *ast.IndexExpr:
		return receiver(typ.X)
	case *ast.Ident:
		return typ.Name
	}
	return ""
}

func TestUndocumentedNamesAreFound(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "x.go", `package x

// GoodOptions are.
type GoodOptions struct {
	// A is.
	A int
	B int // is
	hidden int
}

// Something else.
func Bad() {}

func (GoodOptions) Worse() {}

// An Able has.
type Able interface {
	// Do does.
	Do()
	Not()
}

type Bare struct{ F int }

// FullOptions are.
type FullOptions struct{ F int }

const Lone = 1

// Those are.
const (
	One = iota
	Two
)

func (hidden) Method() {}
`, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	count := 0
	for _, name := range undocumented(file, &count) {
		found = append(found, name.Name)
	}
	if got := strings.Join(found, " "); got != "Bad Worse Not Bare F Lone" || count != 14 {
		t.Errorf("got %s of %d names, want Bad Worse Not Bare F Lone of 14", got, count)
	}
}
