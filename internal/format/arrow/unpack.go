package arrow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// The compressions of buffers: Arrow's numbers, with none before them.
const (
	codecNone = 0
	codecLZ4  = 1
	codecZstd = 2
)

// unpacker reads and unpacks buffers.
type unpacker struct {
	packed []byte
	lz4    *lz4.Reader
	zstd   *zstd.Decoder
}

// unpack reads a buffer into dst, which grows where it must.
func (u *unpacker) unpack(dst *[]byte, f *File, s span, codec int) error {
	if codec == codecNone || s.size == 0 {
		*dst = resize(*dst, int(s.size))
		return f.read(*dst, s.at)
	}
	if s.size < 8 {
		return fmt.Errorf("a packed buffer of %d bytes: expected its size in 8 bytes", s.size)
	}
	u.packed = resize(u.packed, int(s.size))
	if err := f.read(u.packed, s.at); err != nil {
		return err
	}
	size, src := int64(binary.LittleEndian.Uint64(u.packed)), u.packed[8:]
	if size == -1 { // would not have become smaller
		*dst = append((*dst)[:0], src...)
		return nil
	}
	if size < 0 || size > maxBuffer || size > bombSize && size/bombRatio > int64(len(src)) {
		return fmt.Errorf("%d bytes that unpack to %d: expected at most %d bytes, and at most %d times as many", len(src), size, maxBuffer, bombRatio)
	}
	*dst = resize(*dst, int(size))
	n, err := u.into(*dst, src, codec)
	if err == nil && n != int(size) {
		err = fmt.Errorf("%d bytes or more where the buffer says %d", n, size)
	}
	if err != nil {
		return fmt.Errorf("unpacking: %w", err)
	}
	return nil
}

// into unpacks src into dst, never beyond it, and returns how many bytes src holds, as far as that shows.
func (u *unpacker) into(dst, src []byte, codec int) (n int, err error) {
	switch codec {
	case codecLZ4:
		in := bytes.NewReader(src)
		if u.lz4 == nil {
			u.lz4 = lz4.NewReader(in)
		}
		u.lz4.Reset(in)
		if n, err = io.ReadFull(u.lz4, dst); err == nil {
			var beyond [1]byte
			var m int
			m, err = io.ReadFull(u.lz4, beyond[:])
			n += m
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n < len(dst) {
			err = nil
		}
		return n, err
	case codecZstd:
		if u.zstd == nil {
			if u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true)); err != nil {
				return 0, err
			}
		}
		out, err := u.zstd.DecodeAll(src, dst[:0:len(dst)])
		return len(out), err
	}
	return 0, fmt.Errorf("compression %d is not supported: expected lz4_frame (%d) or zstd (%d)", codec-codecLZ4, 0, codecZstd-codecLZ4)
}
