package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sort"
)

// The texts of the operations. They select the same as the benchmarks of graph, with variables.
const (
	textQ1 = `query($id:ID!){user(id:$id){id name bio country{code name}}}`
	textQ2 = `query($first:Int!){products(first:$first){nodes{id name price{amount currency} stock averageRating}}}`
	textQ3 = `query($id:ID!){user(id:$id){id name reviews(first:10){nodes{rating body product{id name price{amount currency} stock}}}}}`
	textM1 = `mutation($id:ID!,$bio:String!){updateUser(id:$id,input:{bio:$bio}){id bio}}`
)

// operation is what the servers are measured with.
type operation struct {
	name, about string
	writes      bool
	reads       []string // bodies; all of them are sent once before the measurement
	// draw returns the next body. It may be called concurrently, each time with the caller's own
	// dice.
	draw func(*rand.Rand) string
}

// newOperation makes an operation on users: Q1 and Q3 take ids 1 to hot, M1 and W any.
func newOperation(name string, hot, users int) operation {
	op := operation{name: name}
	id := func(n int) map[string]any { return map[string]any{"id": fmt.Sprint(n)} }
	write := func(r *rand.Rand, n int) string {
		v := id(n)
		v["bio"] = fmt.Sprintf("bench %x", r.Uint64())
		return body(textM1, v)
	}
	each := func(text string, n int) {
		for i := range n {
			op.reads = append(op.reads, body(text, id(i+1)))
		}
	}
	op.draw = func(r *rand.Rand) string { return op.reads[r.IntN(len(op.reads))] }
	switch name {
	case "Q1":
		op.about = "a user with their country"
		each(textQ1, hot)
	case "Q2":
		op.about = "20 products with price, stock and rating"
		op.reads = []string{body(textQ2, map[string]any{"first": 20})}
	case "Q3":
		op.about = "a user's 10 reviews with their products"
		each(textQ3, hot)
	case "M1":
		op.about, op.writes = "a new bio for a user", true
		op.draw = func(r *rand.Rand) string { return write(r, 1+r.IntN(users)) }
	case "W":
		op.about, op.writes = "95 % Q1 and 5 % M1, users by Zipf's law (s = 1)", true
		each(textQ1, users)
		rank := zipf(users)
		op.draw = func(r *rand.Rand) string {
			n := rank(r.Float64())
			if r.IntN(20) == 0 {
				return write(r, n)
			}
			return op.reads[n-1]
		}
	}
	return op
}

func body(text string, variables map[string]any) string {
	b, err := json.Marshal(map[string]any{"query": text, "variables": variables})
	if err != nil {
		panic(err) // strings and numbers can be marshalled
	}
	return string(b)
}

// zipf returns a function that maps a number from 0 to 1 to a rank from 1 to n. Rank k is 1/k times
// as frequent as rank 1.
func zipf(n int) func(float64) int {
	sums := make([]float64, n)
	sum := 0.0
	for k := range sums {
		sum += 1 / float64(k+1)
		sums[k] = sum
	}
	return func(x float64) int { return min(sort.SearchFloat64s(sums, x*sum)+1, n) }
}
