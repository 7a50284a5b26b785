package parquet

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// The compressions, by Parquet's numbers.
const (
	codecNone   = 0
	codecSnappy = 1
	codecGzip   = 2
	codecBrotli = 4
	codecZstd   = 6
	codecLZ4    = 7
)

// unpacker unpacks pages.
type unpacker struct{ zstd *zstd.Decoder }

// unpack returns the size bytes that src must unpack to, in dst where that is large enough.
func (u *unpacker) unpack(dst, src []byte, size int, codec int64) ([]byte, error) {
	dst = resize(dst, size)
	if size == 0 {
		return dst, nil
	}
	n, err := u.into(dst, src, codec)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes where the header says %d", n, size)
	}
	if err != nil {
		return dst, fmt.Errorf("unpacking: %w", err)
	}
	return dst, nil
}

// into unpacks src into dst, never beyond it, and returns how many bytes src holds, as far as that shows.
func (u *unpacker) into(dst, src []byte, codec int64) (int, error) {
	switch codec {
	case codecNone:
		copy(dst, src)
		return len(src), nil
	case codecSnappy:
		if n, err := snappy.DecodedLen(src); err != nil || n != len(dst) {
			return n, err
		}
		_, err := snappy.Decode(dst, src)
		return len(dst), err
	case codecGzip:
		z, err := gzip.NewReader(bytes.NewReader(src))
		if err != nil {
			return 0, err
		}
		return fill(dst, z)
	case codecBrotli:
		return fill(dst, brotli.NewReader(bytes.NewReader(src)))
	case codecZstd:
		if u.zstd == nil {
			var err error
			if u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true)); err != nil {
				return 0, err
			}
		}
		out, err := u.zstd.DecodeAll(src, dst[:0:len(dst)])
		return len(out), err
	case codecLZ4:
		return lz4.UncompressBlock(src, dst)
	}
	return 0, fmt.Errorf("compression %d is not supported: expected none, snappy, gzip, brotli, zstd or lz4_raw", codec)
}

// fill fills dst from a stream.
func fill(dst []byte, in io.Reader) (int, error) {
	n, err := io.ReadFull(in, dst)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}
