package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openai/openai-go/v2"
	"github.com/openai/openai-go/v2/option"

	"mor/internal/serve/servetest"
)

// process is `mor serve` as a process of its own.
type process struct {
	*exec.Cmd
	url  string
	log  *lockedBuffer
	done chan error
}

// lockedBuffer is a buffer that a process writes to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startServer runs `mor serve` until the test ends, and waits until it says where it serves.
func startServer(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self), log: &lockedBuffer{}, done: make(chan error, 1)}
	p.Args = append([]string{"mor", "serve"}, args...) // the test's own binary runs the command by that name
	p.Env = append(os.Environ(), env...)
	p.Stderr = p.log
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	s := bufio.NewScanner(out)
	for s.Scan() && p.url == "" {
		if url, ok := strings.CutPrefix(s.Text(), "serving on "); ok {
			p.url = url
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, out)
		p.done <- p.Wait()
	}()
	if p.url == "" {
		t.Fatalf("the server does not serve: %v\n%s", <-p.done, p.log)
	}
	return p
}

func (p *process) client(options ...option.RequestOption) openai.Client {
	return openai.NewClient(append([]option.RequestOption{option.WithBaseURL(p.url + "/v1"), option.WithAPIKey("none"), option.WithMaxRetries(0)}, options...)...)
}

// metric reads one number of /metrics.
func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	r, err := http.Get(p.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `(?:\{[^}]*\})? (\S+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("/metrics has no %s", name)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestServeSDK: OpenAI's own client lists models, completes and chats, as a whole and as a stream, and reads errors.
func TestServeSDK(t *testing.T) {
	const key = "a-key-of-some-length"
	p := startServer(t, []string{"MOR_API_KEYS=" + key}, servetest.Folder(t, "expert", 3), "--listen", "127.0.0.1:0", "--model-name", "small", "--threads", "2")
	c, ctx := p.client(option.WithAPIKey(key)), t.Context()
	models, err := c.Models.List(ctx)
	if err != nil || len(models.Data) != 1 || models.Data[0].ID != "small" {
		t.Fatalf("models: %+v, %v", models, err)
	}
	messages := []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("be brief"), openai.UserMessage("the fox?")}
	params := openai.ChatCompletionNewParams{Model: "small", Messages: messages, Seed: openai.Int(4), MaxCompletionTokens: openai.Int(12), Logprobs: openai.Bool(true), TopLogprobs: openai.Int(2),
		N: openai.Int(2), StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}}
	var sum openai.ChatCompletionAccumulator
	stream := c.Chat.Completions.NewStreaming(ctx, params)
	for stream.Next() {
		if !sum.AddChunk(stream.Current()) {
			t.Fatalf("the SDK does not take %s", stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	params.StreamOptions = openai.ChatCompletionStreamOptionsParam{}
	whole, err := c.Chat.Completions.New(ctx, params)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole.Choices {
		a, b := whole.Choices[i], sum.Choices[i]
		if a.Message.Content != b.Message.Content || a.FinishReason != b.FinishReason || len(a.Logprobs.Content) != len(b.Logprobs.Content) || len(a.Logprobs.Content) == 0 || b.Message.Role != "assistant" {
			t.Errorf("choice %d: as a whole %+v\nstreamed %+v", i, a, b)
		}
	}
	if whole.Usage.CompletionTokens != sum.Usage.CompletionTokens || whole.Usage.TotalTokens == 0 {
		t.Errorf("usage: as a whole %+v, streamed %+v", whole.Usage, sum.Usage)
	}
	text, err := c.Completions.New(ctx, openai.CompletionNewParams{Model: "small", Prompt: openai.CompletionNewParamsPromptUnion{OfArrayOfStrings: []string{"the", "fox"}}, MaxTokens: openai.Int(3), Logprobs: openai.Int(1), Echo: openai.Bool(true)})
	if err != nil || len(text.Choices) != 2 || !strings.HasPrefix(text.Choices[1].Text, "fox") || len(text.Choices[0].Logprobs.TokenLogprobs) == 0 {
		t.Errorf("completions: %+v, %v", text, err)
	}
	_, err = c.Completions.New(ctx, openai.CompletionNewParams{Model: "small", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("a")}, Suffix: openai.String("b")})
	var refused *openai.Error
	if !errors.As(err, &refused) || refused.StatusCode != 400 || refused.Param != "suffix" {
		t.Errorf("suffix: %v", err)
	}
	other := p.client()
	if _, err := other.Models.List(ctx); !errors.As(err, &refused) || refused.StatusCode != 401 {
		t.Errorf("without the key: %v", err)
	}
	if log := p.log.String(); strings.Contains(log, key) {
		t.Error("the log has the key")
	}
}

// TestServeSoak: of requests of many clients a tenth is cancelled and a tenth malformed. The others get what they get alone, and nothing is left behind.
// SOAK_REQUESTS and SOAK_MODEL make it longer, with another model.
func TestServeSoak(t *testing.T) {
	requests, clients, model := 200, 16, ""
	if n, err := strconv.Atoi(os.Getenv("SOAK_REQUESTS")); err == nil {
		requests, clients = n, 64
	}
	if model = os.Getenv("SOAK_MODEL"); model == "" {
		model = servetest.Folder(t, "expert", 3)
	}
	p := startServer(t, nil, model, "--listen", "127.0.0.1:0", "--threads", "2", "--max-running", "8", "--cache-bytes", "48MiB", "--log-level", "warn")
	c := p.client()
	ask := func(ctx context.Context, i int) (string, error) {
		prompt := strings.Repeat("the quick fox ", 1+i%7) + strconv.Itoa(i%20)
		r, err := c.Completions.New(ctx, openai.CompletionNewParams{Model: "default", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(prompt)},
			MaxTokens: openai.Int(int64(4 + i%20)), Seed: openai.Int(int64(i % 20)), Temperature: openai.Float(0.9)})
		if err != nil {
			return "", err
		}
		return r.Choices[0].Text, nil
	}
	alone := map[int]string{}
	for i := range 140 { // as many as differ
		text, err := ask(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		alone[i] = text
	}
	goroutines, memory := p.metric(t, "go_goroutines"), 0.0
	var wg sync.WaitGroup
	next := make(chan int)
	for range clients {
		wg.Go(func() {
			for i := range next {
				soakOne(t, p, ask, i, alone[i%140])
			}
		})
	}
	for i := range requests {
		next <- i
		if i == requests/3 {
			memory = p.metric(t, "process_resident_memory_bytes")
		}
	}
	close(next)
	wg.Wait()
	t.Logf("%d requests; resident behind a third %.1f MB, at the end %.1f MB; %g cancelled", requests, memory/1e6, p.metric(t, "process_resident_memory_bytes")/1e6, p.metric(t, "mor_requests_cancelled_total"))
	http.DefaultClient.CloseIdleConnections()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		running, waiting, used := p.metric(t, "vllm:num_requests_running"), p.metric(t, "vllm:num_requests_waiting"), p.metric(t, "mor_kv_pages_used")
		if running+waiting+used == 0 && p.metric(t, "go_goroutines") <= goroutines+float64(2*clients) {
			break // connections that wait for a next request have two goroutines each
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %g running, %g waiting, %g pages, %g goroutines (%g before)", running, waiting, used, p.metric(t, "go_goroutines"), goroutines)
		}
	}
	if failed := p.metric(t, "mor_requests_failed_total"); failed != 0 || p.log.String() != "" {
		t.Errorf("%g requests failed: %s", failed, p.log)
	}
}

// soakOne sends one request: every tenth is cancelled, every tenth is malformed.
func soakOne(t *testing.T, p *process, ask func(context.Context, int) (string, error), i int, want string) {
	switch i % 10 {
	case 3:
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(20))*time.Millisecond)
		defer cancel()
		if text, err := ask(ctx, i); err == nil && text != want || err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("request %d, cancelled: %q, %v", i, text, err)
		}
	case 7:
		body := []string{`{`, `{"prompt": 3}`, `{"temperature": 9000}`, `{"nonsense": 1}`, `{"prompt": "a", "suffix": "b"}`, "\x00", `{"prompt": [99999999]}`}[i/10%7]
		r, err := http.Post(p.url+"/v1/completions", "application/json", strings.NewReader(body))
		if err != nil {
			t.Errorf("request %d: %v", i, err)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if r.StatusCode != 400 {
			t.Errorf("%s: status %d", body, r.StatusCode)
		}
	default:
		if text, err := ask(t.Context(), i); err != nil || text != want {
			t.Errorf("request %d: %q, %v; alone %q", i, text, err, want)
		}
	}
}

// long is a request whose text takes long.
func long(p *process, maxTokens int) (*http.Response, error) {
	body := fmt.Sprintf(`{"prompt": "the", "max_tokens": %d, "ignore_eos": true, "stream": true}`, maxTokens)
	return http.Post(p.url+"/v1/completions", "application/json", strings.NewReader(body))
}

// TestServeSignals: SIGHUP under way drops nothing; SIGTERM lets what runs end; a second one does not; and behind a kill the server is there again.
func TestServeSignals(t *testing.T) {
	args := []string{servetest.Folder(t, "token", 3), "--listen", "127.0.0.1:0", "--threads", "2"}
	first := startServer(t, nil, args...)
	r, err := long(first, 2000)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if err := first.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the reload", func() bool { return strings.Contains(first.log.String(), `"reloaded"`) })
	if err := first.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r.Body)
	if err != nil || !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")) || bytes.Count(text, []byte("data: ")) != 2002 {
		t.Errorf("%d events, the end is %q, %v", bytes.Count(text, []byte("data: ")), text[max(0, len(text)-50):], err)
	}
	if err := <-first.done; err != nil {
		t.Errorf("behind SIGTERM: %v\n%s", err, first.log)
	}
	second := startServer(t, nil, args...)
	if r, err = long(second, 4000); err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	for range 2 {
		if err := second.Process.Signal(syscall.SIGTERM); err != nil {
			break // it was quick
		}
		waitFor(t, "the drain", func() bool { return strings.Contains(second.log.String(), `"draining"`) })
	}
	text, _ = io.ReadAll(r.Body)
	if err := <-second.done; err == nil && !bytes.HasSuffix(text, []byte("data: [DONE]\n\n")) {
		t.Error("a text was cut off, and the exit status is 0")
	}
	third := startServer(t, nil, args...)
	if err := third.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-third.done
	if r, err := http.Get(startServer(t, nil, args...).url + "/readyz"); err != nil || r.StatusCode != 200 {
		t.Errorf("behind a kill: %v, %v", r, err)
	}
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// TestServeRefusals: what makes no sense ends with one line that says what to do.
func TestServeRefusals(t *testing.T) {
	dir := servetest.Folder(t, "vanilla", 3)
	for want, args := range map[string][]string{
		"no API key is set":                 {dir, "--listen", "0.0.0.0:0"},
		"expected both or none":             {dir, "--tls-cert", "x"},
		"did you mean \"max_running\"":      {dir, "--config", writeFile(t, "max_runing: 3\n")},
		"expected 1 or more":                {dir, "--max-running", "0"},
		"did you mean --max-waiting":        {dir, "--max-waitin", "0"},
		"expected at least 16":              {dir, "--api-key-file", writeFile(t, "short\n")},
		"no key in it":                      {dir, "--api-key-file", writeFile(t, "# none\n")},
		"model: missing":                    {},
		"expected a duration":               {dir, "--config", writeFile(t, "idle_timeout: soon\n")},
		"expected debug, info, warn":        {dir, "--log-level", "loud"},
		"expected scheme and host":          {dir, "--cors-origins", "example.com"},
		"expected an address and a port":    {dir, "--listen", "nowhere"},
		"chat template":                     {dir, "--chat-template", writeFile(t, "{% for %}")},
		"expected auto, fp32, bf16 or int8": {dir, "--cache-format", "fp64"},
		"max_body_bytes: 0: expected at l":  {dir, "--max-body-bytes", "0"},
	} {
		root := newRoot()
		root.SetArgs(append([]string{"serve"}, args...))
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		err := root.ExecuteContext(t.Context())
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), `"--`, "--"), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v: got %v, want %q", args, err, want)
		}
	}
}

// writeFile makes a file with a text.
func writeFile(t *testing.T, text string) string {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// TestServePython: OpenAI's Python SDK reads the server's answers, and lm-evaluation-harness over HTTP gets the scores of `mor eval`.
func TestServePython(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mor := filepath.Join(t.TempDir(), "mor")
	if err := os.Symlink(self, mor); err != nil {
		t.Fatal(err)
	}
	packages, args := []string{"openai"}, []string{"--mor", mor, servetest.Folder(t, "expert", 3)}
	const data = "../../../shared/data/eval"
	if _, err := os.Stat(data); err == nil && !testing.Short() {
		packages, args = append(packages, "lm_eval", "torch", "aiohttp", "tenacity"), append(args, "--data-dir", data, "--tasks", "piqa", "--limit", "12")
	} else {
		t.Log("the scores are not compared: benchmarks are absent, or -short is set")
	}
	t.Logf("%s", python(t, packages, "serve_compare.py", args...))
}
