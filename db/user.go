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

// UserPatch says what is to change in a user; nil stays as it is.
type UserPatch struct {
	Name, Email      *string
	Bio, CountryCode **string // a pointer to nil empties the column
}

// UsersByID answers the users with these ids.
func (d *DB) UsersByID(ctx context.Context, ids []int64) (map[int64]*User, cache.Snapshot, error) {
	args := d.arguments()
	condition, values := isIn(args, "id", ids)
	q := d.bun.NewSelect().Model((*User)(nil)).Where(condition, values...)
	return readByKey(ctx, args, q, func(u *User) int64 { return u.ID })
}

// UserPage answers a window of all users.
func (d *DB) UserPage(ctx context.Context, w Window) (*Page, cache.Snapshot, error) {
	return d.pageOf(ctx, d.arguments(), (*User)(nil), w, nil)
}

// CountUsers counts all users.
func (d *DB) CountUsers(ctx context.Context) (int, cache.Snapshot, error) {
	return d.count(ctx, d.arguments(), d.bun.NewSelect().Model((*User)(nil)))
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
func (d *DB) CreateUser(ctx context.Context, u *User) (Commit, error) {
	u.CreatedAt = Time{Time: now()}
	u.UpdatedAt = u.CreatedAt
	var made struct {
		ID  int64
		Xid outbox.Number
	}
	err := d.alone(ctx, &made.Xid, func(ctx context.Context, in bun.IDB) error {
		return translate(in.NewInsert().Model(u).Returning("id, ? AS xid", d.xid()).Scan(ctx, &made), "countryCode")
	})
	u.ID = made.ID
	return committed(made.Xid, err, change("users", outbox.Insert, outbox.Row{Is: rowID(u.ID)}))
}

// UpdateUser changes a user and answers the new row. The errors are those of [DB.CreateUser], and
// [ErrNotFound].
func (d *DB) UpdateUser(ctx context.Context, id int64, patch UserPatch) (*User, Commit, error) {
	var row struct {
		User `bun:",extend"`
		Xid  outbox.Number
	}
	changed := []string{"updated_at"}
	update := func(ctx context.Context, in bun.IDB) error {
		args := d.argumentsIn(in)
		q := in.NewUpdate().Model((*User)(nil)).Where("id = ?", args.add(id)).Set("updated_at = ?", args.add(now()))
		set(args, q, "name", patch.Name)
		set(args, q, "email", patch.Email)
		set(args, q, "bio", patch.Bio)
		set(args, q, "country_code", patch.CountryCode)
		err := q.Returning("id, name, email, bio, country_code, created_at, updated_at, ? AS xid", d.xid()).Conn(args.conn()).Scan(ctx, &row)
		return translate(found(err, "id", "user", id), "countryCode")
	}
	var err error
	if patch.Name == nil {
		err = d.alone(ctx, &row.Xid, update)
	} else {
		err = d.change(ctx, func(ctx context.Context, tx bun.Tx) error {
			var before string
			lock := d.lock(tx.NewSelect().Model((*User)(nil)).Column("name").Where("id = ?", id))
			if err := found(lock.Scan(ctx, &before), "id", "user", id); err != nil {
				return err
			}
			changed = changed[:1] // this may not be the first attempt
			if before != *patch.Name {
				changed = append(changed, "name")
			}
			if err := update(ctx, tx); err != nil {
				return err
			}
			return d.askXid(ctx, tx, &row.Xid)
		})
	}
	c, err := committed(row.Xid, err, change("users", outbox.Update, updated(rowID(id), changed...)))
	return &row.User, c, err
}

// DeleteUser deletes a user with their orders; their reviews stay, without an author.
func (d *DB) DeleteUser(ctx context.Context, id int64) (Commit, error) {
	var (
		reviews []struct{ ID, ProductID int64 }
		orders  []int64
		xid     outbox.Number
	)
	err := d.change(ctx, func(ctx context.Context, tx bun.Tx) error {
		// The lock keeps others from adding reviews and orders between here and the deletion.
		var locked int64
		lock := d.lock(tx.NewSelect().Model((*User)(nil)).Column("id").Where("id = ?", id))
		if err := found(lock.Scan(ctx, &locked), "id", "user", id); err != nil {
			return err
		}
		if err := tx.NewSelect().Model((*Review)(nil)).Column("id", "product_id").Where("author_id = ?", id).Order("id").Scan(ctx, &reviews); err != nil {
			return err
		}
		if err := tx.NewSelect().Model((*Order)(nil)).Column("id").Where("customer_id = ?", id).Order("id").Scan(ctx, &orders); err != nil {
			return err
		}
		if err := tx.NewDelete().Model((*User)(nil)).Where("id = ?", id).Returning("? AS xid", d.xid()).Scan(ctx, &xid); err != nil {
			return err
		}
		return d.askXid(ctx, tx, &xid)
	})
	unsigned := make([]outbox.Row, len(reviews))
	for i, r := range reviews {
		unsigned[i] = outbox.Row{
			Was:     ids(map[string]int64{"id": r.ID, "product_id": r.ProductID, "author_id": id}),
			Is:      ids(map[string]int64{"id": r.ID, "product_id": r.ProductID}),
			Changed: []string{"author_id"},
		}
	}
	gone := make([]outbox.Row, len(orders))
	for i, order := range orders {
		gone[i] = outbox.Row{Was: ids(map[string]int64{"id": order, "customer_id": id})}
	}
	return committed(xid, err, change("users", outbox.Delete, outbox.Row{Was: rowID(id)}),
		change("reviews", outbox.Update, unsigned...), change("orders", outbox.Delete, gone...))
}
