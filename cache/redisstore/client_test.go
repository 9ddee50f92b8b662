package redisstore

import "testing"

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
