package outbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// ownRights are the rights that a gateway needs on the outbox's own tables.
var ownRights = map[string][]string{
	"cache_outbox":  {"SELECT", "INSERT", "UPDATE", "DELETE"},
	"cache_horizon": {"SELECT", "INSERT", "UPDATE"},
	"cache_tables":  {"SELECT", "INSERT", "UPDATE"},
}

// MissingRights returns an error for each privilege that this role lacks to use the existing objects
// of the outbox and, if install is true, to repair the differences that [Place.Diff] found. Each
// error names the privilege and the statement that grants it. MissingRights changes nothing.
func (p Place) MissingRights(ctx context.Context, db Querier, differences []Difference, install bool) (faults []error, err error) {
	if ok, err := p.usable(ctx, db); err != nil || !ok || !p.postgres {
		return nil, err // Diff reports a schema without the right USAGE
	}
	var wanted []string
	want := func(right, on, condition string) {
		line := fmt.Sprintf("(%s, %s, %s)", p.literal(right), on, condition)
		if !slices.Contains(wanted, line) {
			wanted = append(wanted, line)
		}
	}
	table := func(name, right string) {
		name = p.literal(name)
		want(right, "'TABLE ' || to_regclass("+name+")::text", fmt.Sprintf("has_table_privilege(to_regclass(%s)::oid, '%s')", name, right))
	}
	for _, o := range p.Objects() {
		for _, right := range ownRights[o.Name] {
			table(p.named(o.Name), right)
		}
	}
	for _, d := range differences {
		switch {
		case !install || !d.absent || !d.fixable():
		case d.Kind == "trigger":
			for _, w := range statementKinds {
				if on, ok := strings.CutPrefix(d.Name, quoted(p.triggerName(w.op))+" ON "); ok {
					table(on, "TRIGGER")
				}
			}
		case d.Kind == "schema":
			want("CREATE", "'DATABASE ' || quote_ident(current_database())", "has_database_privilege(current_database(), 'CREATE')")
		case d.Kind == "table" || d.Kind == "function":
			schema := "current_schema()"
			if p.schema != "" {
				schema = p.literal(p.schema)
			}
			want("CREATE", "'SCHEMA ' || quote_ident("+schema+")",
				"(SELECT has_schema_privilege(n.oid, 'CREATE') FROM pg_namespace AS n WHERE n.nspname = "+schema+")")
		}
	}
	type row struct{ Role, Right, On string }
	rows, err := query(ctx, db, "SELECT quote_ident(current_user), w.privilege, w.object FROM (VALUES "+strings.Join(wanted, ", ")+
		") AS w (privilege, object, granted) WHERE NOT w.granted", func(r *row) []any { return []any{&r.Role, &r.Right, &r.On} })
	if err != nil {
		return nil, fmt.Errorf("outbox: look up the role's privileges: %w", err)
	}
	for _, r := range rows {
		faults = append(faults, fmt.Errorf("the role %s lacks the privilege %s: GRANT %[2]s ON %s TO %[1]s", r.Role, r.Right, r.On))
	}
	return faults, nil
}

// usable reports whether this role may use the outbox's schema. It returns true if no schema is set.
func (p Place) usable(ctx context.Context, db Querier) (bool, error) {
	if !p.postgres || p.schema == "" {
		return true, nil
	}
	denied, err := column[int](ctx, db, "SELECT 1 FROM pg_namespace WHERE nspname = "+p.literal(p.schema)+" AND NOT has_schema_privilege(oid, 'USAGE')")
	return len(denied) == 0, err
}
