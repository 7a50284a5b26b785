// Package servetest makes small models for tests of the server.
package servetest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mor/internal/format/folder"
	"mor/internal/golden"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// Text is what the tokenizer of the models is trained on.
const Text = "the quick brown fox jumps over the lazy dog; the other dog sleeps. func main() { fmt.Println(\"über, naïve 世界 🙂\") }\n"

// ChatTemplate is that of the models.
const ChatTemplate = `{% for message in messages %}{% if message['role'] not in ['system', 'user', 'assistant'] %}{{ raise_exception('no such role') }}{% endif %}
<|{{ message['role'] }}|>{{ message['content'] | trim }}
{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}`

// Folder writes a model of one of golden.Kinds with drawn weights, a tokenizer and a chat template, and returns its folder.
func Folder(t testing.TB, kind string, seed uint64) string {
	t.Helper()
	texts := slices.Values([][]byte{[]byte(strings.Repeat(Text, 5))})
	tok, err := token.Train(t.Context(), texts, token.TrainOptions{VocabSize: 300, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	kinds := golden.Kinds()
	i := slices.IndexFunc(kinds, func(k golden.Kind) bool { return k.Name == kind })
	if i < 0 {
		t.Fatalf("no kind %s", kind)
	}
	c := *kinds[i].Config
	c.VocabSize, c.TieWordEmbeddings, c.MaxPositionEmbeddings = tok.VocabSize(), false, 4096
	cpu, err := kernel.Open(1)
	if err != nil {
		t.Fatal(err)
	}
	defer cpu.Close()
	m := model.New(&c, cpu)
	m.Init(seed)
	for i := range m.Layout.Tensors {
		for j, w := 0, m.Layout.Tensors[i].Of(m.W); m.Layout.Tensors[i].Matrix && j < len(w); j++ {
			w[j] *= 6 // texts vary, and so do depths
		}
	}
	dir := filepath.Join(t.TempDir(), kind)
	if err := folder.Save(dir, m, folder.SaveOptions{Tokenizer: tok, Files: folder.NewAssets(tok, nil, ChatTemplate)}); err != nil {
		t.Fatal(err)
	}
	return dir
}
