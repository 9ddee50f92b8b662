package config

import (
	"cmp"
	"net/url"
	"reflect"
	"slices"
	"strings"
)

// Redact replaces the secrets of the configuration in a text, such as an error of a library, by "…". Secrets
// are the values of secret variables, and the passwords and queries of URLs.
func (c Config) Redact(text string) string {
	for _, secret := range c.secrets() {
		text = strings.ReplaceAll(text, secret, "…")
	}
	return text
}

// secrets returns the secrets, the longest first, since one may be part of another.
func (c Config) secrets() []string {
	var list []string
	add := func(secrets ...string) {
		for _, s := range secrets {
			if s != "" {
				list = append(list, s)
			}
		}
	}
	values := reflect.ValueOf(c)
	for _, v := range all() {
		var given []string
		switch value := values.FieldByIndex(v.field.Index).Interface().(type) {
		case string:
			given = []string{value}
		case []string:
			given = value
		}
		for _, one := range given {
			switch v.kind {
			case "secret":
				add(one)
			case "url":
				add(urlSecrets(one)...)
			}
		}
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	return slices.Compact(list)
}

// urlSecrets returns the password and the query of a URL, in escaped and unescaped form.
func urlSecrets(text string) (list []string) {
	u, err := url.Parse(text)
	if err != nil {
		return []string{text}
	}
	if password, ok := u.User.Password(); ok {
		_, escaped, _ := strings.Cut(u.User.String(), ":")
		authority, _, _ := strings.Cut(strings.TrimPrefix(text, u.Scheme+"://"), "/")
		_, written, _ := strings.Cut(authority[:max(0, strings.LastIndex(authority, "@"))], ":")
		list = append(list, password, escaped, written)
	}
	if u.RawQuery != "" {
		list = append(list, u.RawQuery)
		for name, values := range u.Query() {
			if strings.Contains(strings.ToLower(name), "pass") {
				list = append(list, values...)
			}
		}
	}
	return list
}
