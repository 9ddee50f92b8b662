package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"fieldcache/cache/outbox"
	"fieldcache/db"
	"fieldcache/db/fixtures"
	"fieldcache/internal/config"
	"fieldcache/internal/serve"
	"fieldcache/internal/top"
)

// OpenDatabase opens the database of cfg. Writes to rows are recorded.
func OpenDatabase(ctx context.Context, cfg config.Config, rows []outbox.Rows) (*db.DB, error) {
	return db.Open(ctx, db.Options{URL: cfg.DatabaseURL, Rows: rows, MaxOpenConns: cfg.DatabaseMaxConns, ConnectTimeout: cfg.DatabaseTimeout})
}

// withDatabase opens the database, calls do, and closes the database.
func withDatabase(ctx context.Context, cfg config.Config, sys System, do func(*db.DB) error) error {
	var rows []outbox.Rows
	var err error
	if sys.Rows != nil {
		if rows, err = sys.Rows(); err != nil {
			return err
		}
	}
	d, err := OpenDatabase(ctx, cfg, rows)
	if err != nil {
		return err
	}
	return errors.Join(do(d), d.Close())
}

// PrepareDatabase prepares the database before the server starts. It migrates the embedded database, and
// fills it with demo data if it is empty. It migrates PostgreSQL if MIGRATE is set, and otherwise returns
// an error if the schema is not up to date.
func PrepareDatabase(ctx context.Context, cfg config.Config, d *db.DB, log *slog.Logger) error {
	if d.Postgres() && !cfg.Migrate {
		return d.CheckSchema(ctx)
	}
	applied, err := d.MigrateUp(ctx)
	if err != nil {
		return err
	}
	if len(applied) > 0 {
		log.Info("migrated", "database", d.String(), "applied", applied)
	}
	if d.Postgres() {
		return nil
	}
	err = fixtures.Seed(ctx, d, fixtures.Demo)
	if errors.Is(err, fixtures.ErrNotEmpty) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("demo data: %w", err)
	}
	log.Info("filled the empty database with demo data", "database", d.String(),
		"users", fixtures.Demo.Users, "products", fixtures.Demo.Products, "reviews", fixtures.Demo.Reviews, "orders", fixtures.Demo.Orders)
	return nil
}

func doServe(ctx context.Context, _ []string, cfg config.Config, sys System, log *slog.Logger) error {
	return sys.Serve(ctx, cfg, log)
}

func doMigrate(ctx context.Context, args []string, cfg config.Config, sys System, _ *slog.Logger) error {
	return withDatabase(ctx, cfg, sys, func(d *db.DB) error {
		switch args[0] {
		case "up":
			applied, err := d.MigrateUp(ctx)
			printMigrations(sys, d, "applied", applied, err)
			return err
		case "down":
			taken, err := d.MigrateDown(ctx)
			printMigrations(sys, d, "reverted", taken.Migrations, err)
			for _, left := range taken.Left {
				fmt.Fprintf(sys.Stdout, "left: %s\n", left)
			}
			return err
		default:
			states, err := d.MigrateStatus(ctx)
			for _, s := range states {
				at := "not applied"
				if !s.AppliedAt.IsZero() {
					at = "applied " + s.AppliedAt.Format(time.RFC3339)
				}
				fmt.Fprintf(sys.Stdout, "%s  %s\n", s.Name, at)
				for _, l := range s.Lacks {
					fmt.Fprintf(sys.Stdout, "    migrate up fixes: %s\n", l)
				}
			}
			return err
		}
	})
}

func printMigrations(sys System, d *db.DB, done string, names []string, err error) {
	switch {
	case err != nil:
	case len(names) == 0:
		fmt.Fprintf(sys.Stdout, "%s: nothing to do\n", d)
	default:
		fmt.Fprintf(sys.Stdout, "%s: %s %s\n", d, done, strings.Join(names, ", "))
	}
}

func doSeed(ctx context.Context, _ []string, cfg config.Config, sys System, _ *slog.Logger) error {
	return withDatabase(ctx, cfg, sys, func(d *db.DB) error {
		if err := prepareSeed(ctx, d); err != nil {
			return err
		}
		begin := time.Now()
		err := fixtures.Seed(ctx, d, fixtures.Options{
			Users: cfg.SeedUsers, Products: cfg.SeedProducts, Reviews: cfg.SeedReviews, Orders: cfg.SeedOrders,
			Seed: cfg.SeedSeed, Progress: sys.Stderr,
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(sys.Stdout, "%s: %d users, %d products, %d reviews and %d orders in %v\n", d,
			cfg.SeedUsers, cfg.SeedProducts, cfg.SeedReviews, cfg.SeedOrders, time.Since(begin).Round(time.Millisecond))
		return nil
	})
}

// prepareSeed migrates the embedded database. It returns an error for a PostgreSQL database that is not
// migrated.
func prepareSeed(ctx context.Context, d *db.DB) error {
	if d.Postgres() {
		return d.CheckSchema(ctx)
	}
	_, err := d.MigrateUp(ctx)
	return err
}

func doToken(_ context.Context, _ []string, cfg config.Config, sys System, _ *slog.Logger) error {
	token, err := serve.SignToken(cfg, time.Now())
	if err != nil {
		return fmt.Errorf("sign the token: %w", err)
	}
	fmt.Fprintln(sys.Stdout, token)
	return nil
}

func doEvict(ctx context.Context, keys []string, cfg config.Config, sys System, _ *slog.Logger) error {
	order := serve.EvictRequest{
		Keys: keys, Types: cfg.EvictType, Tags: cfg.EvictTag, Coordinates: cfg.EvictCoordinate, Rows: cfg.EvictRow, Soft: cfg.EvictSoft,
	}
	if order.Size() == 0 {
		return &config.Error{Faults: []string{"nothing to evict; name keys such as user:42, or use --type Product, --coordinate Product.reviews, --row reviews:9 or --tag"}}
	}
	body, err := json.Marshal(order)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	url := "http://" + dialable(cfg.AdminAddr) + "/evict"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ADMIN_ADDR: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no server responds at ADMIN_ADDR=%q; is it running? (%w)", cfg.AdminAddr, errors.Unwrap(err))
	}
	defer response.Body.Close()
	var answer struct {
		serve.EvictResponse
		Error string `json:"error"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("the server at ADMIN_ADDR=%q (status %d) is not a fieldcache server: %w", cfg.AdminAddr, response.StatusCode, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server refused (status %d): %s", response.StatusCode, answer.Error)
	}
	fmt.Fprintf(sys.Stdout, "evicted: %d cached keys, %d types, %d tags", answer.Evicted, answer.Types, answer.Tags)
	if answer.Coordinates+answer.Rows > 0 {
		fmt.Fprintf(sys.Stdout, ", %d coordinates, %d rows", answer.Coordinates, answer.Rows)
	}
	fmt.Fprintln(sys.Stdout)
	return nil
}

func doTop(ctx context.Context, _ []string, cfg config.Config, sys System, _ *slog.Logger) error {
	screen, ok := sys.Stdout.(*os.File)
	once := !ok || !term.IsTerminal(int(screen.Fd()))
	err := top.Run(ctx, top.Options{Address: dialable(cfg.AdminAddr), In: os.Stdin, Out: sys.Stdout, Once: once})
	if err != nil {
		return fmt.Errorf("no events from ADMIN_ADDR=%q; is the server running? (%w)", cfg.AdminAddr, err)
	}
	return nil
}

// dialable returns the address at which this machine can reach a listener on addr.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return addr
}
