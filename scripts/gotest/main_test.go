package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	tests := map[string]struct{ events, printed, untested string }{
		"a pass prints only the package's line": {
			events: `{"Action":"run","Package":"p","Test":"TestA"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
				{"Action":"pass","Package":"p","Test":"TestA"}
				{"Action":"output","Package":"p","Output":"PASS\n"}
				{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
				{"Action":"pass","Package":"p"}`,
			printed: "ok  \tp\t0.1s\n",
		},
		"a failure prints its output": {
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
				{"Action":"output","Package":"p","Test":"TestA","Output":"a_test.go:1: wrong\n"}
				{"Action":"fail","Package":"p","Test":"TestA"}
				{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
				{"Action":"fail","Package":"p"}`,
			printed: "a_test.go:1: wrong\nFAIL\tp\t0.1s\n",
		},
		"a skipped test is reported, a package without tests is not": {
			events: `{"Action":"output","Package":"p","Test":"TestA/x","Output":"no browser\n"}
				{"Action":"skip","Package":"p","Test":"TestA/x"}
				{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}
				{"Action":"skip","Package":"q"}`,
			printed:  "no browser\n?   \tq\t[no test files]\n",
			untested: "p.TestA/x",
		},
		"a package without a matching test is reported": {
			events: `{"Action":"output","Package":"p","Output":"testing: warning: no tests to run\n"}
				{"Action":"output","Package":"p","Output":"PASS\n"}
				{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s [no tests to run]\n"}
				{"Action":"pass","Package":"p"}`,
			printed:  "testing: warning: no tests to run\nok  \tp\t0.1s [no tests to run]\n",
			untested: "p",
		},
		"a test that panics prints its output": {
			events: `{"Action":"output","Package":"p","Test":"TestB","Output":"panic: oh\n"}
				{"Action":"output","Package":"q","Test":"TestC","Output":"still running\n"}
				{"Action":"fail","Package":"p"}`,
			printed: "panic: oh\n",
		},
		"a package that does not build prints the error": {
			events: `{"ImportPath":"p","Action":"build-output","Output":"a.go:1: undefined: x\n"}
				{"ImportPath":"p","Action":"build-fail"}
				{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
				{"Action":"fail","Package":"p","FailedBuild":"p"}`,
			printed: "a.go:1: undefined: x\nFAIL\tp [build failed]\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var printed strings.Builder
			untested, _, err := report(strings.NewReader(test.events), &printed)
			if err != nil {
				t.Fatal(err)
			}
			if got := printed.String(); got != test.printed {
				t.Errorf("printed %q, want %q", got, test.printed)
			}
			if got := strings.Join(untested, " "); got != test.untested {
				t.Errorf("untested %q, want %q", got, test.untested)
			}
		})
	}
}

func TestReportRefusesWhatIsNotJSON(t *testing.T) {
	if _, _, err := report(strings.NewReader("FAIL"), &strings.Builder{}); err == nil {
		t.Error("got no error, want one")
	}
}

func TestShort(t *testing.T) {
	log := strings.Repeat("        a line of a log\n", 50)
	tests := map[string]struct{ output, want string }{
		"short output, no summary":  {"    a_test.go:1: wrong\n--- FAIL: TestA\n", ""},
		"the test's lines of a log": {log + "    a_test.go:1: wrong\n" + log, "gotest: summary of p.TestA:\n    a_test.go:1: wrong\n"},
		"only the last lines":       {log + strings.Repeat("    a_test.go:1: first\n", 9) + strings.Repeat("    a_test.go:2: wrong\n", 6), "gotest: summary of p.TestA:\n" + strings.Repeat("    a_test.go:2: wrong\n", 6)},
		"a log without test lines":  {log, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := short("p.TestA", test.output); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
