// Package cli implements the command line: commands, flags and help.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"fieldcache/cache/apierror"
	"fieldcache/cache/gqlcache"
	"fieldcache/cache/outbox"
	"fieldcache/internal/config"
	"fieldcache/internal/serve"
)

// System is the environment of a run.
type System struct {
	Stdout, Stderr io.Writer
	Environ        []string // "NAME=value"
	Signals        <-chan os.Signal
	// Rows returns the database rows whose writes must be recorded. May be nil.
	Rows func() ([]outbox.Rows, error)
	// Serve runs the server until ctx ends.
	Serve func(ctx context.Context, cfg config.Config, log *slog.Logger) error
	// Explain returns how an operation on the server's schema is cached.
	Explain func(document string, o gqlcache.ExplainOptions) (*gqlcache.Explanation, error)
}

// exitError is an error with its own exit code.
type exitError struct {
	code int
	error
}

// ranError is an error of a command whose command line was valid.
type ranError struct{ error }

func (e ranError) Unwrap() error { return e.error }

// Run runs the command in args and returns the exit code: 0 for success, 1 for a failure, and 2 for an
// invalid command line or configuration.
func Run(ctx context.Context, args []string, sys System) int {
	root := newRootCommand(sys)
	root.SetArgs(args)
	root.SetOut(sys.Stdout)
	root.SetErr(sys.Stderr)
	ran, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(sys.Stderr, "fieldcache:", strings.TrimSpace(err.Error()))
	var exit *exitError
	var fault *config.Error
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, new(ranError)) && !errors.As(err, &fault):
		return 1
	default:
		fmt.Fprintf(sys.Stderr, "Run %s --help for usage.\n", ran.CommandPath())
		return 2
	}
}

// untilSignal runs do with a context that the first signal cancels. At a second signal it returns an error
// without waiting for do.
func (sys System) untilSignal(ctx context.Context, log *slog.Logger, do func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	for stopping := false; ; stopping = true {
		select {
		case err := <-done:
			return err
		case s := <-sys.Signals:
			if stopping {
				code := 1
				if number, ok := s.(syscall.Signal); ok {
					code = 128 + int(number)
				}
				return &exitError{code, fmt.Errorf("stopped immediately by a second signal (%v)", s)}
			}
			log.Info("shutting down; signal again to stop immediately", "signal", s.String())
			stop()
		}
	}
}

func newRootCommand(sys System) *cobra.Command {
	root := newCommand(sys, "serve", "fieldcache", "A GraphQL gateway with a cache for every field",
		"A GraphQL gateway with a cache for every field. The default command is serve. Each flag can also be set by the environment variable in brackets.",
		nil, doServe)
	root.Version = version()
	root.CompletionOptions.HiddenDefaultCmd = true
	migrate := newCommand(sys, "migrate", "migrate up|down|status", "Migrate the database, or list its migrations",
		"Up adds what is missing to the database and keeps existing tables. Down removes what up added. Status lists the migrations.",
		oneOf("up", "down", "status"), doMigrate)
	seed := newCommand(sys, "seed", "seed", "Fill an empty database with generated data",
		"Fills an empty database with generated data. The same seed gives the same data.", cobra.NoArgs, doSeed)
	token := newCommand(sys, "token", "token --user 42", "Print a token for a user",
		"Prints a token, signed with JWT_SECRET, for the header Authorization: Bearer <token>.", cobra.NoArgs, doToken)
	evict := newCommand(sys, "evict", "evict [key ...]", "Evict entries from the cache of a running server",
		"Evicts entries from the cache of the server at ADMIN_ADDR and prints how many of the keys were cached.",
		cobra.ArbitraryArgs, doEvict)
	evict.Example = "  fieldcache evict user:42 product:7\n  fieldcache evict --type Product"
	serving := newCommand(sys, "serve", "serve", "Serve GraphQL (the default command)",
		"Serves GraphQL and the playground on LISTEN_ADDR, and metrics, health checks and eviction on ADMIN_ADDR.", cobra.NoArgs, doServe)
	live := newCommand(sys, "top", "top", "Show live statistics of a running server",
		"Shows requests, cached fields, evictions and health of the server at ADMIN_ADDR until q is pressed. "+
			"If the output is not a terminal, it prints them once, after two seconds.", cobra.NoArgs, doTop)
	warm := newCommand(sys, "warm", "warm file.graphql ...", "Fill the cache of a running server",
		"Sends each query of the files to the server at LISTEN_ADDR to fill its cache. Variables are in a JSON file next to each document, "+
			"with the same name: an object, or a list of objects, for each of which the query is sent.", cobra.MinimumNArgs(1), doWarm)
	warm.Example = "  fieldcache warm operations/*.graphql\n  fieldcache warm --variables '{\"id\": \"7\"}' product.graphql"
	explain := newCommand(sys, "explain", "explain 'query'|file.graphql", "Explain how each field of an operation is cached",
		"Prints for each field of an operation, from the schema alone: its age and scope, whether and under which key it is cached, and what its value depends on. "+
			"Also prints the response's Cache-Control and the fields that determine it.", cobra.ExactArgs(1), doExplain)
	explain.Example = "  fieldcache explain '{ user(id: 42) { name reviews { nodes { rating } } } }'\n  fieldcache explain --variables '{\"id\": \"7\"}' product.graphql"
	outbox := newCommand(sys, "outbox", "outbox sql [file.graphqls ...]", "Print the SQL that installs the outbox of a gqlgen project",
		"Prints the SQL that gqlcache.Open would run to record the writes to a project's tables, for the project's own migration tool. "+
			"Use it with Options.Migrate = gqlcache.Verify. Print and run it again after a change of the GraphQL schema. For PostgreSQL no database connection is needed: "+
			"the SQL is one statement, which looks up primary keys and columns when it runs. For SQLite the columns are read from the file in DATABASE_URL.",
		func(cmd *cobra.Command, args []string) error { return oneOf("sql")(cmd, args[:min(len(args), 1)]) }, doOutbox)
	outbox.Example = "  fieldcache outbox sql graph/*.graphqls > migrations/0007_outbox.up.sql\n" +
		"  fieldcache outbox sql --down > migrations/0007_outbox.down.sql\n" +
		"  fieldcache outbox sql --schema schema.graphqls --dialect sqlite --database-url sqlite://app.db"
	root.AddCommand(serving, migrate, seed, token, evict, live, warm, explain, outbox,
		&cobra.Command{
			Use: "version", Short: "Print the version", Args: cobra.NoArgs,
			Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "fieldcache", version()) },
		},
		&cobra.Command{
			Use: "variables", Short: "Print the table of variables in Markdown", Args: cobra.NoArgs, Hidden: true,
			Run: func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), config.Table()) },
		},
		&cobra.Command{
			Use: "errors", Short: "Print the table of errors in Markdown", Args: cobra.NoArgs, Hidden: true,
			Run: func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), apierror.Table()) },
		})
	root.SetHelpCommand(&cobra.Command{
		Use: "help [command]", Short: "Show help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, _, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			return about.Help()
		},
	})
	return root
}

// action runs a command with its configuration.
type action func(ctx context.Context, args []string, cfg config.Config, sys System, log *slog.Logger) error

// newCommand returns the command name. Its flags are the variables of the command.
func newCommand(sys System, name, use, short, long string, args cobra.PositionalArgs, do action) *cobra.Command {
	vars := config.Variables(name)
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			set := map[string]string{}
			for _, v := range vars {
				if f := cmd.Flags().Lookup(v.Flag(name)); f.Changed {
					set[v.Name] = f.Value.String()
				}
			}
			cfg, warnings, err := config.Load(name, sys.Environ, set)
			if err != nil {
				return ranError{err}
			}
			log := serve.NewLogger(sys.Stderr, cfg)
			for _, warning := range warnings {
				log.Warn(warning)
			}
			err = sys.untilSignal(cmd.Context(), log, func(ctx context.Context) error { return do(ctx, args, cfg, sys, log) })
			if err != nil {
				return ranError{err}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	names := map[string]bool{}
	for _, v := range vars {
		text := fmt.Sprintf("%s [%s]", v.Help, v.Name)
		if v.Allowed != "" && v.Allowed != "true or false" {
			text = fmt.Sprintf("%s (%s) [%s]", v.Help, v.Allowed, v.Name)
		}
		f := flags.VarPF(&flagValue{Variable: v, text: v.Default}, v.Flag(name), "", text)
		if f.Value.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
		names["--"+f.Name] = true
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if _, flag, ok := strings.Cut(err.Error(), "unknown flag: "); ok {
			if ours, ok := config.Nearest(flag, names); ok {
				err = fmt.Errorf("%w; did you mean %s?", err, ours)
			}
		}
		return err
	})
	return cmd
}

// oneOf requires exactly one argument, one of allowed.
func oneOf(allowed ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if cobra.ExactArgs(1)(cmd, args) != nil {
			return fmt.Errorf("%s requires one argument: %s", cmd.Name(), strings.Join(allowed, ", "))
		}
		for _, word := range allowed {
			if args[0] == word {
				return nil
			}
		}
		return fmt.Errorf("%s: unknown argument %q; allowed: %s", cmd.Name(), args[0], strings.Join(allowed, ", "))
	}
}

// flagValue holds the text of a flag. config.Load parses variables and flags together.
type flagValue struct {
	config.Variable
	text    string
	changed bool
}

func (f *flagValue) String() string { return f.text }

// Set sets the value, or appends it to a list.
func (f *flagValue) Set(text string) error {
	if f.changed && f.Variable.Type == "list" {
		text = f.text + "," + text
	}
	f.text, f.changed = text, true
	return nil
}

// Type returns the word that the help shows for the value.
func (f *flagValue) Type() string { return f.Variable.Type }

// version returns the version, the revision and the Go release of the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	if text == "" {
		text = "(devel)"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if revision := settings["vcs.revision"]; revision != "" {
		text += " revision " + revision
		if settings["vcs.modified"] == "true" {
			text += " with changes"
		}
		if at, err := time.Parse(time.RFC3339, settings["vcs.time"]); err == nil {
			text += " of " + at.Format(time.DateOnly)
		}
	}
	return text + " " + info.GoVersion
}
