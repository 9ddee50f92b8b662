package top

import (
	"context"
	"io"
	"net/http"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
)

// Options configure [Run].
type Options struct {
	Address string // host:port of the admin port
	In      io.Reader
	Out     io.Writer
	// Once prints the state once, as text, after the second counter event, instead of running the
	// interactive screen.
	Once bool
}

// retry is the delay before reconnecting.
const retry = time.Second

// Run shows the state of the server until the user quits or ctx is canceled, and reconnects when the
// stream ends. With Once it prints the state after the second counter event and returns; it returns
// an error if the stream ends before that.
func Run(ctx context.Context, o Options) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	url := "http://" + o.Address + "/cache/events"
	s := &state{address: o.Address}
	if o.Once {
		return once(ctx, client, url, s, o.Out)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	program := tea.NewProgram(&screen{state: s, width: 120, height: 40}, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithoutSignalHandler())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			err := Stream(ctx, client, url, func(event any) { program.Send(event) })
			program.Send(lostMsg{err})
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
		}
	}()
	_, err := program.Run()
	cancel()
	<-done
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the caller ended it
	}
	return err
}

func once(ctx context.Context, client *http.Client, url string, s *state, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := Stream(ctx, client, url, func(event any) {
		s.take(event)
		if !s.before.When.IsZero() {
			cancel()
		}
	})
	if s.before.When.IsZero() {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	_, err = lipgloss.Fprintln(out, s.render(140, 60)) // without colors if out supports none
	return err
}

// lostMsg says that the stream of events has ended.
type lostMsg struct{ why error }

// screen is the bubbletea model.
type screen struct {
	*state
	width, height int
}

// Init implements [tea.Model].
func (s *screen) Init() tea.Cmd { return nil }

// Update implements [tea.Model].
func (s *screen) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch m := msg.(type) {
	case tea.WindowSizeMsg:
		s.width, s.height = m.Width, m.Height
	case tea.KeyPressMsg:
		switch m.String() {
		case "q", "ctrl+c", "esc":
			return s, tea.Quit
		case "o":
			s.order = (s.order + 1) % orders
		case "space", " ", "p":
			s.pause()
		}
	case lostMsg:
		s.lost(m.why)
	default:
		s.take(m)
	}
	return s, nil
}

// View implements [tea.Model].
func (s *screen) View() tea.View {
	v := tea.NewView(s.render(s.width, s.height))
	v.AltScreen = true
	return v
}
