package gqlcache

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// params is one operation as a client asks for it.
type params struct {
	Query         string         `json:"query"`
	DocumentID    string         `json:"documentId"`
	OperationName string         `json:"operationName"`
	Variables     map[string]any `json:"variables"`
	Extensions    map[string]any `json:"extensions"`
}

const (
	example = `{"query": "{ __typename }", "variables": {}}`
	asBody  = "Send a JSON object in UTF-8, such as " + example + "."
	asURL   = "Send a query in the URL, such as ?query={__typename}, or send it by POST."
)

// complete refuses what does not say which document is meant.
func (p *params) complete(instead string) *refusal {
	switch {
	case p.Query == "" && p.DocumentID == "" && p.Extensions["persistedQuery"] == nil:
		return bad("There is no query. %s", instead)
	case p.Query != "" && p.DocumentID != "":
		return bad("Send either query or documentId, not both.")
	}
	return nil
}

// readBody decodes the body of a POST: one operation, or a batch of at most limit.
func readBody(body []byte, limit int) (list []params, batch bool, _ *refusal) {
	// In the place of what is not UTF-8, JSON's decoder would put another character.
	if !utf8.Valid(body) {
		return nil, false, bad("The body is not UTF-8. %s", asBody)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	batch = bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte{'['})
	if batch {
		_, _ = d.Token() // the bracket
	}
	for n := 0; n == 0 || batch; n++ {
		if batch && !d.More() {
			break
		}
		if n == limit {
			return nil, true, bad("The batch is too large: up to %d operations may be sent together.", limit)
		}
		p, refused := readObject(d)
		if refused != nil {
			return nil, batch, refused
		}
		list = append(list, p)
	}
	if batch {
		if _, err := d.Token(); err != nil {
			return nil, true, bad("The body is not JSON. %s", asBody)
		}
		if len(list) == 0 {
			return nil, true, bad("The batch is empty. Send at least one operation in it: [%s].", example)
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, batch, bad("The body goes on behind the JSON. %s", asBody)
	}
	return list, batch, nil
}

// readObject decodes the next operation.
func readObject(d *json.Decoder) (params, *refusal) {
	var p *params // null is no object
	err := d.Decode(&p)
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return params{}, bad("The body is empty. %s", asBody)
	case errors.As(err, &mismatch) && slices.Contains([]string{"query", "documentId", "operationName"}, mismatch.Field):
		return params{}, bad("%s has to be a string.", mismatch.Field)
	case errors.As(err, &mismatch) && slices.Contains([]string{"variables", "extensions"}, mismatch.Field):
		return params{}, bad("%s has to be an object.", mismatch.Field)
	case errors.As(err, &mismatch), err == nil && p == nil:
		return params{}, bad("The body is no JSON object. %s", asBody)
	case err != nil:
		return params{}, bad("The body is not JSON. %s", asBody)
	}
	return *p, p.complete(asBody)
}

// readURL decodes the parameters of a GET.
func readURL(query string) (p params, _ *refusal) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return p, bad("The URL's parameters are not encoded as they have to be. %s", asURL)
	}
	for _, t := range []struct {
		name  string
		field *string
	}{{"query", &p.Query}, {"documentId", &p.DocumentID}, {"operationName", &p.OperationName}} {
		if len(values[t.name]) > 1 {
			return p, bad("%s is given more than once.", t.name)
		}
		*t.field = values.Get(t.name)
		if !utf8.ValidString(*t.field) {
			return p, bad("%s is not UTF-8.", t.name)
		}
	}
	for _, o := range []struct {
		name  string
		field *map[string]any
	}{{"variables", &p.Variables}, {"extensions", &p.Extensions}} {
		if len(values[o.name]) > 1 {
			return p, bad("%s is given more than once.", o.name)
		}
		if text := values.Get(o.name); text != "" && !decodeObject(text, o.field) {
			return p, bad("%s has to be a JSON object in UTF-8.", o.name)
		}
	}
	return p, p.complete(asURL)
}

func decodeObject(text string, into *map[string]any) bool {
	if !utf8.ValidString(text) || !json.Valid([]byte(text)) {
		return false
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return d.Decode(into) == nil
}
