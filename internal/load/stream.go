package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// streamError is a stream that is not what it should be.
type streamError struct{ kind, found string }

func (e *streamError) Error() string { return e.found }

// chunk is an event of either endpoint, as far as a client that measures reads it.
type chunk struct {
	Choices []struct {
		Text  string `json:"text"`
		Delta struct {
			Role    string `json:"role"`
			Content string `json:"content"`
		} `json:"delta"`
		FinishReason *string `json:"finish_reason"`
	} `json:"choices"`
	Usage *usage `json:"usage"`
	Error *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// errEnough is why a client gives up in the middle of an answer.
var errEnough = errors.New("the client gives up")

// maxEvent bounds a line of a stream.
const maxEvent = 4 << 20

// events calls f with the data of each event of a stream, up to [DONE], which must come.
func events(stream io.Reader, f func(data []byte) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(make([]byte, 0, 16<<10), maxEvent)
	for lines.Scan() {
		data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:"))
		if !ok {
			continue // comments, names of events, and the empty lines between them
		}
		if data = bytes.TrimSpace(data); string(data) == "[DONE]" {
			return nil
		}
		if err := f(data); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return &streamError{failStream, fmt.Sprintf("an event of more than %d bytes", maxEvent)}
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	}
	return &streamError{failStream, "the stream ended without [DONE]"}
}

// follow reads a streamed answer. A piece counts as a token where it has text, or neither text nor the end: servers send one for each token, some
// nothing for one that has no text yet.
func (r *Run) follow(body io.Reader, out *outcome) error {
	err := events(body, func(data []byte) error {
		now := time.Since(r.started)
		var c chunk
		if err := json.Unmarshal(data, &c); err != nil {
			return &streamError{failStream, fmt.Sprintf("expected an event in JSON, found %.100q", data)}
		}
		if c.Error != nil {
			return &streamError{failError, c.Error.Message}
		}
		if c.Usage != nil {
			out.usage = c.Usage
		}
		if len(c.Choices) == 0 {
			return nil
		}
		piece := &c.Choices[0]
		text := piece.Text + piece.Delta.Content
		if text == "" && (piece.FinishReason != nil || piece.Delta.Role != "") {
			return nil
		}
		out.tokens = append(out.tokens, now)
		if r.Options.Verify {
			out.text = append(out.text, text...)
		}
		if out.request.enough > 0 && len(out.tokens) >= out.request.enough {
			return errEnough
		}
		return nil
	})
	if err == nil {
		_, err = io.Copy(io.Discard, body) // so that the connection can be used again
	}
	return err
}
