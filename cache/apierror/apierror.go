// Package apierror is the table of the errors that clients may get: code, status, message, meaning and
// remedy of each.
//
// Code that refuses a request returns one of these errors. docs/errors.md contains [Table]. Errors of
// gqlgen, gqlparser and the database about a document or a value have a code of the table and their own
// message.
package apierror

import (
	"fmt"
	"net/http"
	"strings"
)

// Error is a row of the table.
type Error struct {
	Code string // extensions.code
	// Status is the HTTP status of a response whose only error this is, or 0 for errors of operations,
	// whose status depends on the media type.
	Status  int
	Message string // a format for fmt.Sprintf if it depends on the request; "" if other code provides it
	Meaning string
	Remedy  string // what the client should do
}

// Error returns the message.
func (e Error) Error() string { return e.Message }

// With returns e with its message formatted.
func (e Error) With(args ...any) Error {
	if len(args) > 0 {
		e.Message = fmt.Sprintf(e.Message, args...)
	}
	return e
}

// statusClientClosed is the status that nginx and others log if the client did not wait for the response.
const statusClientClosed = 499

// Errors of authentication and authorization.
var (
	InvalidToken = Error{"UNAUTHENTICATED", http.StatusUnauthorized, "The token is not valid.",
		"The Authorization header has no bearer token, or one that this server does not accept. The log says why.", "Sign in again."}
	ExpiredToken = Error{"UNAUTHENTICATED", http.StatusUnauthorized, "The token has expired.",
		"The token was valid before.", "Get a new token."}
	Unauthenticated = Error{"UNAUTHENTICATED", 0, "Sign in first: this requires a token in the Authorization header.",
		"The field or mutation is for signed-in users.", "Send a token."}
	Forbidden = Error{"FORBIDDEN", 0, "Your token does not allow this.",
		"The field or mutation is for another user or for an administrator.", "Use an account that has permission."}
	TokensUnavailable = Error{"INTERNAL", http.StatusServiceUnavailable, "Tokens cannot be verified at the moment. Try again later.",
		"The key set of JWT_JWKS_URL has not been read yet.", "Send the request again after the seconds of Retry-After."}
)

// Errors of the values in a request, and of what the database says about them.
var (
	BadInput = Error{"BAD_USER_INPUT", 0, "",
		"An argument or a variable has a value that is not allowed; extensions.field names it, if it is known.", "Change the value."}
	NotFound = Error{"NOT_FOUND", 0, "",
		"There is no object with this id.", "Do not request it again."}
	Conflict = Error{"CONFLICT", 0, "",
		"Existing data does not permit the write; for example, an e-mail address is taken.", "Read again, then decide."}
	Unavailable = Error{"UNAVAILABLE", http.StatusServiceUnavailable, "",
		"The database is down, busy, full or read-only. If extensions.uncertain is true, the connection was lost during a commit: the write may have been made.",
		"Send a query again later; before repeating a mutation, check whether it was made."}
	SlowSource = Error{"UNAVAILABLE", http.StatusServiceUnavailable, "The database does not respond at the moment. Try again later.",
		"The database is connected but did not respond in time.", "Send the request again later."}
)

// Errors of the document.
var (
	ParseFailed = Error{"GRAPHQL_PARSE_FAILED", 0, "",
		"The document is not GraphQL.", "Correct the document."}
	ValidationFailed = Error{"GRAPHQL_VALIDATION_FAILED", 0, "",
		"The document does not fit the schema, or a variable does not fit its type.", "Correct the document."}
	NoOperation = Error{"GRAPHQL_VALIDATION_FAILED", 0, "no operation provided",
		"The document contains only fragments.", "Add an operation."}
	SlowValidation = Error{"GRAPHQL_VALIDATION_FAILED", 0, "the document takes too long to validate: use fewer fragments, operations and fields of the same name",
		"Validation would take more steps than are allowed.", "Simplify the document."}
	ManyErrors = Error{"GRAPHQL_VALIDATION_FAILED", 0, "too many errors: validation stopped",
		"The document has more than 20 errors.", "Correct the errors that are shown."}
	NoIntrospection = Error{"GRAPHQL_VALIDATION_FAILED", 0, "introspection is disabled",
		"INTROSPECTION is false.", "Get the schema from its authors."}
	TooDeep = Error{"DEPTH_LIMIT_EXCEEDED", 0, "the operation nests its fields more than %d deep",
		"The operation exceeds MAX_DEPTH.", "Split the operation."}
	TooManyAliases = Error{"ALIAS_LIMIT_EXCEEDED", 0, "the operation uses more than %d aliases",
		"The operation exceeds MAX_ALIASES.", "Split the operation."}
	TooComplex = Error{"COMPLEXITY_LIMIT_EXCEEDED", 0, "",
		"The operation exceeds MAX_COMPLEXITY; list sizes multiply.", "Request shorter lists, or split the operation."}
	TooComplexBatch = Error{"COMPLEXITY_LIMIT_EXCEEDED", 0, "the batch's operations have complexity %d so far and this one %d, which exceeds the limit of %d",
		"The operations of a batch together exceed MAX_COMPLEXITY.", "Send fewer operations in a batch."}
	TooMuchIntrospection = Error{"COMPLEXITY_LIMIT_EXCEEDED", 0, "the request introspects more than %d fields of the schema: send one introspection query at a time",
		"The request introspects the schema several times.", "Send one introspection query at a time."}
)

// Errors of documents that are sent by name.
var (
	NotRegistered = Error{"PERSISTED_QUERY_NOT_FOUND", 0, "PersistedQueryNotFound",
		"No gateway knows a document with this hash. Clients look for this message.", "Send the document with its hash; client libraries do so automatically."}
	BadHash = Error{"BAD_REQUEST", http.StatusBadRequest, "extensions.persistedQuery.sha256Hash is not the SHA-256 of query, in lower-case hexadecimal digits.",
		"The hash does not belong to the text.", "Compute the hash of the text that is sent."}
	BadPersistedQuery = Error{"BAD_REQUEST", http.StatusBadRequest, `extensions.persistedQuery must be {"version": 1, "sha256Hash": "…"}, with the SHA-256 of the query in 64 lower-case hexadecimal digits.`,
		"The extension has another form.", "Use this form."}
	NoDocument = Error{"NOT_FOUND", http.StatusBadRequest, "The server has no document with this documentId. Add it to the trusted documents, or send the document itself as query.",
		"TRUSTED_DOCUMENTS has no such document.", "Publish the document before the client that names it."}
	Untrusted = Error{"DOCUMENT_NOT_TRUSTED", http.StatusForbidden, "This server executes only trusted documents. Send the documentId of one, the SHA-256 of its text.",
		"TRUSTED_ONLY is true, and the document is not in TRUSTED_DOCUMENTS.", "Publish the document before the client that sends it."}
)

// Errors of requests that are not GraphQL over HTTP.
var (
	BadMethod = Error{"BAD_REQUEST", http.StatusMethodNotAllowed, "Send GraphQL by POST, or a query by GET.",
		"The method is not allowed; the header Allow lists the allowed ones.", "Send a POST."}
	MutationByGet = Error{"BAD_REQUEST", http.StatusMethodNotAllowed, "Send mutations by POST: GET executes only queries.",
		"A mutation was sent by GET or HEAD.", "Send a POST."}
	Subscription = Error{"BAD_REQUEST", http.StatusBadRequest, "Subscriptions are not supported: send a query or a mutation.",
		"The operation is a subscription.", "Poll by a query."}
	BadHost = Error{"BAD_REQUEST", http.StatusMisdirectedRequest, "This server does not serve the host in the request. ALLOWED_HOSTS lists the hosts that it serves.",
		"The Host header names another server.", "Add the name to ALLOWED_HOSTS, if it is this server's."}
	NoRoute = Error{"NOT_FOUND", http.StatusNotFound, "Not found. GraphQL is at /graphql.",
		"The path does not exist.", "Send the request to /graphql."}
	BadAccept = Error{"BAD_REQUEST", http.StatusNotAcceptable, "Accept must allow application/graphql-response+json or application/json.",
		"The Accept header allows neither.", "Accept one of them."}
	BadContentType = Error{"BAD_REQUEST", http.StatusUnsupportedMediaType, "Send JSON, with the header Content-Type: application/json.",
		"The Content-Type is another one, or missing.", "Set the header."}
	BadCharset = Error{"BAD_REQUEST", http.StatusUnsupportedMediaType, "Send the JSON in UTF-8, with the header Content-Type: application/json.",
		"The header names another charset.", "Encode the body in UTF-8."}
	BadEncoding = Error{"BAD_REQUEST", http.StatusUnsupportedMediaType, "Send the body as it is, without a Content-Encoding.",
		"The body is compressed.", "Do not compress requests."}
	BodyTooLarge = Error{"PAYLOAD_TOO_LARGE", http.StatusRequestEntityTooLarge, "The body is too large; the limit is %d bytes.",
		"The body exceeds MAX_BODY_BYTES.", "Send less, or send the hash of the document."}
	BrokenBody = Error{"BAD_REQUEST", http.StatusBadRequest, "The body is incomplete. Send it again.",
		"The connection ended before the body did.", "Send the request again."}
	BodyNotUTF8 = Error{"BAD_REQUEST", http.StatusBadRequest, "The body is not UTF-8. %s",
		"The body is in another charset.", "Encode the body in UTF-8."}
	BodyNotJSON = Error{"BAD_REQUEST", http.StatusBadRequest, "The body is not JSON. %s",
		"The JSON has a syntax error.", "Correct the body."}
	BodyNotObject = Error{"BAD_REQUEST", http.StatusBadRequest, "The body is not a JSON object. %s",
		"The body is another kind of JSON value.", "Send an object, or an array of objects."}
	BodyFault = Error{"BAD_REQUEST", http.StatusBadRequest, "Invalid body: %s.",
		"The body has a duplicate name, or a string that is not Unicode.", "Correct the body."}
	BodyEmpty = Error{"BAD_REQUEST", http.StatusBadRequest, "The body is empty. %s",
		"The request has no body.", "Send one."}
	BodyGoesOn = Error{"BAD_REQUEST", http.StatusBadRequest, "The body has data after the JSON. %s",
		"The object is followed by other data.", "Send one object."}
	BatchTooLarge = Error{"BAD_REQUEST", http.StatusBadRequest, "The batch is too large; the limit is %d operations.",
		"The batch exceeds MAX_BATCH.", "Send several batches."}
	BatchEmpty = Error{"BAD_REQUEST", http.StatusBadRequest, "The batch is empty. Send at least one operation in it: [%s].",
		"The body is an empty array.", "Send an operation."}
	BadMember = Error{"BAD_REQUEST", http.StatusBadRequest, "%s must be %s.",
		"A member of the body has the wrong type.", "Use the type that is named."}
	BadURL = Error{"BAD_REQUEST", http.StatusBadRequest, "The URL's parameters are not encoded correctly. %s",
		"A percent sign is not followed by two digits.", "Encode the parameters."}
	ParameterTwice = Error{"BAD_REQUEST", http.StatusBadRequest, "%s is given more than once.",
		"The URL has a duplicate parameter.", "Send it once."}
	ParameterNotUTF8 = Error{"BAD_REQUEST", http.StatusBadRequest, "%s is not UTF-8.",
		"A parameter of the URL is in another charset.", "Encode it in UTF-8."}
	ParameterNotObject = Error{"BAD_REQUEST", http.StatusBadRequest, "%s must be a JSON object in UTF-8.",
		"A parameter of the URL is not a JSON object.", "Send an object."}
	ParameterFault = Error{"BAD_REQUEST", http.StatusBadRequest, "Invalid %s: %s.",
		"A parameter has a duplicate name, or a string that is not Unicode.", "Correct the parameter."}
	NoQuery = Error{"BAD_REQUEST", http.StatusBadRequest, "There is no query. %s",
		"The request has neither query nor documentId nor a hash.", "Send one of them."}
	TwoDocuments = Error{"BAD_REQUEST", http.StatusBadRequest, "Send either query or documentId, not both.",
		"The request has both.", "Send one of them."}
)

// Errors of the server.
var (
	NotCached = Error{"NOT_CACHED", http.StatusGatewayTimeout, "The response is not cached. Leave out Cache-Control: only-if-cached to have it computed.",
		"The request accepts only a cached response.", "Leave out only-if-cached."}
	Overloaded = Error{"OVERLOADED", http.StatusServiceUnavailable, "The server is overloaded: nothing was executed. Try again later.",
		"The request would have waited too long to be executed, or large requests take all the memory that requests may take.", "Send the request again after the seconds of Retry-After."}
	Timeout = Error{"TIMEOUT", http.StatusGatewayTimeout, "The request took longer than the server allows.",
		"REQUEST_TIMEOUT has passed. data has the parts that were ready in time.", "Request less, or retry later; before repeating a mutation, check whether it was made."}
	ClientClosed = Error{"CLIENT_CLOSED_REQUEST", statusClientClosed, "The client closed the connection before the response was ready.",
		"The client did not wait; the status is for the log.", "Wait longer."}
	Internal = Error{"INTERNAL", http.StatusInternalServerError, "Internal error. Quote extensions.id to the operator.",
		"An unexpected error occurred; the log has it under the id.", "Report the id."}
	InternalRequest = Error{"INTERNAL", http.StatusInternalServerError, "Internal error. Quote the header X-Request-Id to the operator.",
		"An unexpected error occurred outside of GraphQL; the log has it under the request's id.", "Report the id."}
)

// All returns the errors in the order of the table.
func All() []Error {
	return []Error{
		InvalidToken, ExpiredToken, Unauthenticated, Forbidden, TokensUnavailable,
		BadInput, NotFound, Conflict, Unavailable, SlowSource,
		ParseFailed, ValidationFailed, NoOperation, SlowValidation, ManyErrors, NoIntrospection,
		TooDeep, TooManyAliases, TooComplex, TooComplexBatch, TooMuchIntrospection,
		NotRegistered, BadHash, BadPersistedQuery, NoDocument, Untrusted,
		BadMethod, MutationByGet, Subscription, BadHost, NoRoute, BadAccept, BadContentType, BadCharset, BadEncoding, BodyTooLarge,
		BrokenBody, BodyNotUTF8, BodyNotJSON, BodyNotObject, BodyFault, BodyEmpty, BodyGoesOn, BatchTooLarge, BatchEmpty, BadMember,
		BadURL, ParameterTwice, ParameterNotUTF8, ParameterNotObject, ParameterFault, NoQuery, TwoDocuments,
		NotCached, Overloaded, Timeout, ClientClosed, Internal, InternalRequest,
	}
}

// Table returns the table in Markdown.
func Table() string {
	var b strings.Builder
	b.WriteString("| code | status | message | meaning | what to do |\n| --- | --- | --- | --- | --- |\n")
	for _, e := range All() {
		status, message := "200 or 400", "names the fault"
		if e.Status != 0 {
			status = fmt.Sprint(e.Status)
		}
		if e.Message != "" {
			message = strings.NewReplacer("%d", "…", "%s", "…").Replace(e.Message)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", e.Code, status, message, e.Meaning, e.Remedy)
	}
	return b.String()
}
