package db

import (
	"context"

	"github.com/uptrace/bun"

	"fieldcache/cache"
	"fieldcache/cache/outbox"
)

// User is a row of users.
type User struct {
	bun.BaseModel `bun:"table:users" json:"-"`

	ID          int64   `bun:",pk,autoincrement" json:"id"`
	Name        string  `json:"name"`
	Email       string  `json:"email"`
	Bio         *string `json:"bio"`
	CountryCode *string `json:"country_code"`
	CreatedAt   Time    `json:"created_at"`
	UpdatedAt   Time    `json:"updated_at"`
}

// UserPatch contains the new values of a user's columns. A nil value leaves the column unchanged.
type UserPatch struct {
	Name, Email      *string
	Bio, CountryCode **string // a pointer to nil sets the column to NULL
}

// UsersByID returns the users with these ids.
func (d *DB) UsersByID(ctx context.Context, ids []int64) (map[int64]*User, cache.Snapshot, error) {
	args := d.arguments()
	condition, values := isIn(args, "id", ids)
	q := d.bun.NewSelect().Model((*User)(nil)).Where(condition, values...)
	return readByKey(ctx, args, q, func(u *User) int64 { return u.ID })
}

// UserPage returns a window of all users.
func (d *DB) UserPage(ctx context.Context, w Window) (*Page, cache.Snapshot, error) {
	return d.pageOf(ctx, d.arguments(), (*User)(nil), w, nil)
}

// CountUsers counts all users.
func (d *DB) CountUsers(ctx context.Context) (int, cache.Snapshot, error) {
	return d.count(ctx, d.arguments(), d.bun.NewSelect().Model((*User)(nil)))
}

// FirstUser returns the lowest user id, or 0 if there are no users.
func (d *DB) FirstUser(ctx context.Context) (int64, error) {
	p, _, err := d.UserPage(ctx, Window{First: 1})
	if err != nil || len(p.IDs) == 0 {
		return 0, err
	}
	return p.IDs[0], nil
}

// CreateUser adds a user and sets the id and the times. It returns [ErrConflict] if another user has
// the e-mail address, and [ErrInput] if the country does not exist.
func (d *DB) CreateUser(ctx context.Context, u *User) (Commit, error) {
	u.CreatedAt = Time{Time: now()}
	u.UpdatedAt = u.CreatedAt
	var inserted struct {
		ID       int64
		returned `bun:",extend"`
	}
	c, err := d.insertRow(ctx, "users", &inserted.returned, func(ctx context.Context, in bun.IDB) error {
		return translate(in.NewInsert().Model(u).Returning("id, ?", d.returning(outbox.Insert)).Scan(ctx, &inserted), "countryCode")
	})
	u.ID = inserted.ID
	return c, err
}

// UpdateUser changes a user and returns the new row. It returns the errors of [DB.CreateUser], and
// [ErrNotFound] if there is no such user.
func (d *DB) UpdateUser(ctx context.Context, id int64, patch UserPatch) (*User, Commit, error) {
	var row struct {
		User     `bun:",extend"`
		returned `bun:",extend"`
	}
	columns := []string{"updated_at"}
	for column, given := range map[string]bool{
		"name": patch.Name != nil, "email": patch.Email != nil, "bio": patch.Bio != nil, "country_code": patch.CountryCode != nil,
	} {
		if given {
			columns = append(columns, column)
		}
	}
	c, err := d.updateRow(ctx, "users", id, columns, &row.returned, func(ctx context.Context, in bun.IDB) error {
		args := d.argumentsIn(in)
		q := d.updateOf(in, args, (*User)(nil), id)
		set(args, q, "name", patch.Name)
		set(args, q, "email", patch.Email)
		set(args, q, "bio", patch.Bio)
		set(args, q, "country_code", patch.CountryCode)
		err := q.Returning("?", d.returningRow("id", "name", "email", "bio", "country_code", "created_at", "updated_at")).Conn(args.conn()).Scan(ctx, &row)
		return translate(found(err, "id", "user", id), "countryCode")
	})
	return &row.User, c, err
}

// DeleteUser deletes a user and their orders. Their reviews stay, without an author.
func (d *DB) DeleteUser(ctx context.Context, id int64) (Commit, error) {
	return d.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		var deleted int64
		return found(tx.NewDelete().Model((*User)(nil)).Where("id = ?", id).Returning("id").Scan(ctx, &deleted), "id", "user", id)
	})
}
