package operation

import (
	"net/http"
	"strings"
)

// OpensWebsocket reports whether a request's header asks for a websocket, over which operations follow. Offers of
// other protocols, such as h2c of Java's HttpClient, are for servers to ignore.
func OpensWebsocket(header http.Header) bool {
	for _, line := range header["Upgrade"] {
		for protocol := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(protocol), "websocket") {
				return true
			}
		}
	}
	return false
}
