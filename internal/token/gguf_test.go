package token

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"
)

// ggufVocab reads the vocabulary of a GGUF file: just as much of the format as the test vectors need.
func ggufVocab(t *testing.T, path string) Vocab {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := ggufReader{data: data[16:]} // magic, version, tensor count
	meta := map[string]any{}
	for range r.u64() {
		key := r.str()
		meta[key] = r.value(r.u32())
	}
	v := Vocab{Pre: meta["tokenizer.ggml.pre"].(string)}
	for id, text := range meta["tokenizer.ggml.tokens"].([]any) {
		v.Tokens = append(v.Tokens, text.(string))
		if kind := meta["tokenizer.ggml.token_type"].([]any)[id].(uint32); kind == 3 || kind == 4 {
			v.Added = append(v.Added, AddedToken{ID: int32(id), Content: text.(string), Special: kind == 3})
		}
	}
	for _, m := range meta["tokenizer.ggml.merges"].([]any) {
		v.Merges = append(v.Merges, m.(string))
	}
	return v
}

type ggufReader struct{ data []byte }

func (r *ggufReader) take(n uint64) []byte {
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

func (r *ggufReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *ggufReader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *ggufReader) str() string { return string(r.take(r.u64())) }

func (r *ggufReader) value(kind uint32) any {
	switch kind {
	case 0, 1, 7: // 8 bits
		return r.take(1)[0]
	case 2, 3: // 16 bits
		return r.take(2)
	case 4, 5, 6: // 32 bits
		return r.u32()
	case 8:
		return r.str()
	case 9:
		item := r.u32()
		list := make([]any, r.u64())
		for i := range list {
			list[i] = r.value(item)
		}
		return list
	case 10, 11, 12: // 64 bits
		return r.u64()
	}
	panic(fmt.Sprintf("GGUF value of kind %d", kind))
}
