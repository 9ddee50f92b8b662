package redisstore

import "testing"

// A certificate is compared with the address that is dialled, not with the first one of the options: a
// Sentinel and the primary it names have different ones.
func TestNoServerName(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"one server": {URLs: []string{"rediss://a:1"}},
		"a Cluster":  {URLs: []string{"rediss://a:1", "rediss://b:1"}},
		"a Sentinel": {URLs: []string{"rediss://a:1"}, SentinelMaster: "m"},
	} {
		u, err := o.universal()
		if err != nil || u.TLSConfig == nil || u.TLSConfig.ServerName != "" {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
}
