package cache_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"strconv"
	"time"

	"fieldcache/cache"
	"fieldcache/cache/memstore"
)

// city is what another service knows of a city.
type city struct {
	Name   string `json:"name"`
	People int    `json:"people"`
}

// cities calls the service. It implements [cache.Source].
type cities struct {
	known map[int]*city
	calls int
}

// request returns the request of one city.
func (c *cities) request(id int) cache.Request {
	item := cache.Item{Key: cache.Entity("city", strconv.Itoa(id)), Tags: []cache.Tag{cache.Type("City")}, MaxAge: time.Hour}
	return cache.Request{Item: item, Source: c, Arg: id}
}

// Load is called once for all values that a batch lacks.
func (c *cities) Load(_ context.Context, requests []cache.Request) ([]any, cache.Snapshot, error) {
	c.calls++
	values := make([]any, len(requests))
	for i, r := range requests {
		if found := c.known[r.Arg.(int)]; found != nil {
			values[i] = found // a value that stays nil is cached as absent
		}
	}
	return values, cache.Snapshot{}, nil
}

// Also returns nothing: a call returns only the requested cities.
func (*cities) Also(cache.Request) []cache.Request { return nil }

// Decode decodes an entry of a shared tier. A cache without one does not call it.
func (*cities) Decode(_ cache.Request, data []byte) (any, error) {
	c := new(city)
	return c, json.Unmarshal(data, c)
}

// A cache loads the values of a source together, and caches them until they expire or are evicted.
func ExampleSource() {
	memory, err := memstore.New(memstore.Options{MaxBytes: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	c, err := cache.New(cache.Options{Memory: memory})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	source := &cities{known: map[int]*city{1: {"Ghent", 265_000}, 2: {"Porto", 230_000}}}

	read := func() {
		results, err := c.NewBatch().Load(context.Background(), []cache.Request{source.request(1), source.request(2), source.request(3)})
		if err != nil {
			log.Fatal(err)
		}
		for _, r := range results {
			if found, ok := r.Value.(*city); ok {
				fmt.Print(found.Name, " ", found.People, ", ")
			} else {
				fmt.Print("none, ")
			}
		}
		fmt.Println("calls:", source.calls)
	}
	read()
	read()
	source.known[1] = &city{"Ghent", 266_000}
	if _, err := c.Evict(context.Background(), cache.Write{Eviction: cache.Eviction{Keys: []cache.Key{source.request(1).Key}}}); err != nil {
		log.Fatal(err)
	}
	read()
	// Output:
	// Ghent 265000, Porto 230000, none, calls: 1
	// Ghent 265000, Porto 230000, none, calls: 1
	// Ghent 266000, Porto 230000, none, calls: 2
}
