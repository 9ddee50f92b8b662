package serve

import "testing"

func TestFault19WhatHostMaySay(t *testing.T) {
	const loopback, everywhere = "127.0.0.1:8080", "0.0.0.0:8080"
	own := []string{
		"localhost", "localhost:8080", "LOCALHOST", "LocalHost.", "localhost.:1", "localhost:", "127.0.0.1", "127.0.0.1:9", "127.8.9.1",
		"[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]:80",
	}
	foreign := []string{
		"", ".", ":", ":8080", "evil.example", "evil.example:8080", "localhost.evil.example", "evil.localhost", "localhost..", ".localhost",
		"127.0.0.1.evil.example", "127.0.0.1.nip.io", "0.0.0.0:8080", "10.0.0.1", "[::]", "[2001:db8::1]", "[::1%25lo]", "[::1%lo]", "::1", "[::1", "[::1]x",
		"[::1]:8x", "[127.0.0.1]", "user@localhost", "localhost:80@evil.example", "localhost:123456", "localhost/evil", "localhost evil", "evil.example,localhost",
		"2130706433", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.01", "ｌocalhost", "localhost\x00", "localhost#", "shop.example",
	}
	shop := []string{"shop.example", "SHOP.example.", "shop.example:443", "api.shop.example:8443", "[2001:db8::7]:80", "[2001:DB8:0::7]"}
	listed := []string{"Shop.Example.", "api.shop.example:8443", "[2001:db8::7]"}
	for _, c := range []struct {
		addr   string
		listed []string
		good   [][]string
		bad    [][]string
	}{
		{loopback, nil, [][]string{own}, [][]string{foreign, shop}},
		{"localhost:0", nil, [][]string{own}, [][]string{foreign, shop}},
		{"[::1]:0", nil, [][]string{own}, [][]string{foreign, shop}},
		{loopback, listed, [][]string{own, shop}, [][]string{foreign[:len(foreign)-1], {"api.shop.example", "api.shop.example:443", "shop.example.evil", "xshop.example"}}},
		{everywhere, listed, [][]string{own, shop}, [][]string{foreign[:len(foreign)-1]}},
		{everywhere, nil, [][]string{own, foreign, shop}, nil},
		{loopback, []string{"*"}, [][]string{own, foreign, shop}, nil},
	} {
		h := newHosts(c.listed, c.addr)
		for want, lists := range map[bool][][]string{true: c.good, false: c.bad} {
			for _, list := range lists {
				for _, text := range list {
					if h.allow(text) != want {
						t.Errorf("on %s with %q: %q: got allowed = %t", c.addr, c.listed, text, !want)
					}
				}
			}
		}
	}
	h := newHosts(listed, loopback)
	if n := testing.AllocsPerRun(100, func() { h.allow("127.0.0.1:8080"); h.allow("shop.example") }); n > 0 {
		t.Errorf("checking a Host makes %v allocations, want 0", n)
	}
}
