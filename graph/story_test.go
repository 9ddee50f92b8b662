package graph_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"fieldcache/graph"
)

var update = flag.Bool("update", false, "write the current responses into testdata/stories")

// A story is an archive of steps that run in order on the demo data: the request and its viewer,
// the response, the number of statements, and for a mutation the Redis keys that it evicted. Each
// story runs on each pair of database and tiers.
func TestStories(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/stories/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no stories", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			t.Parallel()
			backends(t, func(t *testing.T, s *shop) { play(t, s, file) })
		})
	}
}

// step is one request of a story with the expected result.
type step struct {
	name, request, answer string
	statements            int
	evicted               string // "" if the story does not say
}

func play(t *testing.T, s *shop, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	played := &txtar.Archive{Comment: archive.Comment}
	for _, want := range steps(t, archive) {
		s.sql()
		before := s.keys(t)
		got := step{name: want.name, request: want.request, answer: s.execute(t, viewer(t, want.request), want.request).raw}
		statements := s.sql()
		got.statements = len(statements)
		got.evicted = want.evicted
		if s.redis != nil {
			got.evicted = ""
			if strings.Contains(want.request, "mutation") {
				after := s.keys(t)
				got.evicted = lines(slices.DeleteFunc(before, func(k string) bool { return slices.Contains(after, k) })) + "\n"
			}
		}
		played.Files = append(played.Files, got.files(t)...)
		if *update {
			continue
		}
		if compact(t, got.answer) != compact(t, want.answer) {
			t.Errorf("%s: got\n%s\nwant\n%s", want.name, got.answer, want.answer)
		}
		if got.statements != want.statements {
			t.Errorf("%s: got %d statements, want %d:\n%s", want.name, got.statements, want.statements, lines(statements))
		}
		if got.evicted != want.evicted {
			t.Errorf("%s: got evicted\n%swant\n%s", want.name, got.evicted, want.evicted)
		}
	}
	if *update && s.redis != nil {
		if err := os.WriteFile(file, txtar.Format(played), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// keys lists what Redis holds: entries and generations of tags. Fences live for at most three
// seconds, so whether one expires between two calls depends on the machine. They are left out.
func (s *shop) keys(t *testing.T) []string {
	if s.redis == nil {
		return nil
	}
	keys, err := s.redis.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	keys = slices.DeleteFunc(keys, func(k string) bool {
		if !strings.HasSuffix(k, ":g") {
			return false
		}
		left, err := s.redis.PTTL(t.Context(), k).Result()
		if err != nil {
			t.Fatal(err)
		}
		return left <= 3*time.Second // also if it has expired; generations live for a day
	})
	slices.Sort(keys)
	return keys
}

// steps reads an archive: files like "1 title", each followed by its "answer", "statements" and
// "evicted".
func steps(t *testing.T, archive *txtar.Archive) (list []step) {
	for _, f := range archive.Files {
		data := string(f.Data)
		if _, rest, ok := strings.Cut(f.Name, "/"); ok && len(list) > 0 {
			last := &list[len(list)-1]
			switch rest {
			case "answer":
				last.answer = data
			case "statements":
				n, err := strconv.Atoi(strings.TrimSpace(data))
				if err != nil {
					t.Fatal(err)
				}
				last.statements = n
			case "evicted":
				last.evicted = data
			default:
				t.Fatalf("unknown part %s", f.Name)
			}
			continue
		}
		list = append(list, step{name: f.Name, request: data})
	}
	return list
}

func (s step) files(t *testing.T) []txtar.File {
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(s.answer), "", "  "); err != nil {
		t.Fatal(err)
	}
	files := []txtar.File{
		{Name: s.name, Data: []byte(s.request)},
		{Name: s.name + "/answer", Data: append(pretty.Bytes(), '\n')},
		{Name: s.name + "/statements", Data: []byte(fmt.Sprintln(s.statements))},
	}
	if s.evicted != "" {
		files = append(files, txtar.File{Name: s.name + "/evicted", Data: []byte(s.evicted)})
	}
	return files
}

// viewer returns the viewer that the first line of a request names: "# user 42", "# admin", "#
// nobody". Without such a line the server is open.
func viewer(t *testing.T, request string) graph.Viewer {
	first, _, _ := strings.Cut(request, "\n")
	who, ok := strings.CutPrefix(first, "# ")
	if !ok {
		return everyone
	}
	switch {
	case who == "admin":
		return graph.Viewer{ID: 1, Admin: true}
	case who == "nobody":
		return graph.Viewer{}
	}
	id, err := strconv.ParseInt(strings.TrimPrefix(who, "user "), 10, 64)
	if err != nil {
		t.Fatalf("unknown viewer %q", who)
	}
	return graph.Viewer{ID: id}
}

func compact(t *testing.T, text string) string {
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return b.String()
}
