package playground

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fieldcache/playground/browsertest"
)

// introspection is what a gateway of the schema `type Query { hello: String! }` tells of itself.
const introspection = `{"data": {"__schema": {
	"queryType": {"name": "Query"}, "mutationType": null, "subscriptionType": null, "directives": [],
	"types": [
		{"kind": "OBJECT", "name": "Query", "interfaces": [], "fields": [
			{"name": "hello", "args": [], "isDeprecated": false,
				"type": {"kind": "NON_NULL", "name": null, "ofType": {"kind": "SCALAR", "name": "String", "ofType": null}}}
		]},
		{"kind": "SCALAR", "name": "String"},
		{"kind": "SCALAR", "name": "Boolean"}
	]
}}}`

// gateway serves the playground, and a GraphQL endpoint that greets.
func gateway(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", Handler())
	mux.HandleFunc("POST /graphql", func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Query, OperationName string }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/graphql-response+json")
		w.Header().Set("Cache-Status", "fieldcache; hit; ttl=41")
		answer := `{"data": {"hello": "greetings"}}`
		if request.OperationName == "IntrospectionQuery" {
			answer = introspection
		}
		if _, err := w.Write([]byte(answer)); err != nil {
			t.Errorf("answer the playground: %v", err)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL + "/"
}

func TestInBrowser(t *testing.T) {
	t.Parallel()
	if !Built() {
		t.Fatal("the playground is not built: run npm ci && npm run build in playground/, then test again")
	}
	for name, dark := range map[string]bool{"light": false, "dark": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := browsertest.Open(t, gateway(t), browsertest.Options{Dark: dark})
			page.WaitReady()
			page.Wait("the editor to be "+name, fmt.Sprintf(
				`document.querySelector('.monaco-editor').classList.contains('vs-dark') === %t`, dark))

			answer := page.Execute("greetings")
			if want := `"hello": "greetings"`; !strings.Contains(answer, want) {
				t.Errorf("answer = %q, want %s in it", answer, want)
			}
			page.Wait("the response headers", `document.querySelector('.answer').innerText.includes('fieldcache; hit; ttl=41')`)

			// What checks the operation as it is typed is a worker: it runs under the policy too.
			page.Click(`.graphiql-tab-add`)
			page.Click(`.graphiql-query-editor .view-lines`)
			page.Type("{ hello missing }")
			page.Wait("the fault to be marked", `document.querySelector('.graphiql-query-editor .squiggly-error') !== null`)

			// The formatter and the history are loaded when they are first asked for.
			page.Click(`.graphiql-toolbar button[aria-label^="Prettify"]`)
			page.Wait("the operation in lines", `document.querySelectorAll('.graphiql-query-editor .view-line').length >= 4`)
			page.Click(`button[aria-label="Show History"]`)
			page.Wait("the history", `document.querySelector('.graphiql-history-item') !== null`)

			if kept := page.Eval(`JSON.stringify(localStorage)`); !strings.Contains(kept, "graphiql:queries") {
				t.Errorf("local storage %s has no history", kept)
			} else if strings.Contains(kept, `Cache-Debug`) {
				t.Errorf("local storage %s keeps headers, and so tokens", kept)
			}
			if problems := page.Problems(); len(problems) > 0 {
				t.Errorf("problems:\n%s", strings.Join(problems, "\n"))
			}
		})
	}
}

// TestExampleTabs opens each of the examples.
func TestExampleTabs(t *testing.T) {
	t.Parallel()
	if !Built() {
		t.Fatal("the playground is not built: run npm ci && npm run build in playground/, then test again")
	}
	page := browsertest.Open(t, gateway(t), browsertest.Options{})
	page.WaitReady()
	for _, title := range []string{"Products", "ChangeUser", "SetStock", "Search", "SignedIn", "User"} {
		page.Tab(title)
		page.Wait("the operation "+title, fmt.Sprintf(
			`document.querySelector('.graphiql-query-editor .view-lines').innerText.replaceAll('\u00a0', ' ').match(/(query|mutation) %s\b/) !== null`, title))
		page.Execute("greetings")
	}
	if problems := page.Problems(); len(problems) > 0 {
		t.Errorf("problems:\n%s", strings.Join(problems, "\n"))
	}
}
