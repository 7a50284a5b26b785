package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Server is what a server says about its model.
type Server struct {
	Model        string `json:"model"`
	NumRecursion int    `json:"num_recursion,omitempty"`
	Router       string `json:"router,omitempty"`  // expert, token or fixed
	Routing      string `json:"routing,omitempty"` // of an expert-choice model: causal or topk
}

// Failures, beside the statuses of HTTP. A refusal for lack of room (429, 503) is none of them.
const (
	failTimeout    = "timeout"
	failConnection = "connection"
	failStream     = "broken stream"        // ended without [DONE], or is no stream of events
	failAccepted   = "malformed, accepted"  // what no server can understand was answered with a 2xx
	failError      = "error in the stream"  // an event that is an error
	failInterrupt  = "interrupted"          // the run was
	failMissing    = "nothing in an answer" // no token
)

// outcome is what the client of one request saw. Times count from the beginning of the run.
type outcome struct {
	request   request
	start     time.Duration
	answered  time.Duration // status and headers are there
	end       time.Duration
	tokens    []time.Duration // when each piece of the answer came
	status    int             // of HTTP; 0: no answer
	wait      time.Duration   // that a refusal asks for
	fail      string          // "": none
	detail    string          // of fail
	cancelled bool            // the client gave up
	usage     *usage
	text      []byte // where Options.Verify asks for it
}

// usage is what a server counts.
type usage struct {
	PromptTokens     int     `json:"prompt_tokens"`
	CompletionTokens int     `json:"completion_tokens"`
	MeanDepth        float64 `json:"mean_depth"`
	Details          struct {
		CachedTokens int `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

// refused says that the server had no room.
func (o *outcome) refused() bool {
	return o.status == http.StatusServiceUnavailable || o.status == http.StatusTooManyRequests
}

// completed says that the whole answer came.
func (o *outcome) completed() bool {
	return o.status == http.StatusOK && o.fail == "" && !o.cancelled && !o.request.malformed
}

// output is how many tokens came.
func (o *outcome) output() int {
	if o.usage != nil && !o.cancelled {
		return o.usage.CompletionTokens
	}
	return len(o.tokens)
}

// discover reads the list of models.
func (r *Run) discover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.Options.Timeout)
	defer cancel()
	url := r.Options.base() + "/models"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	body, err := r.call(req)
	if err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	var list struct {
		Data []struct {
			ID string `json:"id"`
			Server
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil || len(list.Data) == 0 {
		return fmt.Errorf("%s: expected a list of models, found %.100q", url, body)
	}
	if r.Options.Model == "" {
		r.Options.Model = list.Data[0].ID
	}
	for _, m := range list.Data {
		if m.ID == r.Options.Model {
			r.Server = m.Server
		}
	}
	r.Server.Model = r.Options.Model
	return nil
}

// call sends a request and reads its answer, which must be a 200.
func (r *Run) call(req *http.Request) ([]byte, error) {
	r.sign(req)
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, brief(body))
	}
	return body, err
}

// maxWait bounds what a refusal can ask of a client.
const maxWait = 5 * time.Second

// maxBody bounds an answer that is no stream.
const maxBody = 16 << 20

// brief is what a line of an error shows of a body.
func brief(body []byte) string {
	var e struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	text := string(body)
	if json.Unmarshal(body, &e) == nil && e.Error.Message != "" {
		text = e.Error.Message
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

func (r *Run) sign(req *http.Request) {
	if req.Body != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header["Idempotency-Key"] = nil // is not sent: a connection that the server has closed meanwhile is opened again
	}
	if r.Options.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+r.Options.APIKey)
	}
}

func (r *Run) post(ctx context.Context, body []byte) (*http.Request, error) {
	path := "/completions"
	if r.Options.Chat {
		path = "/chat/completions"
	}
	return http.NewRequestWithContext(ctx, http.MethodPost, r.Options.base()+path, bytes.NewReader(body))
}

// send is one request from its sending to its end.
func (r *Run) send(ctx context.Context, q request) outcome {
	out := outcome{request: q, start: time.Since(r.started)}
	limited, cancel := context.WithTimeout(ctx, r.Options.Timeout)
	defer cancel()
	mine, giveUp := context.WithCancel(limited)
	defer giveUp()
	if q.patience > 0 {
		defer time.AfterFunc(q.patience, giveUp).Stop()
	}
	err := r.exchange(mine, &out)
	out.end = time.Since(r.started)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		out.fail = failInterrupt
	case limited.Err() != nil:
		out.fail, out.detail = failTimeout, fmt.Sprintf("no end within %v", r.Options.Timeout)
	case mine.Err() != nil || errors.Is(err, errEnough):
		out.cancelled = true
	default:
		out.fail, out.detail = failConnection, err.Error()
		var broken *streamError
		if errors.As(err, &broken) {
			out.fail = broken.kind
		}
	}
	r.judge(&out)
	return out
}

// judge finds what is wrong with an exchange that came to its end.
func (r *Run) judge(out *outcome) {
	if out.fail != "" || out.cancelled || out.status == 0 || out.refused() {
		return
	}
	switch client := out.status >= 400 && out.status < 500; {
	case out.request.malformed && client:
	case out.request.malformed && out.status < 300:
		out.fail, out.detail = failAccepted, brief(out.request.body)
	case out.status != http.StatusOK:
		out.fail = fmt.Sprintf("status %d", out.status)
	case len(out.tokens) == 0 && out.output() == 0:
		out.fail = failMissing
	}
}

// exchange sends a request and reads its answer into out.
func (r *Run) exchange(ctx context.Context, out *outcome) error {
	req, err := r.post(ctx, out.request.body)
	if err != nil {
		return err
	}
	r.sign(req)
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	out.status, out.answered = resp.StatusCode, time.Since(r.started)
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 && out.refused() {
		out.wait = min(time.Duration(seconds)*time.Second, maxWait)
	}
	if resp.StatusCode != http.StatusOK || out.request.malformed {
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
		out.detail = brief(body)
		return err
	}
	return r.follow(resp.Body, out)
}
