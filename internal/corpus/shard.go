package corpus

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
)

// A shard file, little-endian:
//
//	  0  magic "morshard"
//	  8  u32 version, u32 bytes a token (2 or 4)
//	 16  u64 tokens, u64 bytes of text they stand for, u64 documents
//	 40  u32 vocabulary size, u32 end-of-text token
//	 48  [128] tokenizer's hash, zero-padded
//	176  [48] zeros
//	224  [32] SHA-256 of everything from 256 on, followed by 0 to 224
//	256  tokens, zero-padded to a multiple of 8 bytes
//	     documents × (u64 first token, u64 bytes of text before it)
const (
	magic        = "morshard"
	shardVersion = 1
	headerSize   = 256
	sumOffset    = 224
	hashSize     = 128
	entrySize    = 16
)

// ErrCorrupt: a file of the cache is not what was once written.
var ErrCorrupt = errors.New("corrupt")

// ShardInfo is what a shard's header says.
type ShardInfo struct {
	Tokens    int64  // tokens, end-of-text ones included
	Bytes     int64  // bytes of text that the tokens stand for
	Documents int64  // documents, each ended by an end-of-text token
	VocabSize int    // every token is below it
	EOT       int32  // end-of-text token
	Tokenizer string // hash of the tokenizer
}

// Shard is a token shard, mapped into memory where the system can. Its tokens read as if an end-of-text token stood before the first one.
type Shard struct {
	ShardInfo
	sum    [sha256.Size]byte
	data   []byte // the whole file
	width  int    // bytes a token
	docs   []byte // [Documents×entrySize]
	unmap  func() error
	tokens []byte // [Tokens×width]
}

// OpenShard opens a shard and verifies its size, its checksum and that every number in it is within its bounds.
func OpenShard(path string) (*Shard, error) {
	data, unmap, err := mapFile(path)
	if err != nil {
		return nil, fmt.Errorf("shard %q: %w", path, rootCause(err))
	}
	s, err := parseShard(data)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("shard %q: %w", path, err), unmap())
	}
	s.unmap = unmap
	return s, nil
}

// Close unmaps the shard; it must not be read any more.
func (s *Shard) Close() error {
	s.data, s.tokens, s.docs = nil, nil, nil
	return s.unmap()
}

func parseShard(data []byte) (*Shard, error) {
	le := binary.LittleEndian
	if len(data) < headerSize || string(data[:8]) != magic {
		return nil, fmt.Errorf("%w: no shard header", ErrCorrupt)
	}
	if v := le.Uint32(data[8:]); v != shardVersion {
		return nil, fmt.Errorf("%w: version %d, expected %d", ErrCorrupt, v, shardVersion)
	}
	width, tokens, docs := uint64(le.Uint32(data[12:])), le.Uint64(data[16:]), le.Uint64(data[32:])
	text, vocab, eot := le.Uint64(data[24:]), le.Uint32(data[40:]), le.Uint32(data[44:])
	size := uint64(len(data))
	switch {
	case width != 2 && width != 4:
		return nil, fmt.Errorf("%w: %d bytes a token, expected 2 or 4", ErrCorrupt, width)
	case tokens > size || docs > size || headerSize+pad8(tokens*width)+docs*entrySize != size:
		return nil, fmt.Errorf("%w: %d tokens and %d documents in a file of %d bytes", ErrCorrupt, tokens, docs, size)
	case vocab > math.MaxInt32 || eot >= vocab || text > math.MaxInt64:
		return nil, fmt.Errorf("%w: end-of-text token %d, vocabulary %d, %d bytes of text", ErrCorrupt, eot, vocab, text)
	}
	h := sha256.New()
	h.Write(data[headerSize:])
	h.Write(data[:sumOffset])
	s := &Shard{
		ShardInfo: ShardInfo{
			Tokens: int64(tokens), Bytes: int64(text), Documents: int64(docs), VocabSize: int(vocab), EOT: int32(eot),
			Tokenizer: string(bytes.TrimRight(data[48:48+hashSize], "\x00")),
		},
		sum: [sha256.Size]byte(data[sumOffset:headerSize]), data: data, width: int(width),
		docs: data[size-docs*entrySize:], tokens: data[headerSize : headerSize+tokens*width],
	}
	if !bytes.Equal(h.Sum(nil), s.sum[:]) {
		return nil, fmt.Errorf("%w: the checksum does not match", ErrCorrupt)
	}
	return s, s.checkBounds()
}

// checkBounds makes sure that no token and no document index can lead a reader astray.
func (s *Shard) checkBounds() error {
	for i := range s.Tokens {
		if t := s.token(i); t < 0 || int(t) >= s.VocabSize {
			return fmt.Errorf("%w: token %d is %d, vocabulary %d", ErrCorrupt, i, t, s.VocabSize)
		}
	}
	start, text := int64(-1), int64(0)
	for i := range s.Documents {
		a, b := s.document(i)
		if a <= start || a >= s.Tokens || b < text || b > s.Bytes || i == 0 && (a != 0 || b != 0) {
			return fmt.Errorf("%w: document %d starts at token %d, byte %d", ErrCorrupt, i, a, b)
		}
		start, text = a, b
	}
	return nil
}

func (s *Shard) token(i int64) int32 {
	if s.width == 2 {
		return int32(binary.LittleEndian.Uint16(s.tokens[2*i:]))
	}
	return int32(binary.LittleEndian.Uint32(s.tokens[4*i:]))
}

// document returns the first token of document i and the bytes of text before it; document Documents stands for the end.
func (s *Shard) document(i int64) (start, text int64) {
	if i == s.Documents {
		return s.Tokens, s.Bytes
	}
	e := s.docs[i*entrySize:]
	return int64(binary.LittleEndian.Uint64(e)), int64(binary.LittleEndian.Uint64(e[8:]))
}

func pad8(n uint64) uint64 { return (n + 7) &^ 7 }

// shardWriter writes a shard front to back, and its header last.
type shardWriter struct {
	path  string
	f     *os.File
	w     *bufio.Writer
	hash  hash.Hash
	info  ShardInfo
	width int
	docs  []byte
	buf   []byte
}

func createShard(path string, enc Encoder) (*shardWriter, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	w := &shardWriter{path: path, f: f, hash: sha256.New(), width: 4}
	w.info = ShardInfo{VocabSize: enc.VocabSize, EOT: enc.EOT, Tokenizer: enc.Hash}
	if enc.VocabSize <= 1<<16 {
		w.width = 2
	}
	w.w = bufio.NewWriterSize(io.MultiWriter(f, w.hash), 1<<20)
	_, err = f.Write(make([]byte, headerSize))
	return w, err
}

// begin starts a document.
func (w *shardWriter) begin() {
	w.docs = binary.LittleEndian.AppendUint64(w.docs, uint64(w.info.Tokens))
	w.docs = binary.LittleEndian.AppendUint64(w.docs, uint64(w.info.Bytes))
	w.info.Documents++
}

// add writes tokens that stand for n bytes of text.
func (w *shardWriter) add(ids []int32, n int) error {
	w.buf = w.buf[:0]
	for _, id := range ids {
		if w.width == 2 {
			w.buf = binary.LittleEndian.AppendUint16(w.buf, uint16(id))
		} else {
			w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(id))
		}
	}
	w.info.Tokens += int64(len(ids))
	w.info.Bytes += int64(n)
	_, err := w.w.Write(w.buf)
	return err
}

// end ends a document.
func (w *shardWriter) end() error { return w.add([]int32{w.info.EOT}, 0) }

// finish writes the index and the header, syncs and closes the file, and returns the checksum.
func (w *shardWriter) finish() (sum [sha256.Size]byte, err error) {
	body := uint64(w.info.Tokens) * uint64(w.width)
	w.w.Write(make([]byte, pad8(body)-body)) // a bufio.Writer keeps its first error until Flush
	w.w.Write(w.docs)
	if err := w.w.Flush(); err != nil {
		return sum, err
	}
	head := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(head, magic)
	le.PutUint32(head[8:], shardVersion)
	le.PutUint32(head[12:], uint32(w.width))
	le.PutUint64(head[16:], uint64(w.info.Tokens))
	le.PutUint64(head[24:], uint64(w.info.Bytes))
	le.PutUint64(head[32:], uint64(w.info.Documents))
	le.PutUint32(head[40:], uint32(w.info.VocabSize))
	le.PutUint32(head[44:], uint32(w.info.EOT))
	copy(head[48:], w.info.Tokenizer)
	w.hash.Write(head[:sumOffset])
	sum = [sha256.Size]byte(w.hash.Sum(nil))
	copy(head[sumOffset:], sum[:])
	if _, err := w.f.WriteAt(head, 0); err != nil {
		return sum, err
	}
	if err := w.f.Sync(); err != nil {
		return sum, err
	}
	return sum, w.f.Close()
}

// abandon closes the file of a shard that is not finished.
func (w *shardWriter) abandon() { w.f.Close() }
