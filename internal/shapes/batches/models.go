// Package batches is a project with batch resolvers, models that are maps, inputs that distinguish
// null from an omitted value, and a transaction around each mutation.
package batches

// Color is an enum that gqlgen finds by autobind.
type Color string

// The colors.
const (
	Red   Color = "RED"
	Green Color = "GREEN"
)

// Note is a row of notes.
type Note struct {
	ID       string
	Title    string
	Color    *Color
	Pinned   bool
	WriterID *string
}

// Writer is a row of writers.
type Writer struct{ ID, Name string }

// Palette is a struct inside a map.
type Palette struct {
	Front *Color
	Back  *string
}
