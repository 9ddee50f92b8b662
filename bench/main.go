// Command bench measures servers side by side and prints Markdown tables of ratios.
//
// It starts gateways, and bare net/http servers that write the same bytes as a gateway's cached
// responses. It measures them in turn, round after round, so that disturbances of the machine
// affect all of them, and prints the medians. Besides requests per second it prints the server's
// processor time per request, which depends less on other processes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the settings from the command line.
type settings struct {
	pressure
	rounds, ids         int
	database, redis     string
	servers, operations []string
	others              []server
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out, log io.Writer) error {
	if len(args) == 1 && args[0] == bareCommand {
		return serveBare(ctx, in, out)
	}
	s, err := parse(args, log)
	if err != nil {
		return err
	}
	return s.measure(ctx, out, log)
}

func parse(args []string, log io.Writer) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.IntVar(&s.connections, "connections", 32, "number of keep-alive connections; each sends one request at a time")
	flags.BoolVar(&s.distinct, "distinct", false, "send a different X-Request-Id with each request, so that no two request headers are equal")
	flags.IntVar(&s.rounds, "rounds", 5, "how many times each server is measured with each operation")
	flags.IntVar(&s.ids, "ids", 1000, "Q1 and Q3 request users 1 to N, or to the last user if there are fewer")
	seconds := flags.Float64("seconds", 3, "duration of each measurement in seconds")
	flags.StringVar(&s.database, "database", "", "DATABASE_URL of the gateways; the database must contain the shop's data; default: an embedded database with demo data for each gateway")
	flags.StringVar(&s.redis, "redis", "", "REDIS_URL of the gateways; each uses its own key prefix; without it there is no Redis and the server redis is left out")
	servers := flags.String("servers", strings.Join(names, ","), "servers to measure, comma separated; the others are compared with the first")
	operations := flags.String("operations", "Q1,Q2,Q3,M1,W", "operations to run, comma separated")
	flags.Func("url", "another running server to measure: NAME=URL, or NAME=URL#PID to report its CPU time and memory; may be repeated", func(text string) error {
		other, err := otherServer(text)
		s.others = append(s.others, other)
		return err
	})
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	s.period = time.Duration(*seconds * float64(time.Second))
	if s.connections < 1 || s.rounds < 1 || s.ids < 1 || s.period <= 0 || flags.NArg() > 0 {
		return nil, errors.New("-connections, -rounds, -ids and -seconds must be greater than 0, and there must be no arguments after the flags")
	}
	var err error
	if s.servers, err = subset(*servers, names); err != nil {
		return nil, err
	}
	s.operations, err = subset(*operations, []string{"Q1", "Q2", "Q3", "M1", "W"})
	return s, err
}

// subset parses a list of names, all of which must be known.
func subset(list string, known []string) ([]string, error) {
	if list == "" {
		return nil, nil
	}
	var chosen []string
	for name := range strings.SplitSeq(list, ",") {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%q is none of %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, name)
	}
	return chosen, nil
}

// measure starts the servers, measures them, and prints a table for each operation.
func (s *settings) measure(ctx context.Context, out, log io.Writer) (err error) {
	site, err := newSite(ctx, s)
	if site != nil {
		defer func() { err = errors.Join(err, site.close()) }()
	}
	if err != nil {
		return err
	}
	users, err := site.users(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d connections, %d rounds of %v, users 1 to %d of %d; %s.\n",
		s.connections, s.rounds, s.period, min(s.ids, users), users, machine())
	for _, name := range s.operations {
		op := newOperation(name, min(s.ids, users), users)
		t := table{}
		for round := range s.rounds {
			for _, target := range site.servers {
				if target.bare && op.writes {
					continue
				}
				fmt.Fprintf(log, "%s, round %d of %d: %s\n", name, round+1, s.rounds, target.name)
				if round == 0 {
					if err := warm(ctx, target, op); err != nil {
						return fmt.Errorf("%s of %s: %w", name, target.name, err)
					}
				}
				m, err := s.once(ctx, target, op)
				if err != nil {
					return fmt.Errorf("%s of %s: %w", name, target.name, err)
				}
				t.add(target.name, m)
			}
		}
		if _, err := fmt.Fprintf(out, "\n### %s: %s\n\n%s", name, op.about, t.markdown()); err != nil {
			return err
		}
	}
	return nil
}

// once makes one measurement.
func (s *settings) once(ctx context.Context, target server, op operation) (measurement, error) {
	before, known := cpu(target.pid)
	tiers, err := target.hits(ctx)
	if err != nil {
		return measurement{}, err
	}
	m, err := load(ctx, target, op, s.pressure)
	if err != nil {
		return m, err
	}
	if after, ok := cpu(target.pid); ok && known && m.requests > 0 {
		m.cpu = (after - before) / time.Duration(m.requests)
	}
	m.rss = rss(target.pid)
	after, err := target.hits(ctx)
	m.redis = after.share(tiers)
	return m, err
}
