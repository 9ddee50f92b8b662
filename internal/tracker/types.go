package tracker

import "time"

// Issue is a row of issues.
type Issue struct {
	ID       string
	Number   int
	Title    string
	State    IssueState
	Points   *float64
	Labels   []string
	AuthorID *string // nil: no author
}

// IsNode implements [Node].
func (Issue) IsNode() {}

// GetID implements [Node].
func (i Issue) GetID() string { return i.ID }

// IsFeedItem implements [FeedItem].
func (Issue) IsFeedItem() {}

// Stats depends on the row alone.
func (i *Issue) Stats() *IssueStats { return &IssueStats{Words: words(i.Title), IssueID: i.ID} }

// IssueStats has no identity of its own.
type IssueStats struct {
	Words   int
	IssueID string // the issue
}

// Comment is a row of comments.
type Comment struct {
	ID        string
	Body      string
	CreatedAt time.Time
	AuthorID  *string // nil: no author
}

// IsNode implements [Node].
func (Comment) IsNode() {}

// GetID implements [Node].
func (c Comment) GetID() string { return c.ID }

// IsFeedItem implements [FeedItem].
func (Comment) IsFeedItem() {}

// Member is a row of members, identified by two columns.
type Member struct{ Project, Account, Role string }
