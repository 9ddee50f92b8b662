package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	error
}

// ranError is what a command returned that could be run: not a fault of the command line.
type ranError struct{ error }

func (e ranError) Unwrap() error { return e.error }

// run is the program: it does what args say and returns the exit code, 0 for done, 1 for failed, 2 for a
// command line or configuration that makes no sense.
func run(ctx context.Context, args []string, sys system) int {
	root := newRootCommand(sys)
	root.SetArgs(args)
	root.SetOut(sys.stdout)
	root.SetErr(sys.stderr)
	ran, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(sys.stderr, "fieldcache:", strings.TrimSpace(err.Error()))
	var exit *exitError
	var config *configError
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, new(ranError)) && !errors.As(err, &config):
		return 1
	default:
		fmt.Fprintf(sys.stderr, "%s --help tells what is allowed\n", ran.CommandPath())
		return 2
	}
}

func newRootCommand(sys system) *cobra.Command {
	root := newCommand(sys, "serve", "fieldcache", "A GraphQL gateway with a cache for every field",
		"A GraphQL gateway with a cache for every field. Without a command it serves; every flag has its variable.",
		nil, serve)
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
		"Serves GraphQL and the playground on LISTEN_ADDR; metrics, health and eviction on ADMIN_ADDR.", cobra.NoArgs, serve)
	root.AddCommand(serving, migrate, seed, token, evict,
		&cobra.Command{
			Use: "version", Short: "Print the version", Args: cobra.NoArgs,
			Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "fieldcache", version()) },
		},
		&cobra.Command{
			Use: "variables", Short: "Print the table of variables in Markdown", Args: cobra.NoArgs, Hidden: true,
			Run: func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), configTable()) },
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
type action func(ctx context.Context, args []string, cfg Config, sys system, log *slog.Logger) error

// newCommand makes a command of name whose flags are the variables of name.
func newCommand(sys system, name, use, short, long string, args cobra.PositionalArgs, do action) *cobra.Command {
	vars := variablesFor(name)
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			set := map[string]string{}
			for _, v := range vars {
				if f := cmd.Flags().Lookup(v.flag(name)); f.Changed {
					set[v.name] = f.Value.String()
				}
			}
			cfg, warnings, err := loadConfig(name, sys.environ, set)
			if err != nil {
				return ranError{err}
			}
			log := newLogger(sys.stderr, cfg)
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
		text := fmt.Sprintf("%s [%s]", v.help, v.name)
		if v.allowed != "" && v.allowed != "true or false" {
			text = fmt.Sprintf("%s (%s) [%s]", v.help, v.allowed, v.name)
		}
		f := flags.VarPF(&flagValue{variable: v, text: v.def}, v.flag(name), "", text)
		if f.Value.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
		names["--"+f.Name] = true
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if _, flag, ok := strings.Cut(err.Error(), "unknown flag: "); ok {
			if ours, ok := nearest(flag, names); ok {
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

// flagValue keeps a flag's text: variables and flags are parsed together, by loadConfig.
type flagValue struct {
	variable
	text    string
	changed bool
}

func (f *flagValue) String() string { return f.text }

// Set takes the last of several values, and all of a list's.
func (f *flagValue) Set(text string) error {
	if f.changed && f.Type() == "list" {
		text = f.text + "," + text
	}
	f.text, f.changed = text, true
	return nil
}

// Type is the word that the help text shows for the value.
func (f *flagValue) Type() string {
	switch t := f.variable.field.Type; t.String() {
	case "bool", "string":
		return t.String()
	case "time.Duration":
		return "duration"
	case "main.Bytes":
		return "size"
	case "[]string":
		return "list"
	case "slog.Level":
		return "level"
	default:
		return "number"
	}
}

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
