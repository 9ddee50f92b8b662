package graph

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"

	"fieldcache/dataloader"
	"fieldcache/db"
	"fieldcache/graph/model"
	"fieldcache/graph/scalar"
)

// maxFirst is the maximum number of items on a page.
const maxFirst = 100

// cursorOf is the list that a cursor points into. A cursor of one list is not valid for another.
type cursorOf string

const (
	usersCursor    cursorOf = "users"
	productsCursor cursorOf = "products"
	reviewsCursor  cursorOf = "reviews"
	ordersCursor   cursorOf = "orders"
)

// encode returns the cursor that points after an id. It is opaque to clients.
func (of cursorOf) encode(id int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(string(of) + ":" + strconv.FormatInt(id, 10)))
}

// decode returns the id of a cursor that encode returned.
func (of cursorOf) decode(cursor string) (int64, error) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		if id, ok := strings.CutPrefix(string(b), string(of)+":"); ok {
			// The decoder ignores line breaks and unused bits, so accept only the form of encode.
			if n, err := scalar.ParseID(id); err == nil && of.encode(n) == cursor {
				return n, nil
			}
		}
	}
	return 0, db.Input("after", "This is no cursor of a list of %s: pass an endCursor of the same list.", of)
}

// parseWindow parses the arguments of a connection.
func parseWindow(of cursorOf, first int, after *string) (w db.Window, err error) {
	if err := between("first", first, 1, maxFirst); err != nil {
		return w, err
	}
	w.First = first
	if after != nil {
		w.After, err = of.decode(*after)
	}
	return w, err
}

// pageInfo returns the PageInfo of a page.
func pageInfo(of cursorOf, page *db.Page) *model.PageInfo {
	info := &model.PageInfo{HasNextPage: page.More}
	if n := len(page.IDs); n > 0 {
		end := of.encode(page.IDs[n-1])
		info.EndCursor = &end
	}
	return info
}

// reviews returns a window of a list of reviews.
func reviews(ctx context.Context, of db.ReviewList, first int, after *string) (*model.ReviewConnection, error) {
	w, err := parseWindow(reviewsCursor, first, after)
	if err != nil {
		return nil, err
	}
	page, err := dataloader.For(ctx).ReviewPage(ctx, of, w)
	if err != nil {
		return nil, err
	}
	return &model.ReviewConnection{IDs: page.IDs, Of: of, PageInfo: pageInfo(reviewsCursor, page)}, nil
}
