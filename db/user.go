package db

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"fieldcache/cache"
)

// User is a row of users.
type User struct {
	bun.BaseModel `bun:"table:users" json:"-"`

	ID          int64     `bun:",pk,autoincrement" json:"id"`
	Name        string    `json:"name"`
	Email       string    `json:"email"`
	Bio         *string   `json:"bio"`
	CountryCode *string   `json:"country_code"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// UserPatch says what is to change in a user; nil stays as it is.
type UserPatch struct {
	Name, Email      *string
	Bio, CountryCode **string // a pointer to nil empties the column
}

// DeletedUser names the rows that the deletion of a user changed besides.
type DeletedUser struct {
	Reviews []int64 // they lost their author
	Orders  []int64 // they are gone
}

// UsersByID answers the users with these ids.
func (d *DB) UsersByID(ctx context.Context, ids []int64) (map[int64]*User, cache.Snapshot, error) {
	q := d.bun.NewSelect().Model((*User)(nil)).Where("id IN (?)", bun.List(ids))
	return readByKey(ctx, d, q, func(u *User) int64 { return u.ID })
}

// UserPage answers a window of all users.
func (d *DB) UserPage(ctx context.Context, w Window) (*Page, cache.Snapshot, error) {
	return d.pageOf(ctx, (*User)(nil), w, nil)
}

// CountUsers counts all users.
func (d *DB) CountUsers(ctx context.Context) (int, cache.Snapshot, error) {
	return d.count(ctx, d.bun.NewSelect().Model((*User)(nil)))
}

// FirstUser answers the lowest id of a user, 0 if there is none.
func (d *DB) FirstUser(ctx context.Context) (int64, error) {
	p, _, err := d.UserPage(ctx, Window{First: 1})
	if err != nil || len(p.IDs) == 0 {
		return 0, err
	}
	return p.IDs[0], nil
}

// CreateUser adds a user and fills in the id and the times. An e-mail address that another user has
// is [ErrConflict], an unknown country [ErrInput].
func (d *DB) CreateUser(ctx context.Context, u *User) error {
	u.CreatedAt = now()
	u.UpdatedAt = u.CreatedAt
	_, err := d.bun.NewInsert().Model(u).Returning("id").Exec(ctx)
	return translate(err, "countryCode")
}

// UpdateUser changes a user and answers the new row, and whether the name is another one now. The
// errors are those of [DB.CreateUser], and [ErrNotFound].
func (d *DB) UpdateUser(ctx context.Context, id int64, patch UserPatch) (u *User, renamed bool, err error) {
	update := func(ctx context.Context, in bun.IDB) error {
		u = new(User)
		q := in.NewUpdate().Model(u).Where("id = ?", id).Set("updated_at = ?", now())
		set(q, "name", patch.Name)
		set(q, "email", patch.Email)
		set(q, "bio", patch.Bio)
		set(q, "country_code", patch.CountryCode)
		err := q.Returning("*").Scan(ctx)
		return translate(found(err, "id", "user", id), "countryCode")
	}
	if patch.Name == nil {
		err = update(ctx, d.bun)
		return u, false, err
	}
	err = d.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var before string
		lock := d.lock(tx.NewSelect().Model((*User)(nil)).Column("name").Where("id = ?", id))
		if err := found(lock.Scan(ctx, &before), "id", "user", id); err != nil {
			return err
		}
		renamed = before != *patch.Name
		return update(ctx, tx)
	})
	return u, renamed, err
}

// DeleteUser deletes a user with their orders; their reviews stay, without an author.
func (d *DB) DeleteUser(ctx context.Context, id int64) (gone DeletedUser, err error) {
	err = d.InTx(ctx, func(ctx context.Context, tx bun.Tx) error {
		// The lock keeps others from adding reviews and orders between here and the deletion.
		var locked int64
		lock := d.lock(tx.NewSelect().Model((*User)(nil)).Column("id").Where("id = ?", id))
		if err := found(lock.Scan(ctx, &locked), "id", "user", id); err != nil {
			return err
		}
		if err := tx.NewSelect().Model((*Review)(nil)).Column("id").Where("author_id = ?", id).Order("id").Scan(ctx, &gone.Reviews); err != nil {
			return err
		}
		if err := tx.NewSelect().Model((*Order)(nil)).Column("id").Where("customer_id = ?", id).Order("id").Scan(ctx, &gone.Orders); err != nil {
			return err
		}
		_, err := tx.NewDelete().Model((*User)(nil)).Where("id = ?", id).Exec(ctx)
		return err
	})
	return gone, err
}
