package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"mor/internal/format/folder"
	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/source"
)

// ModelOptions say which model is served, and how it runs.
type ModelOptions struct {
	Path         string // a model folder, a GGUF file, or a run, whose latest checkpoint is taken
	Name         string // in /v1/models; "": the last part of the path
	ChatTemplate string // a file, in place of the model's own; "": the model's own
	Weights      string // type that the matrices are held in; auto: what the file has
	Threads      int    // 0: one for each CPU
	Engine       infer.EngineOptions
}

// backend is a model at work.
type backend struct {
	name     string
	path     string // the checkpoint
	created  time.Time
	model    *source.Model
	cpu      *kernel.CPU
	engine   *infer.Engine
	template *template // nil: the model has none
	users    sync.WaitGroup
}

// open loads a model and starts its engine.
func open(o *ModelOptions) (*backend, error) {
	path, err := source.Resolve(o.Path)
	if err != nil {
		return nil, err
	}
	p, err := source.ParsePrecision(o.Weights)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	cpu, err := kernel.Open(o.Threads)
	if err != nil {
		return nil, err
	}
	b := &backend{name: o.Name, path: path, created: time.Now(), cpu: cpu}
	if b.name == "" {
		b.name = filepath.Base(filepath.Clean(o.Path))
	}
	if err := b.start(o, p); err != nil {
		cpu.Close()
		return nil, err
	}
	return b, nil
}

func (b *backend) start(o *ModelOptions, p source.Precision) (err error) {
	if b.model, err = source.OpenInference(b.path, b.cpu, p); err != nil {
		return err
	}
	if b.model.Tokenizer == nil {
		return fmt.Errorf("%s: no %s: put the model's own beside its weights", b.path, folder.TokenizerFile)
	}
	if b.template, err = readTemplate(b.model, o.ChatTemplate); err != nil {
		return err
	}
	if b.engine, err = infer.NewEngine(b.model.Model, b.model.Tokenizer, o.Engine); err != nil {
		return fmt.Errorf("%s: %w", b.path, err)
	}
	return nil
}

// readTemplate compiles the chat template in a file, or else the model's own, nil where there is none.
func readTemplate(m *source.Model, file string) (*template, error) {
	text, err := m.Files.ChatTemplate()
	if file != "" {
		var data []byte
		data, err = os.ReadFile(file)
		text = string(data)
	}
	if err != nil || text == "" {
		return nil, err
	}
	variables, err := m.Files.SpecialTokens()
	if err != nil {
		return nil, err
	}
	return newTemplate(text, variables)
}

// close ends what still runs and frees the threads.
func (b *backend) close() {
	b.engine.Close()
	b.cpu.Close()
}

// ends are the tokens that end a text.
func (b *backend) ends() []int32 {
	ends := append([]int32{}, b.model.Stops...)
	if eot, ok := b.model.Tokenizer.EOT(); ok {
		ends = append(ends, eot)
	}
	return ends
}
