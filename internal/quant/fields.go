package quant

import "encoding/binary"

// Fields is 32 values of a block as it stores them. With the type's offset o they are (Q−o)·Scale, or Q·Scale+Minimum. In the K types Scale is
// multiplied by Sub[0], and Minimum subtracted Sub[1] times; in Q6_K Sub has the signed scales of the two halves.
type Fields struct {
	Q              [32]uint8
	Scale, Minimum uint16 // half precision
	Sub            [2]uint8
}

// Fields reads the run of 32 values of a block: 0, or in the K types one of 0 to 7. Types that are not in blocks have none.
func (t Type) Fields(f *Fields, block []byte, run int) {
	f.Scale = binary.LittleEndian.Uint16(block)
	switch t {
	case Q8_0:
		for i, q := range block[2:34] {
			f.Q[i] = q ^ 0x80
		}
	case Q4_0:
		f.nibbles(block[2:18])
	case Q4_1:
		f.Minimum = binary.LittleEndian.Uint16(block[2:])
		f.nibbles(block[4:20])
	case Q5_0:
		f.nibbles(block[6:22])
		f.fifths(binary.LittleEndian.Uint32(block[2:]))
	case Q5_1:
		f.Minimum = binary.LittleEndian.Uint16(block[2:])
		f.nibbles(block[8:24])
		f.fifths(binary.LittleEndian.Uint32(block[4:]))
	case Q4_K, Q5_K:
		f.superBlock(block, run, t == Q5_K)
	case Q6_K:
		f.sixths(block, run)
	}
}

func (f *Fields) nibbles(b []byte) {
	for i, q := range b {
		f.Q[i], f.Q[i+16] = q&15, q>>4
	}
}

func (f *Fields) fifths(high uint32) {
	for i := range f.Q {
		f.Q[i] |= uint8(high>>i&1) << 4
	}
}

// superBlock reads run j of Q4_K or Q5_K.
func (f *Fields) superBlock(b []byte, j int, fifth bool) {
	f.Minimum = binary.LittleEndian.Uint16(b[2:])
	f.Sub[0], f.Sub[1] = subScale(b[4:16], j)
	q, high := b[16:], []byte(nil)
	if fifth {
		high, q = b[16:48], b[48:]
	}
	for i := range f.Q {
		f.Q[i] = q[j/2*32+i] >> (4 * (j & 1)) & 15
		if fifth {
			f.Q[i] |= high[i] >> j & 1 << 4
		}
	}
}

// sixths reads run j of Q6_K.
func (f *Fields) sixths(b []byte, j int) {
	low, high, scales := b[:128], b[128:192], b[192:208]
	f.Scale = binary.LittleEndian.Uint16(b[208:])
	part, run := j/4, j%4
	f.Sub[0], f.Sub[1] = scales[8*part+2*run], scales[8*part+2*run+1]
	for i := range f.Q {
		f.Q[i] = low[64*part+32*(run&1)+i]>>(4*(run>>1))&15 | high[32*part+i]>>(2*run)&3<<4
	}
}
