package policy_test

import (
	"strings"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/internal/schematest"
	"fieldcache/cache/policy"
)

var schema = schematest.Load

func TestReadPolicies(t *testing.T) {
	t.Parallel()
	policies, err := policy.ReadPolicies(schema(t, `
		type Query {
			thing: Thing
			bare: Bare
			number: Int
			long: Thing @cacheControl(maxAge: 120)
			mine: Thing @cacheControl(scope: PRIVATE)
			inherited: Thing @cacheControl(inheritMaxAge: true)
			things: [Thing!]!
			any: Any @cacheControl(maxAge: 5)
		}
		type Thing @cacheControl(maxAge: 60) {
			name: String
			stock: Int @cacheControl(maxAge: 30)
			none: Int @cacheControl(maxAge: 0)
			bare: Bare
			money: Money
			bareInherits: Bare @cacheControl(inheritMaxAge: true)
			secret: Secret
		}
		type Bare { x: Int }
		type Money @cacheControl(inheritMaxAge: true) { amount: String }
		type Secret @cacheControl(maxAge: 10, scope: PRIVATE) { x: Int open: Int @cacheControl(scope: PUBLIC) }
		type Late { x: Int }
		extend type Late @cacheControl(maxAge: 7)
		interface Named @cacheControl(maxAge: 8) { name: String }
		union Any @cacheControl(maxAge: 9) = Thing | Bare
	`))
	if err != nil {
		t.Fatal(err)
	}
	for coordinate, want := range map[string]cache.Policy{
		"Thing":              {MaxAge: time.Minute},
		"Bare":               {},
		"Late":               {MaxAge: 7 * time.Second},
		"Named":              {MaxAge: 8 * time.Second},
		"Any":                {MaxAge: 9 * time.Second},
		"Secret":             {MaxAge: 10 * time.Second, Scope: cache.Private},
		"Query.thing":        {MaxAge: time.Minute},
		"Query.things":       {MaxAge: time.Minute},
		"Query.bare":         {},
		"Query.number":       {},
		"Query.long":         {MaxAge: 2 * time.Minute},
		"Query.mine":         {MaxAge: time.Minute, Scope: cache.Private},
		"Query.inherited":    {MaxAge: time.Minute},
		"Query.any":          {MaxAge: 5 * time.Second},
		"Thing.name":         {MaxAge: time.Minute},
		"Thing.stock":        {MaxAge: 30 * time.Second},
		"Thing.none":         {},
		"Thing.bare":         {},
		"Thing.money":        {MaxAge: time.Minute},
		"Thing.bareInherits": {MaxAge: time.Minute},
		"Thing.secret":       {MaxAge: 10 * time.Second, Scope: cache.Private},
		"Secret.x":           {MaxAge: 10 * time.Second, Scope: cache.Private},
		"Secret.open":        {MaxAge: 10 * time.Second, Scope: cache.Private},
	} {
		t.Run(coordinate, func(t *testing.T) {
			t.Parallel()
			got, err := policies.Of(coordinate)
			if err != nil || got != want {
				t.Errorf("got %v, error %v, want %v", got, err, want)
			}
		})
	}
	if _, err := policies.Of("Thing.gone"); err == nil || !strings.Contains(err.Error(), "Thing.gone") {
		t.Errorf("unknown coordinate: got error %v", err)
	}
}

func TestContradictionsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := policy.ReadPolicies(schema(t, `
		type Query { a: Int @cacheControl(maxAge: -5) b: B c: Int @cacheControl(maxAge: 5) }
		type B @cacheControl(maxAge: 5, inheritMaxAge: true) { x: Int @cacheControl(maxAge: 1, inheritMaxAge: true) }
		type D @cacheControl(maxAge: 5, inheritMaxAge: false) { x: Int }
	`))
	if err == nil {
		t.Fatal("got no error")
	}
	for _, coordinate := range []string{"Query.a:", "B:", "B.x:"} {
		if !strings.Contains(err.Error(), coordinate) {
			t.Errorf("error %q does not name %s", err, coordinate)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 3 {
		t.Errorf("got %d faults, want 3: %v", n, err)
	}
}
