package answers_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/answers"
)

// tagsOf returns the header that lists names, as a client receives it.
func tagsOf(t *testing.T, header string, names []string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		answers.NewHeader().WriteComputed(w, r, answers.NewAnswer(answers.Computed{
			Status: http.StatusOK, ContentType: "application/json", Body: []byte("{}"), MaxAge: time.Minute,
			Deps: cache.Deps{Names: names}, TagHeader: header,
		}, now), answers.Identity, answers.Miss, now)
	}))
	defer server.Close()
	r, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if len(r.Header[header]) != 1 {
		t.Fatalf("%q: got headers %v", names, r.Header)
	}
	return r.Header.Get(header)
}

// checkTags sends names in the header and parses them, as an HTTP cache does that splits the header
// at its separator.
func checkTags(t *testing.T, names []string) {
	t.Helper()
	for header, separator := range map[string]string{"Surrogate-Key": " ", "Cache-Tag": ","} {
		text := tagsOf(t, header, names)
		var got []string
		for part := range strings.SplitSeq(text, separator) {
			name, err := url.PathUnescape(part)
			if err != nil {
				t.Errorf("%s: %q cannot be decoded: %v", header, part, err)
			}
			got = append(got, name)
		}
		want := slices.Clone(names)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q parses as %q from %q", header, want, got, text)
		}
	}
}

// A name in the header of tags is read as one name, whatever it contains.
func TestFault35TagsAreReadAsTheyAre(t *testing.T) {
	t.Parallel()
	list := string(cache.All("products").List("category", "Garden, home", "first", "20"))
	for _, names := range [][]string{
		{list}, {list, "user:42", "{User}"}, {"a b"}, {"a,b", "a", "b"}, {"%2C", ","}, {"a\nb"}, {"a\r\nSet-Cookie: x=y"}, {"ä", "\xff", "\x00", "\x7f"}, {`"a"`, "a;b"},
	} {
		checkTags(t, names)
	}
	if got := tagsOf(t, "Cache-Tag", []string{"{product:7}:stock", "{users}", "user:42"}); got != "{users},{product:7}:stock,user:42" {
		t.Errorf("names without separators: got %s", got)
	}
}

// An HTTP cache may store a response only if it can purge it by each name that the response depends
// on. If the header has no room for all names, the response is private.
func TestFault35TagsThatDoNotFit(t *testing.T) {
	t.Parallel()
	names := []string{"{products}"}
	for n := range 300 {
		names = append(names, fmt.Sprintf("product:%d", n))
	}
	for header, separator := range map[string]string{"Surrogate-Key": " ", "Cache-Tag": ",", "": ""} {
		for _, names := range [][]string{nil, names[:1], names[:200], names, {strings.Repeat("ä", 700)}, {strings.Repeat("ä", 600), strings.Repeat("b", 600)}} {
			now := time.Now()
			a := answers.NewAnswer(answers.Computed{
				Status: http.StatusOK, ContentType: "application/json", Body: []byte("{}"), MaxAge: time.Minute,
				Deps: cache.Deps{Names: names}, TagHeader: header,
			}, now)
			want := "max-age=60, public"
			room := 0
			for _, name := range names {
				room += len(separator) + len(url.PathEscape(name))
			}
			if header != "" && room > 4<<10 {
				want = "max-age=60, private"
			}
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
				w, r := httptest.NewRecorder(), httptest.NewRequest(method, "/", nil)
				answers.NewHeader().WriteComputed(w, r, a, answers.Identity, answers.Miss, now)
				if got := w.Header().Get("Cache-Control"); got != want {
					t.Errorf("%s %s of %d names in %d bytes: got Cache-Control %s, want %s", method, header, len(names), room, got, want)
				}
				if private := want != "max-age=60, public"; header != "" && private == (w.Header()[header] != nil) {
					t.Errorf("%s of %d names: got headers %v", header, len(names), w.Header())
				}
			}
		}
	}
}

func FuzzFault35Tags(f *testing.F) {
	f.Add("a b", "c,d")
	f.Add("%20", " ")
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == "" || b == "" || len(a)+len(b) > 1000 {
			return // an empty name is not a name, and one that is too long is not listed
		}
		checkTags(t, []string{a, b})
	})
}
