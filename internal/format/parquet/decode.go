package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The encodings of text, by Parquet's numbers.
const (
	encodingPlain           = 0
	encodingPlainDictionary = 2
	encodingDeltaLength     = 6
	encodingDeltaBytes      = 7
	encodingDictionary      = 8
)

var errPage = errors.New("the page's values do not fill the page that its header describes")

// plainTexts reads n texts, each behind its length in four bytes, as views of b.
func plainTexts(dst [][]byte, b []byte, n int) ([][]byte, error) {
	for range n {
		if len(b) < 4 {
			return dst, errPage
		}
		size := binary.LittleEndian.Uint32(b)
		if b = b[4:]; uint64(size) > uint64(len(b)) {
			return dst, errPage
		}
		dst, b = append(dst, b[:size]), b[size:]
	}
	return dst, nil
}

// hybrid reads len(dst) numbers of width bits from runs of one number and runs of packed numbers (the RLE/bit-packing hybrid).
func hybrid(dst []uint32, b []byte, width int) error {
	if width < 0 || width > 32 {
		return fmt.Errorf("numbers of %d bits: expected at most 32", width)
	}
	for len(dst) > 0 {
		head, n := binary.Uvarint(b)
		if n <= 0 {
			return errPage
		}
		b = b[n:]
		count := int(min(head>>1, math.MaxInt32))
		if head&1 == 0 {
			bytes := (width + 7) / 8
			if count == 0 || len(b) < bytes {
				return errPage
			}
			var raw [4]byte
			copy(raw[:], b[:bytes])
			b = b[bytes:]
			run := dst[:min(count, len(dst))]
			for i := range run {
				run[i] = binary.LittleEndian.Uint32(raw[:])
			}
			dst = dst[len(run):]
			continue
		}
		run := dst[:min(8*count, len(dst))]
		if len(run) == 0 || len(b) < (len(run)*width+7)/8 {
			return errPage
		}
		unpack(run, b, width)
		dst, b = dst[len(run):], b[min(count*width, len(b)):]
	}
	return nil
}

// unpack reads numbers of width bits, the lowest bit first.
func unpack(dst []uint32, b []byte, width int) {
	bits, have := uint64(0), 0
	for i := range dst {
		for have < width {
			bits |= uint64(b[0]) << have
			b, have = b[1:], have+8
		}
		dst[i] = uint32(bits & (1<<width - 1))
		bits, have = bits>>width, have-width
	}
}

// deltas reads n numbers of DELTA_BINARY_PACKED and returns what follows them.
func deltas(dst []int32, b []byte, n int) ([]int32, []byte, error) {
	var head [4]uint64 // block size, miniblocks a block, values, first value
	for i := range head {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return dst, b, errPage
		}
		head[i], b = v, b[size:]
	}
	block, minis := head[0], head[1]
	if head[2] != uint64(n) || block == 0 || block > 1<<20 || minis == 0 || minis > 512 || block%minis != 0 || block/minis%8 != 0 {
		return dst, b, fmt.Errorf("blocks of %d numbers in %d parts, %d in all: expected %d in all", block, minis, head[2], n)
	}
	value := unzigzag(head[3])
	if n > 0 {
		dst = append(dst, int32(value))
	}
	each := int(block / minis)
	for left := n - 1; left > 0; {
		least, size := binary.Uvarint(b)
		if size <= 0 || len(b)-size < int(minis) {
			return dst, b, errPage
		}
		widths := b[size:][:minis]
		b = b[size+int(minis):]
		for _, width := range widths {
			if left <= 0 {
				break
			}
			bytes := each / 8 * int(width)
			if width > 32 || len(b) < bytes {
				return dst, b, errPage
			}
			part := make([]uint32, min(each, left))
			unpack(part, b, int(width))
			for _, d := range part {
				value += unzigzag(least) + int64(d)
				dst = append(dst, int32(value))
			}
			b, left = b[bytes:], left-len(part)
		}
	}
	return dst, b, nil
}

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// deltaLengthTexts reads n texts of DELTA_LENGTH_BYTE_ARRAY: all lengths, then all bytes.
func deltaLengthTexts(dst [][]byte, b []byte, n int) ([][]byte, error) {
	lengths, b, err := deltas(nil, b, n)
	if err != nil {
		return dst, err
	}
	for _, size := range lengths {
		if size < 0 || int(size) > len(b) {
			return dst, errPage
		}
		dst, b = append(dst, b[:size]), b[size:]
	}
	return dst, nil
}

// deltaTexts reads n texts of DELTA_BYTE_ARRAY: how much each shares with the one before it, and the rest. most bounds their bytes in all.
func deltaTexts(dst [][]byte, b []byte, n, most int) ([][]byte, error) {
	shared, b, err := deltas(nil, b, n)
	if err != nil {
		return dst, err
	}
	rests, err := deltaLengthTexts(nil, b, n)
	if err != nil {
		return dst, err
	}
	var before []byte
	for i, rest := range rests {
		if shared[i] < 0 || int(shared[i]) > len(before) {
			return dst, errPage
		}
		text := append(append(make([]byte, 0, int(shared[i])+len(rest)), before[:shared[i]]...), rest...)
		if most -= len(text); most < 0 {
			return dst, errors.New("the page's texts are longer than any page may be")
		}
		dst, before = append(dst, text), text
	}
	return dst, nil
}
