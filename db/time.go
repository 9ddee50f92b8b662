package db

import (
	"bytes"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// Time is a time in a column. Databases store times that RFC 3339 cannot represent, such as infinity
// and years before 1 or after 9999, and SQLite stores any text. Time holds the text of such a value,
// so that the rest of the row, and rows read with it, remain usable. [Time.Unwritable] reports it.
type Time struct {
	time.Time
	text string // of a value that RFC 3339 cannot represent; else ""
}

// shownBytes limits the text of a value that is not a time.
const shownBytes = 100

// Scan implements [database/sql.Scanner]. It accepts every value.
func (t *Time) Scan(src any) error {
	*t = Time{}
	switch v := src.(type) {
	case time.Time:
		t.Time = v
	case []byte:
		t.parse(string(v))
	case string:
		t.parse(v)
	case nil:
		t.text = "null"
	default:
		t.text = fmt.Sprint(v)
	}
	if y := t.Year(); t.text == "" && (y < 1 || y > 9999) {
		*t = Time{text: t.Time.Format("2006-01-02T15:04:05Z07:00")}
	}
	return nil
}

// parse reads a time that the driver left as text.
func (t *Time) parse(text string) {
	var parsed bun.NullTime
	if err := parsed.Scan(text); err == nil {
		t.Time = parsed.Time
		return
	}
	if text = strings.ToValidUTF8(text, "\uFFFD"); len(text) > shownBytes {
		text = strings.ToValidUTF8(text[:shownBytes], "") + "…"
	}
	t.text = text
	if text == "" {
		t.text = `""`
	}
}

// Value implements [driver.Valuer].
func (t Time) Value() (driver.Value, error) {
	if err := t.Unwritable(); err != nil {
		return nil, err
	}
	return t.Time, nil
}

// Unwritable returns an error if RFC 3339 cannot represent the value.
func (t Time) Unwritable() error {
	if t.text == "" {
		return nil
	}
	return &timeError{t.text}
}

// timeError says that a column holds something other than a time.
type timeError struct{ text string }

func (e *timeError) Error() string { return "Time cannot represent value: " + e.text }

// ClientMessage returns the message for clients.
func (e *timeError) ClientMessage() string { return e.Error() }

// String returns the time in RFC 3339, or the text of a value that it cannot represent.
func (t Time) String() string {
	if t.text != "" {
		return t.text
	}
	return t.Format(time.RFC3339Nano)
}

// MarshalGQL writes the time in RFC 3339, or null for a value that it cannot represent.
func (t Time) MarshalGQL(w io.Writer) {
	if t.text != "" {
		_, _ = io.WriteString(w, "null") // writing to gqlgen's buffer never fails
		return
	}
	b := make([]byte, 0, len(time.RFC3339Nano)+2)
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339Nano)
	_, _ = w.Write(append(b, '"'))
}

// UnmarshalGQL reads a time in RFC 3339.
func (t *Time) UnmarshalGQL(v any) error {
	text, ok := v.(string)
	if !ok {
		return errors.New("a Time is a string in the format of RFC 3339")
	}
	moment, err := time.Parse(time.RFC3339Nano, text)
	*t = Time{Time: moment}
	return err
}

// noMoment is the JSON of a value that RFC 3339 cannot represent.
type noMoment struct {
	Text string `json:"text"`
}

// MarshalJSON writes the form that is cached: a time in RFC 3339, or an object with the text of a
// value that it cannot represent.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.text != "" {
		return json.Marshal(noMoment{t.text})
	}
	return t.Time.MarshalJSON()
}

// UnmarshalJSON reads what MarshalJSON writes, and refuses everything else.
func (t *Time) UnmarshalJSON(data []byte) error {
	*t = Time{}
	if !bytes.HasPrefix(data, []byte("{")) {
		if string(data) == "null" {
			return errors.New("a time must not be null")
		}
		return t.Time.UnmarshalJSON(data)
	}
	var none noMoment
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&none); err != nil {
		return err
	}
	if none.Text == "" {
		return errors.New("a time is neither a time nor a text")
	}
	t.text = none.Text
	return nil
}
