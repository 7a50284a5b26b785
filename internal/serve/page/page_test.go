package page_test

import (
	"fmt"
	"io/fs"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"mor/internal/infer"
	"mor/internal/serve"
	"mor/internal/serve/page"
	"mor/internal/serve/servetest"
)

// TestFiles: the page needs nothing from elsewhere and runs no script and no style that is not a file of its own.
func TestFiles(t *testing.T) {
	files := page.Files()
	elsewhere := regexp.MustCompile(`(?i:https?://|//[a-z]|@import)|\burl\(`)
	inline := regexp.MustCompile(`(?i)<script(>|[^>]*[^>]>[^<])|<style|\son[a-z]+=|\sstyle=|javascript:`)
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function`)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		text := strings.ReplaceAll(string(data), `xmlns="http://www.w3.org/2000/svg"`, "")
		if found := elsewhere.FindString(regexp.MustCompile(`(?m)(^|\s)//\s.*$`).ReplaceAllString(text, "")); found != "" {
			t.Errorf("%s refers to something elsewhere: %q", name, found)
		}
		if found := inline.FindString(text); strings.HasSuffix(name, ".html") && found != "" {
			t.Errorf("%s has script or style inside: %q", name, found)
		}
		if found := markup.FindString(text); found != "" {
			t.Errorf("%s makes markup of text: %s", name, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPage(t *testing.T) {
	b := start(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *browser)
	}{
		{"completion", completion}, {"chat", chat}, {"settings", settings}, {"token", oneToken}, {"stop", stop}, {"key", apiKey}, {"refusal", refusal},
		{"themes", themes}, {"accessibility", accessibility}, {"other models", otherModels}, {"server", server},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, b) })
	}
}

// completion: the text stands as it came, whatever it looks like, each token has the shade of its depth, and the readings are those of the answer.
func completion(t *testing.T, b *browser) {
	f := newFake(t)
	p := open(t, b, f)
	if got, want := p.text("model"), "fake-<b>: 3 recursions, expert-choice, causal"; got != want {
		t.Errorf("model %q, expected %q", got, want)
	}
	p.ask("The <b>quick</b>")
	p.idle()
	want, depths := "The <b>quick</b>", []string{}
	for _, a := range answers() {
		want += a.text
		depths = append(depths, fmt.Sprint(a.depth))
	}
	if got := value[string](p, `document.querySelector(".turn pre").textContent`); got != want {
		t.Errorf("text %q, expected %q", got, want)
	}
	if got := value[[]string](p, `[...document.querySelectorAll(".token")].map(e => e.dataset.depth)`); strings.Join(got, " ") != strings.Join(depths, " ") {
		t.Errorf("depths %v, expected %v", got, depths)
	}
	if title := value[string](p, `document.title`); title != "mor" || value[int](p, `document.querySelectorAll("#transcript img, #transcript b").length`) != 0 {
		t.Error("text of the answer became markup")
	}
	same := `[...document.querySelectorAll(".token")].every(e => e.dataset.depth === "0" ||
		getComputedStyle(e).backgroundColor === getComputedStyle(document.querySelector("#legend .swatch[data-depth='" + e.dataset.depth + "']")).backgroundColor)`
	different := `new Set([...document.querySelectorAll("#legend .swatch")].map(e => getComputedStyle(e).backgroundColor)).size`
	if !value[bool](p, same) || value[int](p, different) != 4 {
		t.Error("tokens and legend have other colours, or two depths the same")
	}
	if got := p.text("mean-depth"); got != "1.50 of 3" || p.text("token-count") != "6" {
		t.Errorf("mean depth %q, tokens %q", got, p.text("token-count"))
	}
	if got := value[[]string](p, `[...document.querySelectorAll("#legend .number")].map(e => e.textContent)`); strings.Join(got, ",") != "17 %,33 %,33 %,17 %" {
		t.Errorf("shares %v", got)
	}
	if got := p.text("status"); !strings.Contains(got, "6 tokens, mean depth 1.50 of 3") {
		t.Errorf("status %q", got)
	}
	body := f.sent()[0]
	if body["prompt"] != "The <b>quick</b>" || body["return_depth"] != true || body["stream"] != true || body["model"] != "fake-<b>" || body["max_recursion"] != nil || body["router_threshold"] != nil || body["seed"] != nil {
		t.Errorf("request %v", body)
	}
}

// chat: earlier turns go along.
func chat(t *testing.T, b *browser) {
	f := newFake(t)
	p := open(t, b, f)
	p.do(chromedp.Click(chromedp.CSS(`input[value="chat"]`)))
	p.ask("first")
	p.idle()
	p.ask("second")
	p.wait(`document.querySelectorAll(".turn").length === 4 && document.getElementById("stop").disabled`)
	if n := len(f.sent()); n != 2 {
		t.Fatalf("%d requests", n)
	}
	var said []string
	for _, m := range f.sent()[1]["messages"].([]any) {
		said = append(said, m.(map[string]any)["role"].(string))
	}
	if got := strings.Join(said, " "); got != "user assistant user" {
		t.Errorf("roles %s", got)
	}
	if got := f.sent()[1]["messages"].([]any)[1].(map[string]any)["content"].(string); !strings.HasPrefix(got, " fox <img") {
		t.Errorf("the earlier answer went along as %q", got)
	}
	if got := value[int](p, `document.querySelectorAll(".token[data-depth]").length`); got != 12 {
		t.Errorf("%d tokens with a depth", got)
	}
	p.do(chromedp.Click(chromedp.CSS("#clear")))
	if got := value[int](p, `document.querySelectorAll(".turn").length`); got != 0 {
		t.Errorf("%d turns behind Clear", got)
	}
}

// settings: what is set is sent, and what was set back is not.
func settings(t *testing.T, b *browser) {
	f := newFake(t)
	p := open(t, b, f)
	for id, v := range map[string]string{"max-recursion": "2", "threshold": "0.3", "temperature": "0", "max-tokens": "7", "seed": "42"} {
		p.set(id, v)
	}
	if got := p.text("max-recursion-value") + " " + p.text("threshold-value"); got != "2 0.30" {
		t.Errorf("labels %q", got)
	}
	p.ask("x")
	p.idle()
	body := f.sent()[0]
	for name, want := range map[string]float64{"max_recursion": 2, "router_threshold": 0.3, "temperature": 0, "max_tokens": 7, "seed": 42} {
		if body[name] != want {
			t.Errorf("%s: sent %v, expected %v", name, body[name], want)
		}
	}
	p.set("max-recursion", "3")
	p.do(chromedp.Click(chromedp.CSS("#threshold-reset")), chromedp.Click(chromedp.CSS("#send")))
	p.wait(`document.querySelectorAll(".turn").length === 2 && document.getElementById("stop").disabled`)
	if body := f.sent()[1]; body["max_recursion"] != nil || body["router_threshold"] != nil {
		t.Errorf("behind setting back: %v", body)
	}
	p.set("max-tokens", "0")
	p.do(chromedp.Click(chromedp.CSS("#send")))
	if n := len(f.sent()); n != 2 {
		t.Error("a value out of range was sent")
	}
}

// oneToken: mouse and keyboard show scores and alternatives.
func oneToken(t *testing.T, b *browser) {
	p := open(t, b, newFake(t))
	p.ask("x")
	p.idle()
	p.do(script(`document.querySelectorAll(".token")[1].dispatchEvent(new PointerEvent("pointerover", {bubbles: true}))`))
	for _, want := range []string{"Depth 2 of 3", "1.50", "-2.00", "81.8 %", "60.7 %", "␣other", "5.0 %", "␣<img"} {
		if got := p.text("detail"); !strings.Contains(got, want) {
			t.Errorf("%q is not in the detail %q", want, got)
		}
	}
	p.do(script(`document.querySelector(".token").focus()`), chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowRight))
	if got := p.text("detail"); !strings.Contains(got, "Depth 3 of 3") || !strings.Contains(got, "↵⇥ü") {
		t.Errorf("behind two arrows: %q", got)
	}
	if got := p.text("status"); got != "↵⇥ü, depth 3 of 3, probability 60.7 %" {
		t.Errorf("status %q", got)
	}
	p.do(chromedp.KeyEvent(kb.End))
	if got := value[string](p, `document.activeElement.textContent`); got != " </script>&amp;" {
		t.Errorf("End is at %q", got)
	}
	p.do(chromedp.KeyEvent(kb.ArrowUp))
	if got := value[string](p, `document.activeElement.textContent`); got == " </script>&amp;" || !value[bool](p, `document.activeElement.classList.contains("token")`) {
		t.Errorf("the line above is at %q", got)
	}
	if n := value[int](p, `document.querySelectorAll('.token[tabindex="0"]').length`); n != 1 {
		t.Errorf("%d tokens in the order of the Tab key, expected 1", n)
	}
	p.do(chromedp.Click(chromedp.CSS("#numbers")))
	if got := value[string](p, `getComputedStyle(document.querySelectorAll(".token")[1], "::after").content`); got != `"2"` {
		t.Errorf("number at a token: %s", got)
	}
}

// stop ends an answer at the server, by the button and by the keyboard, and what came stays.
func stop(t *testing.T, b *browser) {
	f := newFake(t)
	f.pause, f.endless = 20*time.Millisecond, true
	p := open(t, b, f)
	for i, action := range []chromedp.Action[chromedp.Void]{chromedp.Click(chromedp.CSS("#stop")), chromedp.KeyEvent(kb.Escape)} {
		p.ask("x")
		p.wait(fmt.Sprintf(`document.querySelectorAll(".turn").length === %d && document.querySelectorAll(".turn:last-child .token").length > 3`, i+1))
		p.do(action)
		select {
		case <-f.gone:
		case <-time.After(10 * time.Second):
			t.Fatal("the server was not told")
		}
		p.idle()
		if got := p.text("status"); !strings.HasPrefix(got, "Stopped. ") || value[bool](p, `!document.getElementById("error").hidden`) {
			t.Errorf("status %q, error %q", got, p.text("error"))
		}
	}
}

// apiKey: without a key the page says so and asks for it; with it the request has it.
func apiKey(t *testing.T, b *browser) {
	f := newFake(t)
	f.key = "sesame"
	p := open(t, b, f)
	if got := p.text("error"); !strings.Contains(got, "expected one of this server's API keys") || value[string](p, `document.activeElement.id`) != "key" {
		t.Errorf("error %q", got)
	}
	p.set("key", "sesame")
	p.wait(`document.getElementById("model").textContent.startsWith("fake")`)
	if value[bool](p, `!document.getElementById("error").hidden`) {
		t.Errorf("error %q behind the right key", p.text("error"))
	}
	p.ask("x")
	p.idle()
	if got := value[int](p, `localStorage.length + sessionStorage.length + document.cookie.length`); got != 0 {
		t.Error("something is stored")
	}
}

// refusal: the server's message is shown as it is, with when to try again, and the page goes on.
func refusal(t *testing.T, b *browser) {
	f := newFake(t)
	f.refuse = "the queue is <i>full</i>"
	p := open(t, b, f)
	p.ask("x")
	p.wait(`!document.getElementById("error").hidden`)
	if got := p.text("error"); got != "the queue is <i>full</i> (try again in 7 s)" {
		t.Errorf("error %q", got)
	}
	f.refuse = ""
	p.do(chromedp.Click(chromedp.CSS("#send")))
	p.idle()
	if value[bool](p, `!document.getElementById("error").hidden`) {
		t.Error("the error stays")
	}
}

// themes: the system's theme is followed until another is picked; the colours of depths read well in both.
func themes(t *testing.T, b *browser) {
	p := open(t, b, newFake(t))
	defer p.do(prefers(""))
	ground := `getComputedStyle(document.body).backgroundColor`
	p.do(prefers("light"))
	light, swatch := value[string](p, ground), value[string](p, `getComputedStyle(document.querySelectorAll(".swatch")[3]).backgroundColor`)
	p.do(prefers("dark"))
	p.wait(fmt.Sprintf(`getComputedStyle(document.querySelectorAll(".swatch")[3]).backgroundColor !== %q`, swatch))
	dark := value[string](p, ground)
	if light == dark {
		t.Error("dark is as light")
	}
	p.do(chromedp.Click(chromedp.CSS("#theme")))
	if got := value[string](p, ground); got != light {
		t.Errorf("light is picked, the ground is %s", got)
	}
	p.do(chromedp.Click(chromedp.CSS("#theme")), prefers("light"))
	if got := value[string](p, ground); got != dark {
		t.Errorf("dark is picked, the ground is %s", got)
	}
	readable := `import("./depth.js").then(({ground, ink, luminance, contrast}) => {
		for (const theme of ["light", "dark"]) for (let n = 1; n <= 12; n++) for (let d = 1, last = null; d <= n; d++) {
			const c = ground(d, n, theme), l = luminance(c);
			if (contrast(c, ink(c)) < 4.5) return theme + " " + d + " of " + n + ": text does not read";
			if (last !== null && (theme === "light") !== (l < last)) return theme + " " + d + " of " + n + ": lightness does not rise or fall";
			last = l;
		}
		return "";
	})`
	if wrong := value[string](p, readable); wrong != "" {
		t.Error(wrong)
	}
}

// accessibility: every control has a name, and everything can be reached by the Tab key.
func accessibility(t *testing.T, b *browser) {
	p := open(t, b, newFake(t))
	p.ask("x")
	p.idle()
	nameless := `[...document.querySelectorAll("input, textarea, button, select")].filter(e => !(e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim())).map(e => e.outerHTML)`
	if got := value[[]string](p, nameless); len(got) > 0 {
		t.Errorf("controls without a name: %v", got)
	}
	p.do(script(`document.activeElement.blur()`))
	reached := map[string]bool{}
	for range 40 {
		p.do(chromedp.KeyEvent(kb.Tab))
		reached[value[string](p, `document.activeElement.id || document.activeElement.className`)] = true
	}
	for _, want := range []string{"theme", "max-recursion", "threshold", "temperature", "max-tokens", "seed", "key", "token current", "prompt", "send", "clear", "numbers"} {
		if !reached[want] {
			t.Errorf("the Tab key does not reach %s: %v", want, reached)
		}
	}
	for _, want := range []string{`document.documentElement.lang === "en"`, `document.querySelector("[role=alert]") !== null`, `document.getElementById("status").getAttribute("aria-live") === "polite"`,
		`document.documentElement.scrollWidth <= innerWidth`} {
		if !value[bool](p, want) {
			t.Errorf("not so: %s", want)
		}
	}
	p.do(chromedp.EmulateViewport(320, 800))
	defer p.do(chromedp.EmulateReset())
	if !value[bool](p, `document.documentElement.scrollWidth <= 320`) {
		t.Error("a narrow page scrolls sideways")
	}
}

// otherModels: what a model lacks is not offered.
func otherModels(t *testing.T, b *browser) {
	for router, hidden := range map[string]bool{"expert": false, "token": true, "": true} {
		f := newFake(t)
		f.router = router
		p := open(t, b, f)
		if got := value[bool](p, `document.getElementById("threshold-setting").hidden`); got != hidden {
			t.Errorf("router %q: threshold hidden: %v", router, got)
		}
	}
}

// server: the page works with the server itself, whose key the browser gives as a password.
func server(t *testing.T, b *browser) {
	m := serve.ModelOptions{Path: servetest.Folder(t, "expert", 1), Weights: "auto", Threads: 1, Engine: infer.DefaultEngineOptions()}
	o := serve.DefaultOptions()
	o.Page, o.Keys = page.Files(), []string{"sesame"}
	s, err := serve.New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s)
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	p := open(t, b, &fake{url: strings.Replace(h.URL, "http://", "http://user:sesame@", 1)})
	if got := p.text("model"); got != "expert: 3 recursions, expert-choice, causal" {
		t.Errorf("model %q", got)
	}
	p.set("temperature", "0")
	p.set("max-tokens", "24")
	for i, mode := range []string{"complete", "chat"} {
		p.do(chromedp.Click(chromedp.CSS(fmt.Sprintf("input[value=%q]", mode))))
		p.ask("the quick")
		p.idle()
		if got := p.text("token-count"); got != "24" || p.text("error") != "" {
			t.Errorf("%s: %s tokens, error %q", mode, got, p.text("error"))
		}
		if n := value[int](p, `[...document.querySelectorAll(".token")].filter(e => e.dataset.depth >= 0 && e.dataset.depth <= 3).length`); n != 24 {
			t.Errorf("%s: %d tokens have a depth", mode, n)
		}
		p.do(script(`document.querySelector(".token").focus()`))
		if got := p.text("detail"); !strings.Contains(got, "Scores at the recursions") || !strings.Contains(got, "Most probable tokens") {
			t.Errorf("%s: detail %q", mode, got)
		}
		if got := value[int](p, `document.querySelectorAll(".turn").length`); got != 1+i {
			t.Errorf("%s: %d turns", mode, got)
		}
	}
}
