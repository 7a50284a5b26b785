package token

import (
	"unicode/utf8"
	"unsafe"
)

// Decode returns the text of tokens, special ones included. An id that names no token stands for nothing. The text of
// Encode(x) is x for every x, valid UTF-8 or not, but for bytes that the vocabulary lacks and white space that an added token strips.
func (t *Tokenizer) Decode(ids []int32) string { return string(t.AppendDecode(nil, ids)) }

// AppendDecode appends the bytes of tokens to dst.
func (t *Tokenizer) AppendDecode(dst []byte, ids []int32) []byte {
	d := t.NewDecoder()
	for _, id := range ids {
		dst = append(dst, d.bytes(id)...)
	}
	return dst
}

// Decoder decodes a stream of tokens and never splits a character. It belongs to one goroutine.
type Decoder struct {
	t       *Tokenizer
	strip   bool   // the next token of text is the first one, and its space was put there by encoding
	pending []byte // the beginning of a character, at most 3 bytes between calls
}

// NewDecoder returns a decoder of one text.
func (t *Tokenizer) NewDecoder() *Decoder {
	return &Decoder{t: t, strip: t.spec.sentence != nil && t.spec.sentence.prepend}
}

// Follow makes the decoder go on behind tokens of the same text, which it does not decode.
func (d *Decoder) Follow(ids []int32) {
	for _, id := range ids {
		d.bytes(id)
	}
}

// Pending is how many bytes of an unfinished character the decoder holds.
func (d *Decoder) Pending() int { return len(d.pending) }

// bytes is what a token stands for at this place of the text.
func (d *Decoder) bytes(id int32) []byte {
	text := d.t.TokenBytes(id)
	if d.strip && !d.t.IsSpecial(id) {
		d.strip = false
		return stripped(text)
	}
	return text
}

// Write decodes one more token and returns the characters that are complete by now. Bytes that cannot be part of any
// character are passed on as they are: all that Write and Flush return is, joined, what Decode returns.
func (d *Decoder) Write(id int32) string {
	raw := d.bytes(id)
	if len(d.pending) == 0 && completeUTF8(raw) == len(raw) {
		return unsafe.String(unsafe.SliceData(raw), len(raw)) // the vocabulary's own bytes, which never change
	}
	d.pending = append(d.pending, raw...)
	n := completeUTF8(d.pending)
	text := string(d.pending[:n])
	d.pending = d.pending[:copy(d.pending, d.pending[n:])]
	return text
}

// Flush returns what is left: the bytes of a character whose end never came.
func (d *Decoder) Flush() string {
	text := string(d.pending)
	d.pending = d.pending[:0]
	return text
}

// completeUTF8 returns the length of text without an unfinished character at its end.
func completeUTF8(text []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		start := len(text) - back
		if utf8.RuneStart(text[start]) {
			if !utf8.FullRune(text[start:]) {
				return start
			}
			break
		}
	}
	return len(text)
}
