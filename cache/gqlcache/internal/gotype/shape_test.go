package gotype

import (
	"reflect"
	"testing"
)

// A release that changes a Go type does not take what an older one stored for a value of the new
// type: JSON without a member is decoded without an error.
func TestShapeDistinguishesReleases(t *testing.T) {
	types := testTypes(t)
	type price struct {
		Amount int `json:"amount"`
	}
	older := types.codec("value", reflect.TypeFor[*price]())
	if again := types.codec("value", reflect.TypeFor[*price]()); again.Shape() != older.Shape() {
		t.Errorf("got shapes %s and %s of one type", older.Shape(), again.Shape())
	}
	newer := func() *Codec {
		type price struct {
			Amount   int    `json:"amount"`
			Currency string `json:"currency"`
		}
		return types.codec("value", reflect.TypeFor[*price]())
	}()
	if newer.Shape() == older.Shape() {
		t.Error("the shape is the same with another member")
	}
}

// A value behind an interface carries the shape of its own type.
func TestShapeBehindInterfaces(t *testing.T) {
	type issue struct{ ID, Title string }
	releases := [2]*Types{testTypes(t), testTypes(t)}
	for i, typ := range []reflect.Type{reflect.TypeFor[issue](), func() reflect.Type {
		type issue struct{ ID, Title, State string }
		return reflect.TypeFor[issue]()
	}()} {
		releases[i].objects["Issue"], releases[i].names[typ] = typ, "Issue"
	}
	older, newer := releases[0].codec("thing", reflect.TypeFor[any]()), releases[1].codec("thing", reflect.TypeFor[any]())
	data, err := older.Box(&issue{"7", "It leaks"}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := older.Decode(data); err != nil {
		t.Errorf("the same release: got error %v", err)
	}
	if box, err := newer.Decode(data); err == nil {
		t.Errorf("another release: %s was decoded as %+v, want an error", data, box.Value)
	}
}
