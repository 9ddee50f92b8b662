// Package cli is the command line: what is done beside serving, and what each command says.
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
	"fieldcache/internal/config"
	"fieldcache/internal/serve"
)

// System is what a run has of the world around it.
type System struct {
	Stdout, Stderr io.Writer
	Environ        []string // "NAME=value"
	Signals        <-chan os.Signal
	// Serve serves until ctx ends. It is what is done without a command.
	Serve func(ctx context.Context, cfg config.Config, log *slog.Logger) error
	// Explain tells how an operation over the server's schema is cached.
	Explain func(document string, o gqlcache.ExplainOptions) (*gqlcache.Explanation, error)
}

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	error
}

// ranError is what a command returned that could be run: not a fault of the command line.
type ranError struct{ error }

func (e ranError) Unwrap() error { return e.error }

// Run is the program: it does what args say and returns the exit code, 0 for done, 1 for failed, 2 for a
// command line or configuration that makes no sense.
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
		fmt.Fprintf(sys.Stderr, "%s --help tells what is allowed\n", ran.CommandPath())
		return 2
	}
}

// untilSignal runs do with a context that the first signal ends. A second signal does not wait for do.
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
				return &exitError{code, fmt.Errorf("%v again: ended at once", s)}
			}
			log.Info("ending: what is under way is finished, unless a second signal comes", "signal", s.String())
			stop()
		}
	}
}

func newRootCommand(sys System) *cobra.Command {
	root := newCommand(sys, "serve", "fieldcache", "A GraphQL gateway with a cache for every field",
		"A GraphQL gateway with a cache for every field. Without a command it serves; every flag has its variable.",
		nil, doServe)
	root.Version = version()
	root.CompletionOptions.HiddenDefaultCmd = true
	migrate := newCommand(sys, "migrate", "migrate up|down|status", "Bring the database's schema up, take it down, or tell how it is",
		"Up adds what is missing to the database and keeps what is there. Down takes away what up added. Status lists the migrations.",
		oneOf("up", "down", "status"), doMigrate)
	seed := newCommand(sys, "seed", "seed", "Fill the database with made-up data",
		"Fills the database with made-up data, the same for the same seed.", cobra.NoArgs, doSeed)
	token := newCommand(sys, "token", "token --user 42", "Make a token to ask as a user",
		"Prints a token, signed with JWT_SECRET, for the header Authorization: Bearer <token>.", cobra.NoArgs, doToken)
	evict := newCommand(sys, "evict", "evict [key ...]", "Evict entries from the cache of a running server",
		"Evicts from the cache of the server that runs at ADMIN_ADDR, and prints how many entries went.",
		cobra.ArbitraryArgs, doEvict)
	evict.Example = "  fieldcache evict user:42 product:7\n  fieldcache evict --type Product"
	serving := newCommand(sys, "serve", "serve", "Serve GraphQL (what is done without a command)",
		"Serves GraphQL and the playground on LISTEN_ADDR; metrics, health and eviction on ADMIN_ADDR.", cobra.NoArgs, doServe)
	live := newCommand(sys, "top", "top", "Show what the cache of a running server does, live",
		"Shows requests, cached fields, evictions and health of the server that runs at ADMIN_ADDR, until q is pressed. "+
			"Where the output is no terminal it prints them once, after a second.", cobra.NoArgs, doTop)
	explain := newCommand(sys, "explain", "explain 'query'|file.graphql", "Tell how each field of an operation is cached",
		"Tells for each field of an operation, from the schema alone: its age and scope, whether and under which key it is cached, what its value is made of, "+
			"and which field decides the response's Cache-Control.", cobra.ExactArgs(1), doExplain)
	explain.Example = "  fieldcache explain '{ user(id: 42) { name reviews { nodes { rating } } } }'\n  fieldcache explain --variables '{\"id\": \"7\"}' product.graphql"
	root.AddCommand(serving, migrate, seed, token, evict, live, explain,
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
		Use: "help [command]", Short: "Tell about a command",
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

// action is what a command does once its configuration is read.
type action func(ctx context.Context, args []string, cfg config.Config, sys System, log *slog.Logger) error

// newCommand makes a command of name whose flags are the variables of name.
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

// oneOf demands exactly one argument of those given.
func oneOf(allowed ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if cobra.ExactArgs(1)(cmd, args) != nil {
			return fmt.Errorf("%s wants one word: %s", cmd.Name(), strings.Join(allowed, ", "))
		}
		for _, word := range allowed {
			if args[0] == word {
				return nil
			}
		}
		return fmt.Errorf("%s knows no %q; allowed: %s", cmd.Name(), args[0], strings.Join(allowed, ", "))
	}
}

// flagValue keeps a flag's text: variables and flags are parsed together, by config.Load.
type flagValue struct {
	config.Variable
	text    string
	changed bool
}

func (f *flagValue) String() string { return f.text }

// Set takes the last of several values, and all of a list's.
func (f *flagValue) Set(text string) error {
	if f.changed && f.Variable.Type == "list" {
		text = f.text + "," + text
	}
	f.text, f.changed = text, true
	return nil
}

// Type is the word that the help text shows for the value.
func (f *flagValue) Type() string { return f.Variable.Type }

// version is what the Go tool knows of this program: its version, revision and compiler.
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
