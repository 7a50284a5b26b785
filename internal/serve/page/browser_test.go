package page_test

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// start starts a browser, or skips the test.
func start(t *testing.T) *browser {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes seconds: -short leaves it out")
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless_shell"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("no browser: the page is tested where chromium is installed (Debian: apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx}
	if err := chromedp.Listen(ctx, b.hear); err != nil {
		t.Fatalf("%s does not start: %v", path, err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return b
}

// browser is one with a single tab.
type browser struct {
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// tab is the tab of a browser, in one test.
type tab struct {
	*browser
	t   *testing.T
	ctx context.Context
}

// open loads the page of a server and waits for the model's name. At the end of the test the browser must not have complained.
func open(t *testing.T, b *browser, f *fake) *tab {
	t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 60*time.Second)
	t.Cleanup(cancel)
	p := &tab{b, t, ctx}
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, c := range b.complaints {
			t.Errorf("the browser complains: %s", c)
		}
		b.complaints = nil
	})
	p.do(chromedp.Navigate(f.url))
	p.wait(`document.getElementById("model").textContent !== "asking for the model…"`)
	return p
}

// hear keeps what the browser complains about.
func (p *browser) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.complaints = append(p.complaints, fmt.Sprintf("%s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		if e.Entry.Source != log.EntrySourceNetwork { // a status that is no 200 is tested on its own
			p.complaints = append(p.complaints, e.Entry.Text)
		}
	}
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// wait until a condition holds.
func (p *tab) wait(condition string) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); !value[bool](p, condition); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("not so within 20 s: %s", condition)
		}
	}
}

// value of an expression.
func value[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

func (p *tab) text(id string) string {
	p.t.Helper()
	return value[string](p, fmt.Sprintf(`document.getElementById(%q).textContent`, id))
}

// script runs an expression for its effect.
func script(expression string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void](expression)
}

// ask sends a prompt by the keyboard.
func (p *tab) ask(prompt string) {
	p.t.Helper()
	p.do(chromedp.Focus(chromedp.CSS("#prompt")), chromedp.SendKeys(chromedp.CSS("#prompt"), prompt), chromedp.KeyEvent(kb.Enter, chromedp.KeyModifiers(chromedp.ModifierCtrl)))
}

// idle waits for the end of an answer.
func (p *tab) idle() {
	p.t.Helper()
	p.wait(`document.getElementById("stop").disabled && document.querySelectorAll(".token").length > 0`)
}

// set gives a field a value as its user would, with its events.
func (p *tab) set(id, v string) {
	p.t.Helper()
	p.do(script(fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event("input", {bubbles: true})); e.dispatchEvent(new Event("change", {bubbles: true})); })(document.getElementById(%q))`, v, id)))
}

// prefers sets the system's theme.
func prefers(scheme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	})
}
