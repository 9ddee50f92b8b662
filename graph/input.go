package graph

import (
	"math"
	"net/mail"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"

	"fieldcache/db"
	"fieldcache/graph/model"
	"fieldcache/graph/scalar"
)

// Limits of input values.
const (
	maxName     = 200    // characters
	maxText     = 10_000 // characters
	maxEmail    = 254    // bytes, RFC 5321
	maxLines    = 100
	maxQuantity = math.MaxInt32
)

func parseID(field, id string) (int64, error) {
	n, err := scalar.ParseID(id)
	if err != nil {
		return 0, db.Input(field, "An id is a whole number from 1 on, without leading zeros.")
	}
	return n, nil
}

func between(field string, n, low, high int) error {
	if n < low || n > high {
		return db.Input(field, "%s is a number from %d to %d, not %d.", field, low, high, n)
	}
	return nil
}

// checkText returns an error if text has too few or too many characters, or cannot be stored in every
// database.
func checkText(field, text string, low, high int) error {
	if err := db.CheckText(field, text); err != nil {
		return err
	}
	n := utf8.RuneCountInString(text)
	if n > high {
		return db.Input(field, "%s has %d characters, the most is %d.", field, n, high)
	}
	if low > 0 && strings.TrimSpace(text) == "" {
		return db.Input(field, "%s must not be blank.", field)
	}
	return nil
}

var countryCode = regexp.MustCompile(`^[A-Z]{2}$`)

func checkCountry(field, code string) error {
	if !countryCode.MatchString(code) {
		return db.Input(field, "A country's code is two capital letters as in ISO 3166-1, such as GB.")
	}
	return nil
}

// checkUser checks the given attributes of a user.
func checkUser(name, email, bio, country *string) error {
	if name != nil {
		if err := checkText("name", *name, 1, maxName); err != nil {
			return err
		}
	}
	if email != nil {
		a, err := mail.ParseAddress(*email)
		if err != nil || a.Address != *email || len(*email) > maxEmail || db.CheckText("email", *email) != nil {
			return db.Input("email", "This is no e-mail address; one looks like name@shop.example.")
		}
	}
	if bio != nil {
		if err := checkText("bio", *bio, 0, maxText); err != nil {
			return err
		}
	}
	if country != nil {
		return checkCountry("countryCode", *country)
	}
	return nil
}

// required returns an attribute of a patch that may be omitted but not null.
func required(field string, v graphql.Omittable[*string]) (*string, error) {
	if v.IsSet() && v.Value() == nil {
		return nil, db.Input(field, "%s cannot be null; leave it out to keep it.", field)
	}
	return v.Value(), nil
}

// optional returns an attribute of a patch that may be omitted (nil) or null (a pointer to nil).
func optional(v graphql.Omittable[*string]) **string {
	if !v.IsSet() {
		return nil
	}
	p := v.Value()
	return &p
}

func productPatch(input model.UpdateProductInput) (patch db.ProductPatch, err error) {
	for _, part := range []struct {
		field string
		from  graphql.Omittable[*string]
		to    **string
		high  int
	}{
		{"name", input.Name, &patch.Name, maxName},
		{"description", input.Description, &patch.Description, maxText},
		{"category", input.Category, &patch.Category, maxName},
	} {
		if *part.to, err = required(part.field, part.from); err != nil {
			return patch, err
		}
		if *part.to != nil {
			if err := checkText(part.field, **part.to, 1, part.high); err != nil {
				return patch, err
			}
		}
	}
	return patch, nil
}

var (
	amount   = regexp.MustCompile(`^([0-9]{1,12})(?:\.([0-9]{1,2}))?$`)
	currency = regexp.MustCompile(`^[A-Z]{3}$`)
)

// parseMoney parses an exact amount and returns it in hundredths.
func parseMoney(field string, m model.MoneyInput) (p db.Price, err error) {
	parts := amount.FindStringSubmatch(m.Amount)
	if parts == nil {
		return p, db.Input(field+".amount", "An amount is up to 12 digits, with a dot and at most two more if need be: 12.34.")
	}
	if !currency.MatchString(m.Currency) {
		return p, db.Input(field+".currency", "A currency is three capital letters as in ISO 4217, such as EUR.")
	}
	// At most 14 digits, which cannot overflow.
	p.Cents, err = strconv.ParseInt(parts[1]+(parts[2] + "00")[:2], 10, 64)
	p.Currency = m.Currency
	return p, err
}

func orderLines(inputs []*model.OrderLineInput) ([]*db.OrderLine, error) {
	if err := between("lines", len(inputs), 1, maxLines); err != nil {
		return nil, db.Input("lines", "An order has from 1 to %d lines, not %d.", maxLines, len(inputs))
	}
	lines := make([]*db.OrderLine, len(inputs))
	for i, in := range inputs {
		product, err := parseID("productId", in.ProductID)
		if err != nil {
			return nil, err
		}
		if err := between("quantity", in.Quantity, 1, maxQuantity); err != nil {
			return nil, err
		}
		lines[i] = &db.OrderLine{ProductID: product, Quantity: in.Quantity}
	}
	return lines, nil
}
