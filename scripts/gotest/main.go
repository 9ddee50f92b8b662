// Command gotest runs go test with its arguments and prints what plain go test would print. In
// addition it fails if a test was skipped, or if a package ran no test that matches -run: a check
// that did not run must not look like one that passed. If a failed test printed much, its last
// messages are repeated at the end in a few lines.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

func main() {
	cmd := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
	untested, failures, err := report(events, os.Stdout)
	os.Stdout.WriteString(failures)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
	}
	if len(untested) > 0 {
		fmt.Fprintf(os.Stderr, "gotest: FAIL: skipped tests, and packages without a matching test: %s\n", strings.Join(untested, ", "))
	}
	if err != nil || len(untested) > 0 {
		os.Exit(1)
	}
}

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// testLine matches a line in which a test reports a failure or logs, with its place in the source.
var testLine = regexp.MustCompile(`^\s*\w+_test\.go:\d+: `)

// most is how many lines of a failed test are repeated at the end.
const most = 6

// report prints the results of packages and the output of tests that did not pass. It returns the
// tests that were skipped and the packages without a matching test. failures is what to repeat at
// the end: the last messages of failed tests that printed more than those.
func report(events io.Reader, w io.Writer) (untested []string, failures string, err error) {
	var summary strings.Builder
	type test struct{ pkg, name string }
	output := map[test]*strings.Builder{} // of unfinished tests
	printOutput := func(t test) {
		if b := output[t]; b != nil {
			io.WriteString(w, b.String())
		}
		delete(output, t)
	}
	for d := json.NewDecoder(events); ; {
		var e event
		if err := d.Decode(&e); err == io.EOF {
			return untested, summary.String(), nil
		} else if err != nil {
			return untested, summary.String(), fmt.Errorf("read the output of go test -json: %w", err)
		}
		t := test{e.Package, e.Test}
		switch {
		case e.Action == "build-output":
			io.WriteString(w, e.Output)
		case e.Action == "output" && strings.HasPrefix(e.Output, "=== "): // shown by -v only
		case e.Action == "output" && e.Test != "":
			if output[t] == nil {
				output[t] = &strings.Builder{}
			}
			output[t].WriteString(e.Output)
		case e.Action == "output" && e.Output != "PASS\n":
			if strings.HasSuffix(e.Output, "[no tests to run]\n") {
				untested = append(untested, e.Package)
			}
			io.WriteString(w, e.Output)
		case e.Action == "pass":
			delete(output, t)
		case e.Action == "skip" && e.Test != "": // without a test: a package without tests
			untested = append(untested, e.Package+"."+e.Test)
			printOutput(t)
		case e.Action == "fail" && e.Test != "":
			if b := output[t]; b != nil {
				summary.WriteString(short(e.Package+"."+e.Test, b.String()))
			}
			printOutput(t)
		case e.Action == "fail": // after a panic or a timeout some tests have no end
			left := slices.Collect(maps.Keys(output))
			slices.SortFunc(left, func(a, b test) int { return strings.Compare(a.name, b.name) })
			for _, t := range left {
				if t.pkg == e.Package {
					printOutput(t)
				}
			}
		}
	}
}

// short returns the last messages of a failed test in a few lines, or "" if the output is short
// already.
func short(test, output string) string {
	lines := strings.SplitAfter(output, "\n")
	var words []string
	for _, line := range lines {
		if testLine.MatchString(line) {
			words = append(words, line)
		}
	}
	words = words[max(0, len(words)-most):]
	if len(lines) <= 2*most || len(words) == 0 {
		return ""
	}
	return "gotest: summary of " + test + ":\n" + strings.Join(words, "")
}
