package mor_test

import (
	"math"
	"strings"
	"testing"

	"mor"
)

// TestOptions: several texts behind one prompt, the best tokens beside each, the prompt's probabilities, biases and stop tokens.
func TestOptions(t *testing.T) {
	dir, remove := anyModel()
	defer remove()
	m, err := mor.Open(dir, mor.OpenOptions{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const prompt = "the router decides"
	o := mor.DefaultOptions()
	o.N, o.MaxTokens, o.TopLogProbs, o.TopPromptLogProbs = 3, 6, 4, 2
	text, err := m.Start(t.Context(), prompt, o)
	if err != nil {
		t.Fatal(err)
	}
	var texts [3]strings.Builder
	for k, err := range text.Tokens() {
		if err != nil {
			t.Fatal(err)
		}
		texts[k.Index].WriteString(k.Text)
		if len(k.Top) != 4 || k.LogProb >= 0 || k.Top[0].LogProb < k.Top[3].LogProb || k.Top[0].LogProb < k.LogProb {
			t.Errorf("token %d: log probability %v, the best %v", k.ID, k.LogProb, k.Top)
		}
	}
	r, err := text.Result()
	if err != nil || len(r.Choices) != 3 || r.Tokens != 18 || r.Choices[2].Finish != "length" || r.Choices[1].Tokens != 6 {
		t.Errorf("result %+v, %v", r, err)
	}
	if texts[0].String() == texts[1].String() && texts[1].String() == texts[2].String() {
		t.Errorf("three times the same text: %q", texts[0].String())
	}
	scored, err := m.Score(t.Context(), prompt)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range text.Prompt() {
		if k.LogProb != scored[i].LogProb || i > 0 && len(k.Top) != 2 || math.IsNaN(k.LogProb) {
			t.Errorf("prompt token %d: %+v, expected the log probability %v and two tokens beside it", i, k, scored[i].LogProb)
		}
	}
	best := mor.DefaultOptions()
	best.Temperature, best.MaxTokens = 0, 1
	first := func() mor.Token {
		t.Helper()
		for k, err := range m.Generate(t.Context(), prompt, best) {
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		return mor.Token{ID: -1}
	}
	id := first().ID
	best.LogitBias = map[int32]float32{id: -100}
	if got := first().ID; got == id || got < 0 {
		t.Errorf("token %d in spite of its bias", got)
	}
	best.LogitBias, best.StopTokens = nil, []int32{id}
	if got := first().ID; got != -1 {
		t.Errorf("token %d behind which the text should have ended", got)
	}
}
