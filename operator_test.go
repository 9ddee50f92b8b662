package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"fieldcache/internal/testservers"
	"fieldcache/playground"
	"fieldcache/playground/browsertest"
)

// An operator sees fields, evictions and their causes, and what is under a key, while requests are answered.
func TestOperatorsPage(t *testing.T) {
	t.Parallel()
	if !playground.Built() {
		t.Fatal("the pages are not built: run `make playground`, then test again")
	}
	database := shop(t)
	p := startAs(t, newGateway, "DATABASE_URL="+database, "REDIS_URL="+testservers.Redis(t))
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(t.Context()) })

	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			p.query(t, fmt.Sprintf(`{ user(id: %d) { name country { name } reviews(first: 3) { nodes { rating product { name stock } } } } products(first: 5) { nodes { name stock averageRating } } }`, 1+n%40))
		}
	})
	defer load.Wait()
	defer close(stop)

	page := browsertest.Open(t, p.admin, browsertest.Options{Dark: os.Getenv("DARK") != "", Width: 1280, Height: 1250})
	page.Wait("to be live", `document.querySelector('#live').textContent === 'live'`)
	page.Wait("figures", `document.querySelectorAll('#figures b').length === 6 && /[0-9]/.test(document.querySelector('#figures b').textContent)`)
	page.Wait("charts", `document.querySelectorAll('#charts canvas').length === 6`)
	page.Wait("health", `document.querySelectorAll('#health .good').length >= 4`)

	p.query(t, `mutation { updateUser(id: 7, input: {bio: "new"}) { id } }`)
	page.Wait("the mutation's eviction", `[...document.querySelectorAll('#evictions li')].some((e) => e.querySelector('.mutation') && e.textContent.includes('user:7'))`)
	if _, err := conn.Exec(t.Context(), "UPDATE products SET stock = stock + 1 WHERE id = 9"); err != nil {
		t.Fatal(err)
	}
	page.Wait("that of psql", `[...document.querySelectorAll('#evictions li')].some((e) => e.querySelector('.outbox') && e.textContent.includes('{product:9}:stock'))`)

	page.Click("#key")
	page.Type("product:3\r")
	page.Wait("the entry", `document.querySelector('#entry pre') !== null`)
	if got := page.Eval(`document.querySelector('#entry').innerText`); !strings.Contains(got, `"name"`) || !strings.Contains(got, "{Product}") {
		t.Errorf("under product:3 is %s", got)
	}
	_, private := send(t, http.MethodGet, p.admin+"cache/entry?key=user:3", "")
	if strings.Contains(private, "example") || !strings.Contains(private, `"hidden":true`) {
		t.Errorf("a user's row, which has an address, is shown: %s", private)
	}
	page.Click("#evict")
	page.Wait("that it is evicted", `document.querySelector('#entry').textContent.includes('Evicted product:3.')`)
	page.Wait("the eviction by hand", `[...document.querySelectorAll('#evictions li')].some((e) => e.querySelector('.hand') && e.textContent.includes('product:3'))`)

	page.Click("#filter")
	page.Type("hand")
	page.Wait("the filter", `document.querySelectorAll('#evictions .cause').length > 0 && document.querySelectorAll('#evictions .mutation').length === 0`)
	page.Click(`#coordinates th:first-child button`)
	page.Wait("the order", `document.querySelector('#coordinates th:first-child').getAttribute('aria-sort') === 'ascending'`)
	if file := os.Getenv("SCREENSHOT"); file != "" {
		page.Screenshot(file)
	}
	if problems := page.Problems(); len(problems) > 0 {
		t.Errorf("problems:\n%s", strings.Join(problems, "\n"))
	}
}
