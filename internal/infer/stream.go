package infer

import (
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mor/internal/grammar"
)

// Request asks for texts behind a prompt.
type Request struct {
	Prompt []int32
	Options
}

// Result is what is known about a request when it has ended.
type Result struct {
	Choices      []Choice // by Token.Index
	PromptTokens int
	CachedTokens int     // of the prompt, whose keys and values another request had left
	Tokens       int     // generated, in all texts
	MeanDepth    float64 // of the generated tokens
	PromptDepth  float64 // mean depth of the prompt's tokens
	Drafted      int     // tokens that were guessed, where asked for
	Accepted     int     // guesses that held
	FLOPs        float64 // multiplications and additions for what was computed; nothing for what was reused
	Queued       time.Duration
	Prefill      time.Duration
	Decode       time.Duration
	CacheBytes   int64 // keys and values held at the end
}

// Stream is a request under way. One goroutine may receive from it.
type Stream struct {
	request   Request
	ctx       context.Context
	broken    atomic.Bool // by the receiver
	submitted time.Time
	done      chan struct{} // closed when the request has ended and holds nothing any more
	more      chan struct{} // one token in it: there is something to take

	mu     sync.Mutex
	ready  []Token // for the receiver
	taken  []Token // the receiver's, to be filled again
	prompt []Token
	result Result
	err    error

	// The engine's.
	started time.Time        // of the phase at hand
	grammar *grammar.Grammar // that the texts follow; nil: none
	choices []Choice
	left    int   // texts that have not ended
	failure error // what ended one of them
}

// Tokens yields the tokens of all texts as they become final: behind the model's reading of each, because only then is its depth known, and
// never while it may be the beginning of a stop string. An error, the context's among them, is yielded last. Breaking off cancels the request.
func (s *Stream) Tokens() iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		defer s.Cancel()
		for open := true; open; {
			select {
			case <-s.more:
			case <-s.done:
				open = false
			}
			for _, t := range s.take() {
				if !yield(t, nil) {
					return
				}
			}
		}
		if s.err != nil {
			yield(Token{}, s.err)
		}
	}
}

// take returns what is ready. It is valid until the next call.
func (s *Stream) take() []Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready, s.taken = s.taken[:0], s.ready
	return s.taken
}

// deliver hands over tokens that are final.
func (s *Stream) deliver(tokens []Token) {
	if len(tokens) == 0 {
		return
	}
	s.mu.Lock()
	s.ready = append(s.ready, tokens...)
	s.mu.Unlock()
	s.wake()
}

func (s *Stream) wake() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// Cancel ends the request; what it holds is free soon after.
func (s *Stream) Cancel() { s.broken.Store(true) }

// cancelled is why the request must not go on.
func (s *Stream) cancelled() error {
	if s.broken.Load() {
		return context.Canceled
	}
	return s.ctx.Err()
}

// Done is closed when the request has ended and holds nothing any more.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Prompt returns the prompt's tokens with their depths, once the model has read them: from the first token on, and when the request has ended; nil
// before, and where the request ended early.
func (s *Stream) Prompt() []Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prompt
}

// Result waits for the end of the request and describes it. The error is the one that ended it.
func (s *Stream) Result() (Result, error) {
	<-s.done
	return s.result, s.err
}

// read tells that the prompt has been read.
func (s *Stream) read(prompt []Token) {
	sum := 0
	for i := range prompt {
		sum += prompt[i].Depth
	}
	s.mu.Lock()
	s.prompt = prompt
	s.mu.Unlock()
	s.result.PromptDepth = float64(sum) / float64(len(prompt))
}

// end closes the stream. The engine has let go of everything that the request held.
func (s *Stream) end(choices []Choice, err error) {
	r := &s.result
	r.Choices, r.PromptTokens = slices.Clone(choices), len(s.request.Prompt)
	depth := 0.0
	for _, c := range choices {
		r.Tokens += c.Tokens
		depth += c.MeanDepth * float64(c.Tokens)
	}
	if r.Tokens > 0 {
		r.MeanDepth = depth / float64(r.Tokens)
	}
	s.err = err
	close(s.done)
}
