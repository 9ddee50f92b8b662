package db

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// The kinds of [Error], for errors.Is. Any other error of this package is an internal fault.
var (
	ErrNotFound    = errors.New("not found")      // the requested row does not exist
	ErrConflict    = errors.New("conflict")       // existing rows do not permit the write; it may succeed later
	ErrInput       = errors.New("bad user input") // the value is invalid
	ErrUnavailable = errors.New("unavailable")    // the database is unreachable, busy, full or read-only
	ErrTimeout     = errors.New("timeout")        // the database ended a statement that took too long
)

// Error is an error that may be shown to the client.
type Error struct {
	Kind    error  // one of the kinds above
	Field   string // the invalid input's name in the API ("email", "countryCode"); empty if there is no single one
	Message string // a sentence for the client, without internals of the database
	// Uncertain says that the write may have been committed despite the error.
	Uncertain bool
	cause     error // for the log; may be nil
}

// NotFound returns an [Error] of kind ErrNotFound.
func NotFound(field, format string, args ...any) *Error {
	return &Error{Kind: ErrNotFound, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Conflict returns an [Error] of kind ErrConflict.
func Conflict(field, format string, args ...any) *Error {
	return &Error{Kind: ErrConflict, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Input returns an [Error] of kind ErrInput.
func Input(field, format string, args ...any) *Error {
	return &Error{Kind: ErrInput, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Error returns the text for the log, including the cause.
func (e *Error) Error() string {
	text := e.Kind.Error() + ": "
	if e.Field != "" {
		text += e.Field + ": "
	}
	text += e.Message
	if e.cause != nil {
		text += " (" + e.cause.Error() + ")"
	}
	return text
}

// Unwrap returns the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.cause}
}

// CheckText returns an [Error] of kind ErrInput for text that cannot be part of a statement. Call it
// for every text from outside, even for a search: with a NUL byte bun builds a malformed statement,
// and it silently replaces invalid UTF-8.
func CheckText(field, text string) error {
	switch {
	case !utf8.ValidString(text):
		return Input(field, "The text is not valid UTF-8.")
	case strings.ContainsRune(text, 0):
		return Input(field, "The text contains a NUL character, which cannot be stored.")
	}
	return nil
}

// rejectedError marks an error after which the transaction is known not to have been committed.
type rejectedError struct{ err error }

func (e *rejectedError) Error() string { return e.err.Error() }
func (e *rejectedError) Unwrap() error { return e.err }

// Rejected reports whether err proves that nothing was committed: the server returned an error, the
// connection could not be established, or the error occurred before [DB.InTx] sent COMMIT. After any
// other error, such as a connection lost while waiting for the response to COMMIT, the write may have
// been committed.
func Rejected(err error) bool {
	var own *Error
	var before *rejectedError
	if errors.As(err, &before) || errors.As(err, &own) && own.Kind != ErrUnavailable && own.Kind != ErrTimeout {
		return true
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) { // also if the server refused the connection, by an error that is FATAL
		return true
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		severity := pg.SeverityUnlocalized
		if severity == "" {
			severity = pg.Severity
		}
		// FATAL ends the session, and may arrive in place of the response to a COMMIT that succeeded.
		return severity == "ERROR" && !strings.HasPrefix(pg.Code, "08") && pg.Code != "40003"
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		switch lite.Code() & 0xff {
		case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERNAL:
			return false
		}
		return true
	}
	// pgx reports a connection as closed, and the statement as not sent, also if it ended while it waited for the
	// response to COMMIT.
	unsent := pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed)
	return errors.Is(err, pgx.ErrTxCommitRollback) || errors.Is(err, driver.ErrBadConn) || unsent
}

// translate turns a driver's error with a known meaning into an [Error], and returns every other
// error unchanged. foreignKey is the field that the statement sets to a key of another row, or "". It
// is the Field of the error if the database does not name the column, as SQLite never does.
func translate(err error, foreignKey string) error {
	var own *Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	if errors.Is(err, sql.ErrNoRows) {
		return &Error{Kind: ErrNotFound, Message: "There is no such row.", cause: err}
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return translatePostgres(err, pg, foreignKey)
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return translateSQLite(err, lite, foreignKey)
	}
	return err
}

// SQLSTATEs; https://www.postgresql.org/docs/current/errcodes-appendix.html.
const (
	pgNotNull       = "23502"
	pgForeignKey    = "23503"
	pgRestrict      = "23001"
	pgUnique        = "23505"
	pgCheck         = "23514"
	pgTooLong       = "22001"
	pgOutOfRange    = "22003"
	pgBadEncoding   = "22021"
	pgUntranslated  = "22P05"
	pgProgramLimit  = "54000"
	pgSerialization = "40001"
	pgDeadlock      = "40P01"
	pgLockTimeout   = "55P03"

	pgFeature            = "0A000"
	pgNoStatement        = "26000"
	pgSameStatement      = "42P05"
	pgAdminShutdown      = "57P01"
	pgCrashShutdown      = "57P02"
	pgCannotConnect      = "57P03"
	pgIdleSession        = "57P05"
	pgIdleTransaction    = "25P03"
	pgTooManyConnections = "53300"
	pgInternal           = "XX000"
	pgCanceled           = "57014"
	pgReadOnly           = "25006"
)

// keyOf finds the columns in a detail such as `Key (email)=(a@shop.example) already exists.`, whose
// words are in the server's language but whose form is not.
var keyOf = regexp.MustCompile(`\((.*?)\)=\(`)

func translatePostgres(err error, pg *pgconn.PgError, foreignKey string) error {
	key := ""
	if m := keyOf.FindStringSubmatch(pg.Detail); m != nil {
		key = m[1]
	}
	// The server omits the detail if the role may not read the column. Constraints are usually named
	// after their columns.
	column := columnIn(key)
	if key == "" {
		column = columnIn(strings.TrimPrefix(pg.ConstraintName, pg.TableName))
	}
	switch pg.Code {
	case pgUnique:
		return taken(err, column)
	case pgForeignKey, pgRestrict:
		switch {
		case column != "":
			return dangling(err, field(column))
		case key != "": // the statement tried to delete a row that is referenced
			return &Error{Kind: ErrConflict, Message: "Other things still refer to this, so it cannot be deleted.", cause: err}
		}
		return dangling(err, foreignKey)
	case pgCheck:
		return outOfBounds(err, column)
	case pgNotNull:
		return &Error{Kind: ErrInput, Field: field(pg.ColumnName), Message: "A value is required here.", cause: err}
	case pgOutOfRange:
		return outOfBounds(err, "")
	case pgTooLong, pgProgramLimit:
		return &Error{Kind: ErrInput, Message: "The text is too long.", cause: err}
	case pgBadEncoding, pgUntranslated:
		return &Error{Kind: ErrInput, Message: "The text contains characters that cannot be stored.", cause: err}
	case pgSerialization, pgDeadlock, pgLockTimeout:
		return &Error{Kind: ErrConflict, Message: "Another change came in between; please try again.", cause: err}
	}
	return err
}

func translateSQLite(err error, lite *sqlite.Error, foreignKey string) error {
	switch lite.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
		return taken(err, columnIn(lite.Error()))
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return dangling(err, foreignKey)
	case sqlite3.SQLITE_CONSTRAINT_CHECK:
		return outOfBounds(err, columnIn(lite.Error()))
	case sqlite3.SQLITE_CONSTRAINT_NOTNULL:
		_, column, _ := strings.Cut(lite.Error(), "NOT NULL constraint failed: ")
		column, _, _ = strings.Cut(column, " ")
		_, column, _ = strings.Cut(column, ".")
		return &Error{Kind: ErrInput, Field: field(column), Message: "A value is required here.", cause: err}
	case sqlite3.SQLITE_TOOBIG:
		return &Error{Kind: ErrInput, Message: "The text is too long.", cause: err}
	}
	unavailable := func(message string) error { return &Error{Kind: ErrUnavailable, Message: message, cause: err} }
	switch lite.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		return unavailable("The database is busy; please try again.")
	case sqlite3.SQLITE_READONLY:
		return unavailable("The database takes no writes at the moment.")
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		return unavailable("The database cannot reach its file, or has no room left.")
	}
	return err
}

// columnIn returns the column in a constraint's name, key or condition, or "".
func columnIn(text string) string {
	// Longer names first: unit_price_cents ends in price_cents.
	for _, column := range []string{"unit_price_cents", "price_cents", "country_code", "product_id", "author_id",
		"customer_id", "order_id", "email", "rating", "stock", "quantity"} {
		if strings.Contains(text, column) {
			return column
		}
	}
	return ""
}

// field returns a column's name in the API.
func field(column string) string {
	switch column {
	case "price_cents":
		return "price"
	case "unit_price_cents":
		return "unitPrice"
	}
	first, rest, found := strings.Cut(column, "_")
	if !found || rest == "" {
		return column
	}
	return first + strings.ToUpper(rest[:1]) + rest[1:]
}

func taken(err error, column string) error {
	if column == "email" {
		return &Error{Kind: ErrConflict, Field: "email", Message: "Another user has this e-mail address already.", cause: err}
	}
	return &Error{Kind: ErrConflict, Field: field(column), Message: "This value is taken already.", cause: err}
}

func dangling(err error, field string) error {
	message := "This refers to something that does not exist."
	switch field {
	case "":
		return &Error{Kind: ErrConflict, Message: "The change would leave a reference to something that does not exist.", cause: err}
	case "countryCode":
		message = "There is no country with this code; codes are two capital letters as in ISO 3166-1, such as GB."
	case "productId":
		message = "There is no such product."
	case "authorId", "customerId":
		message = "There is no such user."
	}
	return &Error{Kind: ErrInput, Field: field, Message: message, cause: err}
}

func outOfBounds(err error, column string) error {
	message := "The number is out of range."
	switch column {
	case "rating":
		message = "A rating is a whole number from 1 to 5."
	case "stock", "price_cents", "unit_price_cents":
		message = "The number must not be negative, nor too large to store."
	case "quantity":
		message = "The quantity must be at least 1."
	}
	return &Error{Kind: ErrInput, Field: field(column), Message: message, cause: err}
}
