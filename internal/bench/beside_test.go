package bench

import (
	"testing"

	"mor/internal/kernel"
	"mor/internal/model"
)

// TestBeside: texts go on while a prompt is read, and both phases are seen.
func TestBeside(t *testing.T) {
	c, err := model.Preset("tiny", "expert", model.MiddleCycle, 3)
	if err != nil {
		t.Fatal(err)
	}
	c.VocabSize = 64
	cpu, err := kernel.New(kernel.Generic, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer cpu.Close()
	m := model.New(c, cpu)
	m.Init(1)
	b, err := MeasureBeside(t.Context(), m, nil, Beside{Batch: 2, Prompt: 60, Format: kernel.PageInt8})
	if err != nil {
		t.Fatal(err)
	}
	if b.Alone.Tokens < 2*(besideAlone-besideAlone/4) || b.During.Tokens < 2 || b.Read <= 0 || b.Ratio <= 0 || b.Format != kernel.PageInt8 {
		t.Errorf("%+v", b)
	}
}
