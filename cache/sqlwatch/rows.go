package sqlwatch

import (
	"database/sql/driver"
	"reflect"
)

// rows wraps the rows of a statement and has every optional method of a driver's rows. If the driver's
// rows lack a method that describes columns, it returns database/sql's default.
type rows struct {
	driver.Rows
	ended func()
}

// watched returns r, wrapped so that Close calls ended. It has the methods for several result sets only
// if r has them, since database/sql checks the type.
func watched(r driver.Rows, ended func()) driver.Rows {
	one := rows{r, ended}
	if sets, ok := r.(driver.RowsNextResultSet); ok {
		return &rowSets{one, sets}
	}
	return &one
}

func (r *rows) Close() error {
	defer r.ended()
	return r.Rows.Close()
}

func (r *rows) ColumnTypeScanType(i int) reflect.Type {
	if t, ok := r.Rows.(driver.RowsColumnTypeScanType); ok {
		return t.ColumnTypeScanType(i)
	}
	return reflect.TypeFor[any]()
}

func (r *rows) ColumnTypeDatabaseTypeName(i int) string {
	if t, ok := r.Rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return t.ColumnTypeDatabaseTypeName(i)
	}
	return ""
}

func (r *rows) ColumnTypeLength(i int) (int64, bool) {
	if t, ok := r.Rows.(driver.RowsColumnTypeLength); ok {
		return t.ColumnTypeLength(i)
	}
	return 0, false
}

func (r *rows) ColumnTypeNullable(i int) (nullable, ok bool) {
	if t, ok := r.Rows.(driver.RowsColumnTypeNullable); ok {
		return t.ColumnTypeNullable(i)
	}
	return false, false
}

func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	if t, ok := r.Rows.(driver.RowsColumnTypePrecisionScale); ok {
		return t.ColumnTypePrecisionScale(i)
	}
	return 0, 0, false
}

// rowSets are rows with several result sets.
type rowSets struct {
	rows
	sets driver.RowsNextResultSet
}

func (r *rowSets) HasNextResultSet() bool { return r.sets.HasNextResultSet() }

func (r *rowSets) NextResultSet() error { return r.sets.NextResultSet() }
