package browsertest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

// TestProblems opens a page that does everything a page must not do.
func TestProblems(t *testing.T) {
	t.Parallel()
	files := http.FileServerFS(fstest.MapFS{
		"index.html": {Data: []byte(`<!doctype html><title>faults</title><script src="page.js"></script>`)},
		"page.js": {Data: []byte(`
			console.info('harmless');
			console.error('an error');
			console.warn('a warning');
			setTimeout(() => { throw new Error('thrown'); });
			Promise.reject(new Error('rejected'));
			new Image().src = 'forbidden.png';
			const reached = fetch('http://elsewhere.test/from-page').catch(() => {});
			const lost = fetch('lost.json');
			const worker = new Worker('worker.js');
			worker.onmessage = async () => {
				await reached;
				await lost;
				document.title = 'done';
			};`)},
		"worker.js": {Data: []byte(`
			console.error('an error of a worker');
			fetch('http://elsewhere.test/from-worker').catch(() => postMessage('done'));`)},
	})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "img-src 'none'")
		files.ServeHTTP(w, r)
	}))
	defer server.Close()

	page := Open(t, server.URL+"/", Options{})
	page.Wait("the page to finish", `document.title === 'done'`)
	problems := strings.Join(page.Problems(), "\n")
	for _, want := range []string{
		"page: console.error: an error",
		"page: console.warning: a warning",
		"thrown",
		"rejected",
		"img-src forbids",
		"page: request to http://elsewhere.test/from-page",
		"lost.json",
		"worker worker.js: console.error: an error of a worker",
		"http://elsewhere.test/from-worker",
	} {
		if !strings.Contains(problems, want) {
			t.Errorf("no problem mentions %q", want)
		}
	}
	if strings.Contains(problems, "harmless") {
		t.Error("console.info was reported as a problem")
	}
	if t.Failed() {
		t.Logf("problems:\n%s", problems)
	}
}

func TestForeign(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{
		"http://127.0.0.1:8080/":             false,
		"http://127.0.0.1:8080/assets/a.js":  false,
		"data:font/ttf;base64,AAEAAAALAIAAA": false,
		"http://127.0.0.1:80801/":            true,
		"http://127.0.0.1:8081/metrics":      true,
		"https://127.0.0.1:8080/":            true,
		"https://cdn.example/graphiql.js":    true,
	}
	page := &Page{origin: "http://127.0.0.1:8080"}
	for address, want := range tests {
		if got := page.foreign(address); got != want {
			t.Errorf("foreign(%q) = %t, want %t", address, got, want)
		}
	}
}

// A button that moves away while it is clicked is clicked again, and one with a menu only once.
func TestClickOfWhatMoves(t *testing.T) {
	t.Parallel()
	files := http.FileServerFS(fstest.MapFS{
		"index.html": {Data: []byte(`<!doctype html><title>0</title>
			<link rel="icon" href="data:,">
			<button id="moves">Moves</button><br><button id="opens" aria-haspopup="menu">Opens</button>
			<script src="page.js"></script>`)},
		"page.js": {Data: []byte(`
			const [moves, opens] = document.querySelectorAll('button');
			moves.addEventListener('pointerdown', () => { moves.style.marginLeft = '300px' }, { once: true });
			moves.addEventListener('click', () => { document.title = 'clicked' });
			let opened = 0;
			opens.addEventListener('pointerdown', () => {
				opens.style.pointerEvents = 'none';
				setTimeout(() => { opens.style.pointerEvents = '' });
				document.title = 'opened ' + ++opened;
			});`)},
	})
	server := httptest.NewServer(files)
	defer server.Close()

	page := Open(t, server.URL+"/", Options{})
	page.Wait("the script", `typeof opened === 'number'`)
	page.Click("#moves")
	if got := page.Eval(`document.title`); got != "clicked" {
		t.Errorf("got the title %q, want clicked", got)
	}
	page.Click("#opens")
	if got := page.Eval(`document.title`); got != "opened 1" {
		t.Errorf("got the title %q, want opened 1", got)
	}
}
