package transport

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// Trusted holds documents by the SHA-256 of their text, in lower case hexadecimal digits.
type Trusted map[string]string

// ReadTrusted reads every file whose name ends in .graphql, including those in subfolders. If the name of a file is a
// hash, the file must contain the document with that hash; other names have no meaning. It returns an error that names
// the file if a file is not a document, and an error for a folder without documents.
func ReadTrusted(folder fs.FS) (Trusted, error) {
	trusted := Trusted{}
	err := fs.WalkDir(folder, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() || path.Ext(name) != ".graphql" {
			return nil
		}
		data, err := fs.ReadFile(folder, name)
		if err != nil {
			return err
		}
		text := string(data)
		if !utf8.ValidString(text) {
			return fmt.Errorf("%s is not UTF-8", name)
		}
		doc, err := parser.ParseQuery(&ast.Source{Name: name, Input: text})
		if err != nil {
			return fmt.Errorf("%s is not a document: %w", name, err)
		}
		if len(doc.Operations) == 0 {
			return fmt.Errorf("%s has no operation", name)
		}
		hash := hashOf(text)
		if called := strings.TrimSuffix(path.Base(name), ".graphql"); isHash(called) && called != hash {
			return fmt.Errorf("%s has the content of document %s and a line feed at its end: remove it", name, hash)
		}
		trusted[hash] = text
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("trusted documents: %w", err)
	}
	if len(trusted) == 0 {
		return nil, fmt.Errorf("trusted documents: no file *.graphql found")
	}
	return trusted, nil
}
