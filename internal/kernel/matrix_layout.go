package kernel

import (
	"encoding/binary"

	"mor/internal/half"
	"mor/internal/quant"
)

// A panel of a type of few bits is a record for each block of blockIn inputs. The record holds, for the panel's 32 outputs,
//
//   - the quanta, unsigned, in groups of 4 inputs for each output: [8 groups][32][4] bytes for 8 bits, otherwise [4][32][4] bytes, of which the low
//     halves are groups 0 to 3 and the high halves 4 to 7;
//   - with 5 bits [32][4] bytes, whose bit g is the fifth bit of group g; with 6 bits [2][32][4] bytes, whose bits 2g and 2g+1 are the fifth and sixth
//     of group g, or of 4+g in the second half;
//   - the scales, then the minima: [32] numbers in half precision. In the K types they are bytes that the header, before every eighth record, scales:
//     [32] numbers in half precision for the scales, then [32] for the minima.
//
// What a block means is (q − offset)·scale, or q·scale + minimum; in the K types q·scale − minimum.
const (
	blockIn     = 32
	superBlocks = 8
	groupBytes  = 4 * panelOut
)

// layout says where the parts of a record lie.
type layout struct {
	bits           int
	high           int // -1: none
	scale, minimum int // -1: none
	offset         int // subtracted from the quanta
	split          bool
	header, record int // bytes; no header: scales are in half precision
}

// layoutOf is the layout of a type of few bits.
func layoutOf(t quant.Type) layout {
	switch t {
	case quant.Q8_0:
		return layout{8, -1, 1024, -1, 128, false, 0, 1088}
	case quant.Q4_0:
		return layout{4, -1, 512, -1, 8, false, 0, 576}
	case quant.Q4_1:
		return layout{4, -1, 512, 576, 0, false, 0, 640}
	case quant.Q5_0:
		return layout{5, 512, 640, -1, 16, false, 0, 704}
	case quant.Q5_1:
		return layout{5, 512, 640, 704, 0, false, 0, 768}
	case quant.Q4_K:
		return layout{4, -1, 512, 544, 0, false, 128, 576}
	case quant.Q5_K:
		return layout{5, 512, 640, 672, 0, false, 128, 704}
	default: // Q6_K
		return layout{6, 512, 768, -1, 32, true, 64, 832}
	}
}

// recordAt is where the record of block b of row i's panel lies, and its header.
func (m *Matrix) recordAt(l layout, i, b int) (header, record []byte) {
	panel := m.data[i/panelOut*m.panelSize():]
	if l.header == 0 {
		return nil, panel[b*l.record:]
	}
	super := b / superBlocks * (l.header + superBlocks*l.record)
	return panel[super:], panel[super+l.header+b%superBlocks*l.record:]
}

// setBlocks lays out row i of a type of few bits.
func (m *Matrix) setBlocks(i int, raw []byte) {
	l, o := layoutOf(m.Type), i%panelOut
	var f quant.Fields
	size, per := m.Type.Bytes(), m.Type.Values()/blockIn
	for b := range m.blocks() {
		m.Type.Fields(&f, raw[b/per*size:], b%per)
		header, record := m.recordAt(l, i, b)
		for p, q := range f.Q {
			l.set(record, o, p, q)
		}
		if l.header == 0 {
			binary.LittleEndian.PutUint16(record[l.scale+2*o:], f.Scale)
			if l.minimum >= 0 {
				binary.LittleEndian.PutUint16(record[l.minimum+2*o:], f.Minimum)
			}
			continue
		}
		binary.LittleEndian.PutUint16(header[2*o:], f.Scale)
		record[l.scale+o] = f.Sub[0]
		if l.split {
			record[l.scale+panelOut+o] = f.Sub[1]
		}
		if l.minimum >= 0 {
			binary.LittleEndian.PutUint16(header[2*(panelOut+o):], f.Minimum)
			record[l.minimum+o] = f.Sub[1]
		}
	}
}

// set writes quantum p of output o. The record's bits must be zero before.
func (l *layout) set(record []byte, o, p int, q uint8) {
	g, at := p/4, 4*o+p%4
	if l.bits == 8 {
		record[g*groupBytes+at] = q
		return
	}
	record[g%4*groupBytes+at] |= q & 15 << (g / 4 * 4)
	switch l.bits {
	case 5:
		record[l.high+at] |= q >> 4 << g
	case 6:
		record[l.high+g/4*groupBytes+at] |= q >> 4 << (2 * (g % 4))
	}
}

// get reads quantum p of output o.
func (l *layout) get(record []byte, o, p int) uint8 {
	g, at := p/4, 4*o+p%4
	if l.bits == 8 {
		return record[g*groupBytes+at]
	}
	q := record[g%4*groupBytes+at] >> (g / 4 * 4) & 15
	switch l.bits {
	case 5:
		q |= record[l.high+at] >> g & 1 << 4
	case 6:
		q |= record[l.high+g/4*groupBytes+at] >> (2 * (g % 4)) & 3 << 4
	}
	return q
}

// sign is that of the minima.
func (l *layout) sign() float32 {
	if l.header > 0 {
		return -1
	}
	return 1
}

// scales returns the scales of the halves of a block and its minimum without sign, for output o.
func (l *layout) scales(header, record []byte, o int) (scale [2]float32, minimum float32) {
	f16 := func(b []byte) float32 { return half.F16(binary.LittleEndian.Uint16(b)) }
	if l.header == 0 {
		d := f16(record[l.scale+2*o:])
		if l.minimum >= 0 {
			minimum = f16(record[l.minimum+2*o:])
		}
		return [2]float32{d, d}, minimum
	}
	d := f16(header[2*o:])
	if l.split {
		return [2]float32{d * float32(int8(record[l.scale+o])), d * float32(int8(record[l.scale+panelOut+o]))}, 0
	}
	d *= float32(record[l.scale+o])
	return [2]float32{d, d}, f16(header[2*(panelOut+o):]) * float32(record[l.minimum+o])
}

// row expands row i of a type of few bits.
func (m *Matrix) row(dst []float32, i int) {
	l := layoutOf(m.Type)
	for b := range m.blocks() {
		header, record := m.recordAt(l, i, b)
		scale, minimum := l.scales(header, record, i%panelOut)
		part := dst[b*blockIn : min((b+1)*blockIn, len(dst))]
		for p := range part {
			q := float32(int(l.get(record, i%panelOut, p)) - l.offset)
			part[p] = float32(q*scale[p/16]) + l.sign()*minimum
		}
	}
}
