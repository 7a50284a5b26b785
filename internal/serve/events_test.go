package serve

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
)

// brokenPipe is the answer to a client that has left.
type brokenPipe struct{ http.ResponseWriter }

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("write: broken pipe") }

// TestBrokenPipe: a client that leaves in the middle of a stream is no fault of the server.
func TestBrokenPipe(t *testing.T) {
	w := brokenPipe{httptest.NewRecorder()}
	e := &events{w: w, control: http.NewResponseController(w.ResponseWriter)}
	for name, err := range map[string]error{"an event": e.send(1), "the end": e.done()} {
		if err == nil || asAPIError(err).status != statusClientClosed {
			t.Errorf("%s: %v, expected status %d", name, err, statusClientClosed)
		}
	}
}
