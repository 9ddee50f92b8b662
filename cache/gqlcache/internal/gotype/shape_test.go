package gotype

import (
	"reflect"
	"testing"
)

// olderPrice is a type of one release, and the types after it are what the next one may make of it.
type (
	olderPrice struct {
		Amount int `json:"amount"`
	}
	addedMember struct {
		Amount   int    `json:"amount"`
		Currency string `json:"currency"`
	}
	addedHidden struct {
		Amount  int `json:"amount"`
		tenthOf int
	}
	addedLeftOut struct {
		Amount   int    `json:"amount"`
		Currency string `json:"-"`
	}
	cents       int
	otherMember struct {
		Amount cents `json:"amount"`
	}
)

// A release that changes a Go type does not take what an older one stored for a value of the new
// type: JSON without a member is decoded without an error.
func TestShapeDistinguishesReleases(t *testing.T) {
	types := testTypes(t)
	older := types.codec("value", reflect.TypeFor[*olderPrice]())
	if again := types.codec("value", reflect.TypeFor[*olderPrice]()); again.Shape() != older.Shape() {
		t.Errorf("got shapes %s and %s of one type", older.Shape(), again.Shape())
	}
	for name, typ := range map[string]reflect.Type{
		"a member":                  reflect.TypeFor[*addedMember](),
		"a private member":          reflect.TypeFor[*addedHidden](),
		"a member that JSON omits":  reflect.TypeFor[*addedLeftOut](),
		"another type of a member":  reflect.TypeFor[*otherMember](),
		"a list instead of a value": reflect.TypeFor[[]olderPrice](),
	} {
		if newer := types.codec("value", typ); newer.Shape() == older.Shape() {
			t.Errorf("%s: the shape is the same as before", name)
		}
	}
	_ = addedHidden{tenthOf: 1}
}

// A value behind an interface carries the shape of its own type.
func TestShapeBehindInterfaces(t *testing.T) {
	type oldIssue struct{ ID, Title string }
	type newIssue struct{ ID, Title, State string }
	releases := [2]*Types{testTypes(t), testTypes(t)}
	for i, typ := range []reflect.Type{reflect.TypeFor[oldIssue](), reflect.TypeFor[newIssue]()} {
		releases[i].objects["Issue"], releases[i].names[typ] = typ, "Issue"
	}
	older, newer := releases[0].codec("thing", reflect.TypeFor[any]()), releases[1].codec("thing", reflect.TypeFor[any]())
	data, err := older.Box(&oldIssue{"7", "It leaks"}).MarshalJSON()
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
