package graph

import (
	"encoding/base64"
	"errors"
	"math"
	"testing"

	"fieldcache/db"
)

// Of all strings that a client may send as a cursor, only cursors made by the gateway are accepted:
// in their canonical form, and for their own list.
func FuzzCursor(f *testing.F) {
	for _, id := range []int64{1, 42, math.MaxInt64} {
		f.Add(usersCursor.encode(id), id)
		f.Add(ordersCursor.encode(id), -id)
	}
	for _, raw := range []string{
		"", "users", "users:", "users:0", "users:-1", "users:+1", "users:042", "users: 1", "users:1 ", "users:1\n", "users:١",
		"users:99999999999999999999", "user:1", "users:users:1", "\x00", "users:1\x00", "Users:1",
	} {
		f.Add(base64.RawURLEncoding.EncodeToString([]byte(raw)), int64(7))
		f.Add(base64.URLEncoding.EncodeToString([]byte(raw)), int64(0))
		f.Add(raw, int64(math.MinInt64))
	}
	// The last letter holds unused bits: here they are set. Line breaks are ignored by the decoder.
	f.Add("dXNlcnM6MTJ", int64(1))
	f.Add("dXNl\ncnM6MTI", int64(1))
	lists := []cursorOf{usersCursor, productsCursor, reviewsCursor, ordersCursor}
	f.Fuzz(func(t *testing.T, cursor string, id int64) {
		var taken []cursorOf
		for _, of := range lists {
			n, err := of.decode(cursor)
			if err != nil {
				var refusal *db.Error
				if !errors.As(err, &refusal) || refusal.Kind != db.ErrInput || refusal.Field != "after" {
					t.Errorf("%s: decode(%q) returned %v, want ErrInput for after", of, cursor, err)
				}
				continue
			}
			taken = append(taken, of)
			if n < 1 || of.encode(n) != cursor {
				t.Errorf("%s: %q decodes to %d, whose cursor is %q", of, cursor, n, of.encode(n))
			}
		}
		if len(taken) > 1 {
			t.Errorf("%q is accepted for %v, want one list", cursor, taken)
		}
		if id < 1 {
			return
		}
		for _, of := range lists {
			if n, err := of.decode(of.encode(id)); n != id || err != nil {
				t.Errorf("%s: %d decodes to %d, %v after encoding", of, id, n, err)
			}
		}
	})
}
