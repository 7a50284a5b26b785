package token

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// encoder is what one goroutine needs to encode: a cache of short pieces and buffers.
type encoder struct {
	cache []cached
	longState
	spans, spare []span
	matches      []match
	prefixed     []byte
	runes        []rune
	offsets      []int
	start        bool // nothing of the text is encoded yet
}

// cached is a piece of at most maxKey bytes and its at most three tokens. The cache only repeats what appendBPE says, so
// that what it holds never shows in the result.
type cached struct {
	key pieceKey
	ids [3]int32
	n   int32
}

// pieceKey holds a piece of at most maxKey bytes: the bytes, zeros, the length.
type pieceKey struct{ lo, hi uint64 }

const (
	maxKey    = 15
	cacheBits = 15 // 32,768 entries of 32 bytes
)

func newEncoder() *encoder { return &encoder{cache: make([]cached, 1<<cacheBits)} }

// keyOf returns the key of a piece of at most maxKey bytes.
func keyOf(piece []byte) pieceKey {
	n := len(piece)
	if n > 8 {
		lo := binary.LittleEndian.Uint64(piece)
		hi := binary.LittleEndian.Uint64(piece[n-8:]) >> (8 * (16 - n) & 63)
		return pieceKey{lo, hi | uint64(n)<<56}
	}
	if n >= 4 {
		lo := uint64(binary.LittleEndian.Uint32(piece))
		hi := uint64(binary.LittleEndian.Uint32(piece[n-4:]))
		return pieceKey{lo | hi<<(8*(n-4)), uint64(n) << 56}
	}
	lo := uint64(0)
	for i, b := range piece {
		lo |= uint64(b) << (8 * i)
	}
	return pieceKey{lo, uint64(n) << 56}
}

func (k pieceKey) hash() uint64 {
	hi, lo := bits.Mul64(k.lo^0x9E3779B97F4A7C15, k.hi^0xD6E8FEB86659FD93)
	return hi ^ lo
}

// appendPiece appends the tokens of one pre-token.
func (t *Tokenizer) appendPiece(e *encoder, dst []int32, piece []byte) []int32 {
	if len(piece) > maxKey {
		return t.appendBPE(e, dst, piece)
	}
	key := keyOf(piece)
	c := &e.cache[key.hash()>>(64-cacheBits)&(1<<cacheBits-1)]
	if c.key == key {
		return append(dst, c.ids[:c.n]...)
	}
	start := len(dst)
	dst = t.appendBPE(e, dst, piece)
	if ids := dst[start:]; len(ids) <= len(c.ids) {
		c.key, c.n = key, int32(len(ids))
		copy(c.ids[:], ids)
	}
	return dst
}

// Encode returns the tokens of a text. Added tokens, special ones included, are recognised in it, as Hugging Face tokenizers do;
// nothing is put before or after it (see Prefix and Suffix).
func (t *Tokenizer) Encode(text string) []int32 {
	return t.AppendEncode(make([]int32, 0, len(text)/4+4), viewBytes(text))
}

// AppendEncode appends the tokens of text, as Encode gives them, to dst. It allocates nothing else once its buffers are warm.
func (t *Tokenizer) AppendEncode(dst []int32, text []byte) []int32 {
	e := t.pool.Get().(*encoder)
	e.start = true
	dst = t.appendPass(e, dst, text, &t.added, 0)
	t.pool.Put(e)
	return dst
}

// EncodePlain is Encode for text that must not contain control tokens: "<|endoftext|>" in it becomes ordinary tokens. Added tokens
// that are not special are still recognised (Hugging Face's encode_special_tokens=True).
func (t *Tokenizer) EncodePlain(text string) []int32 {
	return t.AppendEncodePlain(make([]int32, 0, len(text)/4+4), viewBytes(text))
}

// AppendEncodePlain appends the tokens of text, as EncodePlain gives them, to dst.
func (t *Tokenizer) AppendEncodePlain(dst []int32, text []byte) []int32 {
	e := t.pool.Get().(*encoder)
	e.start = true
	dst = t.appendPass(e, dst, text, &t.plain, 0)
	t.pool.Put(e)
	return dst
}

// viewBytes returns the bytes of s without a copy, for reading only.
func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
