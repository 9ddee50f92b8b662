package graph

import (
	"encoding/base64"
	"errors"
	"math"
	"testing"

	"fieldcache/db"
)

// Whatever a client sends as a cursor: nothing is taken but what was made, in the one form in which it is
// made, and for the list that it was made for.
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
	// The last letter holds bits that mean nothing: dXNlcnM6MTI= with them set, and line breaks within.
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
					t.Errorf("%s: decode(%q) fails with %v", of, cursor, err)
				}
				continue
			}
			taken = append(taken, of)
			if n < 1 || of.encode(n) != cursor {
				t.Errorf("%s: %q is read as %d, whose cursor is %q", of, cursor, n, of.encode(n))
			}
		}
		if len(taken) > 1 {
			t.Errorf("%q is a cursor of %v", cursor, taken)
		}
		if id < 1 {
			return
		}
		for _, of := range lists {
			if n, err := of.decode(of.encode(id)); n != id || err != nil {
				t.Errorf("%s: %d comes back as %d, %v", of, id, n, err)
			}
		}
	})
}
