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

// metricName finds the names of metrics in PromQL.
var metricName = regexp.MustCompile(`\b(?:fieldcache|process|go)_[a-z0-9_]+`)

// The dashboard and the alerts name metrics that the server has, each of them.
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
			t.Errorf("%s names %d metrics: the test does not see them", file, len(names))
		}
		for _, name := range names {
			if !strings.Contains(exposed, "\n"+name+" ") && !strings.Contains(exposed, "\n"+name+"{") {
				t.Errorf("%s: the server has no metric %s", file, name)
			}
		}
	}
}

// Each metric of the server's own is described in the docs or shown on the dashboard, or it need not be there.
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

// promtool runs Prometheus's own checker in the folder of the alerts.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("there is no promtool: install the package prometheus, or run `make test`, which does")
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

// Each alert is told in docs/operations.md, and each expression of the dashboard is PromQL: as a rule's, promtool reads it.
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
			t.Errorf("docs/operations.md does not tell what to do about %s", name[1])
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
			// YAML reads JSON.
			fmt.Fprintf(&rules, "  - {record: panel, labels: {title: %s, n: \"%d\"}, expr: %s}\n", asJSON(t, p.Title), n, asJSON(t, expr))
		}
	}
	if n < 20 || len(names) < 10 {
		t.Fatalf("%d expressions and %d alerts: the test does not see them", n, len(names))
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
