package gguf

import (
	"fmt"
	"strings"

	"mor/internal/model"
)

// Of finds the tensor that has this of the model's names.
func (g *File) Of(name string) (*Tensor, bool) { return g.Tensor(nameOf(name)) }

// Rows returns rows [first, first+n) of the matrix that has this of the model's names, as they are stored. They are in llama.cpp's order:
// Placement tells where one belongs.
func (g *File) Rows(buf []byte, name string, first, n int) ([]byte, error) {
	t, ok := g.Of(name)
	if !ok || len(t.Shape) != 2 {
		return nil, fmt.Errorf("%s: tensor %q is no matrix of the file", g.path, nameOf(name))
	}
	size := int(t.size) / t.Shape[0]
	if cap(buf) < n*size {
		buf = make([]byte, n*size)
	}
	buf = buf[:n*size]
	if _, err := g.f.ReadAt(buf, t.offset+int64(first*size)); err != nil {
		return nil, fmt.Errorf("%s: tensor %q: %w", g.path, t.Name, err)
	}
	return buf, nil
}

// Placement tells where a row of a file's matrix belongs in the model's. The rows of queries and keys stand in another order: RoPE turns rows i and i+e/2 of a
// head of the model, as in Hugging Face's order, and rows 2i and 2i+1 of llama.cpp's.
func Placement(c *model.Config, name string) func(row int) int {
	if !turned(name) {
		return func(row int) int { return row }
	}
	e := c.HeadDim
	return func(row int) int { return row/e*e + row%e%2*(e/2) + row%e/2 }
}

// turned tells whether RoPE turns what a matrix computes.
func turned(name string) bool {
	return strings.HasSuffix(name, "q_proj.weight") || strings.HasSuffix(name, "k_proj.weight")
}
