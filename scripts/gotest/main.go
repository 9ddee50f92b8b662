// Command gotest runs go test with the arguments it is given and prints what
// plain go test would. Beyond that it fails when a test was skipped, or a package ran none that matches: a check
// that did not take place must not look like one that passed. Where much was printed, what failing tests said of
// it comes once more at the end, in a few lines.
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
		fmt.Fprintf(os.Stderr, "gotest: FAIL: a test that was skipped, or that no name matches, proves nothing: %s\n", strings.Join(untested, ", "))
	}
	if err != nil || len(untested) > 0 {
		os.Exit(1)
	}
}

// event is what go test -json prints; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// said is a line by which a test reports a failure or logs, with the place in its source.
var said = regexp.MustCompile(`^\s*\w+_test\.go:\d+: `)

// most is how many of a failed test's lines come in the end.
const most = 6

// report prints the packages' results and the output of tests that did not
// pass, and returns the tests that were skipped, with the packages that have no test of the name that was asked for,
// and what is to come in the end: the last lines that failed tests said, if they had printed more.
func report(events io.Reader, w io.Writer) (untested []string, failures string, err error) {
	var summary strings.Builder
	type test struct{ pkg, name string }
	output := map[test]*strings.Builder{} // of the tests that have not ended
	tell := func(t test) {
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
		case e.Action == "output" && strings.HasPrefix(e.Output, "=== "): // what only -v shows
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
		case e.Action == "skip" && e.Test != "": // without a test: a package that has none
			untested = append(untested, e.Package+"."+e.Test)
			tell(t)
		case e.Action == "fail" && e.Test != "":
			if b := output[t]; b != nil {
				summary.WriteString(short(e.Package+"."+e.Test, b.String()))
			}
			tell(t)
		case e.Action == "fail": // a panic or a timeout leaves tests without an end
			left := slices.Collect(maps.Keys(output))
			slices.SortFunc(left, func(a, b test) int { return strings.Compare(a.name, b.name) })
			for _, t := range left {
				if t.pkg == e.Package {
					tell(t)
				}
			}
		}
	}
}

// short is what a failed test said, in a few lines; "" if it printed no more than those.
func short(test, output string) string {
	lines := strings.SplitAfter(output, "\n")
	var words []string
	for _, line := range lines {
		if said.MatchString(line) {
			words = append(words, line)
		}
	}
	words = words[max(0, len(words)-most):]
	if len(lines) <= 2*most || len(words) == 0 {
		return ""
	}
	return "gotest: in short, " + test + ":\n" + strings.Join(words, "")
}
