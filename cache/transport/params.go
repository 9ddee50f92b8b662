package transport

import (
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"fieldcache/cache/apierror"
)

// params is one operation as a client requests it.
type params struct {
	Query         string
	DocumentID    string
	OperationName string
	Variables     map[string]any
	Extensions    map[string]any
}

const (
	example = `{"query": "{ __typename }", "variables": {}}`
	asBody  = "Send a JSON object in UTF-8, such as " + example + "."
	asURL   = "Send a query in the URL, such as ?query={__typename}, or send it by POST."
)

// complete refuses parameters that do not identify a document.
func (p *params) complete(instead string) *refusal {
	switch {
	case p.Query == "" && p.DocumentID == "" && p.Extensions["persistedQuery"] == nil:
		return refuse(apierror.NoQuery, instead)
	case p.Query != "" && p.DocumentID != "":
		return refuse(apierror.TwoDocuments)
	}
	return nil
}

// readBody decodes the body of a POST: one operation, or a batch of at most limit.
func readBody(body []byte, limit int) (list []params, batch bool, _ *refusal) {
	if !utf8.Valid(body) {
		return nil, false, refuse(apierror.BodyNotUTF8, asBody)
	}
	r := newJSONReader(body)
	defer r.close()
	if batch = r.PeekKind() == '['; batch {
		_, _ = r.ReadToken() // the opening bracket
	}
	for n := 0; n == 0 || batch; n++ {
		if batch && r.PeekKind() == ']' {
			break
		}
		if n == limit {
			return nil, true, refuse(apierror.BatchTooLarge, limit)
		}
		p, refused := readObject(r)
		if refused != nil {
			return nil, batch, refused
		}
		list = append(list, p)
	}
	if batch {
		if _, err := r.ReadToken(); err != nil {
			return nil, true, notJSON(err)
		}
		if len(list) == 0 {
			return nil, true, refuse(apierror.BatchEmpty, example)
		}
	}
	if err := r.end(); err != nil {
		return nil, batch, refuse(apierror.BodyGoesOn, asBody)
	}
	return list, batch, nil
}

// readObject decodes the next operation. Unknown names are skipped.
func readObject(r *jsonReader) (p params, _ *refusal) {
	wrong, kind := "", "" // the member of a wrong kind, and the kind that it must have
	err := errKind
	if r.PeekKind() != 'n' { // null is not an object
		err = r.object(func(name string) (err error) {
			wrong, kind = name, "a string"
			switch name {
			case "query":
				p.Query, err = r.string()
			case "documentId":
				p.DocumentID, err = r.string()
			case "operationName":
				p.OperationName, err = r.string()
			case "variables", "extensions":
				kind = "an object"
				var all map[string]any
				if k := r.PeekKind(); k != 'n' && k != '{' {
					return r.mismatch()
				}
				if all, err = r.members(); name == "variables" {
					p.Variables = all
				} else {
					p.Extensions = all
				}
			default:
				err = r.SkipValue()
			}
			return err
		})
	}
	switch {
	case errors.Is(err, io.EOF):
		return p, refuse(apierror.BodyEmpty, asBody)
	case errors.Is(err, errKind) && wrong != "":
		return p, refuse(apierror.BadMember, wrong, kind)
	case errors.Is(err, errKind):
		return p, refuse(apierror.BodyNotObject, asBody)
	case err != nil:
		return p, notJSON(err)
	}
	return p, p.complete(asBody)
}

// notJSON returns the refusal of a body because of an error of its reader.
func notJSON(err error) *refusal {
	if what := faultOf(err); what != "" {
		return refuse(apierror.BodyFault, what)
	}
	return refuse(apierror.BodyNotJSON, asBody)
}

// faultOf says what is wrong with a text whose syntax is JSON; "" for other errors.
func faultOf(err error) string {
	var fault *jsontext.SyntacticError
	if !errors.As(err, &fault) {
		return ""
	}
	name := fault.JSONPointer.LastToken()
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName) && isParameter(name):
		return name + " is given more than once"
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "an object has two members of the same name"
	case strings.Contains(err.Error(), "surrogate"):
		return `a string has half a surrogate pair: write a character beyond U+FFFF as it is, or as two escapes such as \ud83d\ude00`
	}
	return ""
}

func isParameter(name string) bool {
	return slices.Contains([]string{"query", "documentId", "operationName", "variables", "extensions"}, name)
}

// readURL decodes the parameters of a GET.
func readURL(query string) (p params, _ *refusal) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return p, refuse(apierror.BadURL, asURL)
	}
	for _, t := range []struct {
		name  string
		field *string
	}{{"query", &p.Query}, {"documentId", &p.DocumentID}, {"operationName", &p.OperationName}} {
		if len(values[t.name]) > 1 {
			return p, refuse(apierror.ParameterTwice, t.name)
		}
		*t.field = values.Get(t.name)
		if !utf8.ValidString(*t.field) {
			return p, refuse(apierror.ParameterNotUTF8, t.name)
		}
	}
	for _, o := range []struct {
		name  string
		field *map[string]any
	}{{"variables", &p.Variables}, {"extensions", &p.Extensions}} {
		if len(values[o.name]) > 1 {
			return p, refuse(apierror.ParameterTwice, o.name)
		}
		text := values.Get(o.name)
		if text == "" {
			continue
		}
		if *o.field, err = decodeObject(text); err != nil {
			if what := faultOf(err); what != "" {
				return p, refuse(apierror.ParameterFault, o.name, what)
			}
			return p, refuse(apierror.ParameterNotObject, o.name)
		}
	}
	return p, p.complete(asURL)
}

// decodeObject reads a text that is an object or null.
func decodeObject(text string) (map[string]any, error) {
	r := newJSONReader([]byte(text))
	defer r.close()
	if k := r.PeekKind(); k != '{' && k != 'n' {
		return nil, errKind
	}
	all, err := r.members()
	if err != nil {
		return nil, err
	}
	return all, r.end()
}
