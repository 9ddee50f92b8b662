package graph

// Author writes issues and comments.
type Author struct{ ID, Name string }

// Issue is what somebody wants done.
type Issue struct{ ID, Title, AuthorID string }

// IsFeedItem says that it is one.
func (*Issue) IsFeedItem() {}

// Comment is what somebody says of an issue.
type Comment struct{ ID, IssueID, Body, AuthorID string }

// IsFeedItem says that it is one.
func (*Comment) IsFeedItem() {}
