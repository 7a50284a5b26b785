package mor_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mor"
	"mor/internal/format/folder"
	"mor/internal/kernel"
	"mor/internal/model"
	"mor/internal/token"
)

// anyModel writes a small model with random weights and returns its folder.
func anyModel() (dir string, remove func()) {
	text := strings.Repeat("the router decides how deep a token goes. ", 40)
	tok, err := token.Train(context.Background(), slices.Values([][]byte{[]byte(text)}), token.TrainOptions{VocabSize: 280, Workers: 1})
	if err != nil {
		log.Fatal(err)
	}
	c, err := model.Preset("tiny", "expert", model.MiddleCycle, 3)
	if err != nil {
		log.Fatal(err)
	}
	c.VocabSize = tok.VocabSize()
	cpu, err := kernel.New(kernel.Generic, 1)
	if err != nil {
		log.Fatal(err)
	}
	defer cpu.Close()
	m := model.New(c, cpu)
	m.Init(1)
	temp, err := os.MkdirTemp("", "mor")
	if err != nil {
		log.Fatal(err)
	}
	dir = filepath.Join(temp, "model")
	if err := folder.Save(dir, m, folder.SaveOptions{Tokenizer: tok}); err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(temp) }
}

func ExampleModel_Generate() {
	dir, remove := anyModel()
	defer remove()
	m, err := mor.Open(dir, mor.OpenOptions{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	o := mor.DefaultOptions()
	o.MaxTokens, o.Temperature = 8, 0
	n, deepest := 0, 0
	for token, err := range m.Generate(context.Background(), "the router ", o) {
		if err != nil {
			log.Fatal(err)
		}
		n++
		deepest = max(deepest, token.Depth)
	}
	fmt.Println(n, "tokens,", deepest <= m.Recursions())
	// Output: 8 tokens, true
}

func ExampleModel_Start() {
	dir, remove := anyModel()
	defer remove()
	m, err := mor.Open(dir, mor.OpenOptions{Threads: 1, Weights: "int8"})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	o := mor.DefaultOptions()
	o.MaxTokens, o.MaxRecursion = 5, 1
	text, err := m.Start(context.Background(), "a token goes ", o)
	if err != nil {
		log.Fatal(err)
	}
	r, err := text.Result()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Tokens, r.Finish, r.MeanDepth <= 1)
	// Output: 5 length true
}

func ExampleModel_Score() {
	dir, remove := anyModel()
	defer remove()
	m, err := mor.Open(dir, mor.OpenOptions{Threads: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	tokens, err := m.Score(context.Background(), "the router decides")
	if err != nil {
		log.Fatal(err)
	}
	sum := 0.0
	for _, t := range tokens {
		sum += t.LogProb
	}
	fmt.Println(tokens[0].LogProb, sum < 0)
	// Output: 0 true
}
