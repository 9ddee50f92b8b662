package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"fieldcache/internal/testservers"
)

// metricName matches the names of metrics in PromQL.
var metricName = regexp.MustCompile(`\b(?:fieldcache|process|go)_[a-z0-9_]+`)

// Every metric that the dashboard and the alerts name exists.
func TestMonitoringNamesMetrics(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_URL="+testservers.Redis(t))
	p.query(t, `{ user(id: 42) { name } }`)
	p.query(t, `mutation { updateUser(id: 42, input: {bio: "new"}) { id } }`)
	_, exposed := send(t, http.MethodGet, p.admin+"metrics", "")
	for _, file := range []string{"alerts.yml", "alerts_test.yml", "grafana/dashboards/fieldcache.json"} {
		text, err := os.ReadFile(filepath.Join("monitoring", file))
		if err != nil {
			t.Fatal(err)
		}
		names := metricName.FindAllString(string(text), -1)
		slices.Sort(names)
		names = slices.Compact(names)
		if len(names) < 10 {
			t.Errorf("%s: found %d names of metrics, want at least 10", file, len(names))
		}
		for _, name := range names {
			if !strings.Contains(exposed, "\n"+name+" ") && !strings.Contains(exposed, "\n"+name+"{") {
				t.Errorf("%s: the server has no metric %s", file, name)
			}
		}
	}
}

// The dashboard shows every metric of the server. A metric that nobody looks at need not exist.
func TestMetricsAreShown(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway, "DATABASE_URL="+shop(t), "REDIS_URL="+testservers.Redis(t))
	p.query(t, `{ user(id: 42) { name } }`)
	_, exposed := send(t, http.MethodGet, p.admin+"metrics", "")
	dashboard, err := os.ReadFile("monitoring/grafana/dashboards/fieldcache.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(exposed, "\n") {
		name := metricName.FindString(line)
		if strings.HasPrefix(line, "fieldcache_") && !strings.Contains(string(dashboard), strings.TrimSuffix(strings.TrimSuffix(name, "_sum"), "_count")) {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

// promtool runs Prometheus's checker in the monitoring folder.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool not found: install the package prometheus, or run `make test`, which does")
	}
	c := exec.CommandContext(t.Context(), program, args...)
	c.Dir = "monitoring"
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", "alerts.yml")
	promtool(t, "check", "config", "prometheus.yml")
	promtool(t, "test", "rules", "alerts_test.yml")
}

// docs/operations.md describes each alert, and each expression of the dashboard is valid PromQL:
// promtool checks it as a recording rule.
func TestAlertsAndPanelsAreWhole(t *testing.T) {
	t.Parallel()
	alerts, err := os.ReadFile("monitoring/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	operations, err := os.ReadFile("docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(alerts), -1)
	for _, name := range names {
		if !strings.Contains(string(operations), "`"+name[1]+"`") {
			t.Errorf("docs/operations.md does not say what to do about %s", name[1])
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile("monitoring/grafana/dashboards/fieldcache.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	var rules bytes.Buffer
	rules.WriteString("groups:\n- name: panels\n  rules:\n")
	n := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "1m", "$instance", "a").Replace(target.Expr)
			n++
			// JSON is valid YAML.
			fmt.Fprintf(&rules, "  - {record: panel, labels: {title: %s, n: \"%d\"}, expr: %s}\n", asJSON(t, p.Title), n, asJSON(t, expr))
		}
	}
	if n < 20 || len(names) < 10 {
		t.Fatalf("found %d expressions and %d alerts, want at least 20 and 10", n, len(names))
	}
	file := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(file, rules.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

func asJSON(t *testing.T, text string) []byte {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return quoted
}
