package main

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// node runs a script of clients/ against a server, and answers what it printed.
func node(t *testing.T, script, url string) string {
	t.Helper()
	if _, err := os.Stat("clients/node_modules"); err != nil {
		t.Fatal("the clients are not installed: run `make clients`")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "node", "clients/"+script, url).CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// The specification's own audits of servers: every must, should and may.
func TestAudits(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway)
	out := node(t, "audits.mjs", p.graphql)
	m := regexp.MustCompile(`passed (\d+) of (\d+)`).FindStringSubmatch(out)
	if m == nil || m[1] != m[2] {
		t.Fatalf("not all audits passed:\n%s", out)
	}
	if n, err := strconv.Atoi(m[1]); err != nil || n < 61 {
		t.Errorf("only %d audits took place", n)
	}
}

func TestClients(t *testing.T) {
	t.Parallel()
	p := startAs(t, newGateway, "CORS_ORIGINS=https://shop.example")
	out := node(t, "clients.mjs", p.graphql)
	m := regexp.MustCompile(`(?m)^(?:#|ℹ) pass (\d+)$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("it does not say how many passed:\n%s", out)
	}
	if n, err := strconv.Atoi(m[1]); err != nil || n < 10 {
		t.Errorf("only %d passed:\n%s", n, out)
	}
}
