package redisstore

import (
	"context"
	"net"
	"testing"
)

// A certificate is compared with the address that is dialed, not with the first address of the
// options: a Sentinel and the primary that it names have different addresses.
func TestNoServerName(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"one server": {URLs: []string{"rediss://a:1"}},
		"a Cluster":  {URLs: []string{"rediss://a:1", "rediss://b:1"}},
		"a Sentinel": {URLs: []string{"rediss://a:1"}, SentinelMaster: "m"},
	} {
		u, err := o.universal()
		if err != nil || u.TLSConfig == nil || u.TLSConfig.ServerName != "" {
			t.Errorf("%s: got %+v, error %v", name, u, err)
		}
	}
}

// Connections that are closed are not recorded any longer.
func TestClosedConnectionsAreForgotten(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &server{}
	var d net.Dialer
	dial := s.DialHook(func(ctx context.Context, network, address string) (net.Conn, error) {
		return d.DialContext(ctx, network, address)
	})
	var left net.Conn
	for i := range 10 {
		c, err := dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			left = c
			continue
		}
		_ = c.Close()
	}
	if n := len(s.open); n != 2 {
		t.Errorf("%d connections are recorded, want the one that is open and the last one", n)
	}
	if s.closeAll(); !closed(left) || len(s.open) > 0 {
		t.Error("a connection was not closed")
	}
}
