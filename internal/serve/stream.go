package serve

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync"

	"mor/internal/infer"
)

// events writes server-sent events. Several goroutines may send.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController

	mu      sync.Mutex
	started bool
	buf     bytes.Buffer
}

// send writes one event. The first one says that the answer is a stream.
func (e *events) send(v any) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf.Reset()
	e.buf.WriteString("data: ")
	if err := json.NewEncoder(&e.buf).Encode(v); err != nil { // ends with a newline
		return err
	}
	e.buf.WriteByte('\n')
	return e.flush()
}

// done ends the stream.
func (e *events) done() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buf.Reset()
	e.buf.WriteString("data: [DONE]\n\n")
	return e.flush()
}

func (e *events) flush() error {
	if !e.started {
		h := e.w.Header()
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		h.Set("X-Accel-Buffering", "no") // proxies hold events back otherwise
		e.started = true
	}
	_, err := e.w.Write(e.buf.Bytes())
	if err == nil {
		err = e.control.Flush()
	}
	if err != nil {
		return &apiError{status: statusClientClosed, kind: "client_closed", message: "the client has left", cause: err}
	}
	return nil
}

// stream gives the answer token by token. An error behind the first event is itself the last event.
func (a *answer) stream(e *events) error {
	err := a.each(func(i int) error { return a.sendStream(e, i) })
	if err == nil && a.includeUsage {
		u := a.usage()
		err = e.send(a.envelope(nil, &u, true))
	}
	if err == nil {
		return e.done()
	}
	if e.started {
		_ = e.send(asAPIError(err).body()) // the client may have left
	}
	return err
}

// each does something with every stream, at once, and ends all where one fails.
func (a *answer) each(do func(i int) error) error {
	if len(a.streams) == 1 {
		return do(0)
	}
	errs := make([]error, len(a.streams))
	var wg sync.WaitGroup
	for i := range a.streams {
		wg.Go(func() {
			if errs[i] = safely(func() error { return do(i) }); errs[i] != nil {
				for _, s := range a.streams {
					s.Cancel()
				}
			}
		})
	}
	wg.Wait()
	return firstError(errs)
}

// firstError is the error that came first, as far as one can tell: not that of a stream that was cancelled because of it.
func firstError(errs []error) error {
	var cancelled error
	for _, err := range errs {
		switch {
		case err == nil:
		case asAPIError(err).status == statusClientClosed:
			cancelled = err
		default:
			return err
		}
	}
	return cancelled
}

// safely makes an error of a panic.
func safely(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return f()
}

// sendStream sends the choices of a prompt as their tokens come.
func (a *answer) sendStream(e *events, i int) error {
	s, n := a.streams[i], max(a.options.N, 1)
	next := make([]part, n) // where each choice stands
	for k := range next {
		next[k].index, next[k].first = i*n+k, true
	}
	begun := !a.echo
	begin := func() error {
		begun = true
		for k := range next {
			p := a.echoed(i)
			p.index = next[k].index
			if err := e.send(a.event(&p)); err != nil {
				return err
			}
			next[k].first, next[k].offset = false, characters(p.text)
		}
		return nil
	}
	pace := a.pace()
	for t, err := range s.Tokens() {
		if err == nil && !begun {
			err = begin()
		}
		if err != nil {
			return err
		}
		pace.token(t.Index)
		if a.scoreOnly {
			continue
		}
		p := &next[t.Index]
		p.text, p.tokens = t.Text, append(p.tokens[:0], t)
		if err := e.send(a.event(p)); err != nil {
			return err
		}
		p.offset += characters(t.Text)
		p.first = false
	}
	result, err := s.Result()
	if err == nil && !begun {
		err = begin()
	}
	if err != nil {
		return err
	}
	for k := range next {
		p := &next[k]
		p.text, p.tokens, p.finish = "", nil, result.Choices[k].Finish
		if a.scoreOnly {
			p.finish = infer.FinishLength
		}
		if err := e.send(a.event(p)); err != nil {
			return err
		}
	}
	return nil
}

// event is a part as an event.
func (a *answer) event(p *part) *envelope {
	return a.envelope([]any{a.choice(p, true)}, nil, true)
}
