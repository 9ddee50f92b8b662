package graph

// Author writes issues and comments.
type Author struct{ ID, Name string }

// Issue is a problem to solve.
type Issue struct{ ID, Title, AuthorID string }

// IsFeedItem implements [FeedItem].
func (*Issue) IsFeedItem() {}

// Comment is a comment on an issue.
type Comment struct{ ID, IssueID, Body, AuthorID string }

// IsFeedItem implements [FeedItem].
func (*Comment) IsFeedItem() {}
