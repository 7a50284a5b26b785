package vec

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// At is a place of one register in the data of a sweep.
type At struct {
	Width
	Part  int // which register of a block
	index reg.GPVirtual
	disp  int
	mask  reg.Register // of the lanes before the end of the data; nil means all
}

// Sweep emits body for n floats, n being used up: groups of so many blocks, then single blocks, then what is left under a mask.
// body gets the registers of the group or block.
func (w Width) Sweep(n reg.GPVirtual, blocks int, body func(group []At)) {
	index := GP64()
	XORQ(index, index)
	w.SweepFrom(index, n, blocks, body)
}

// SweepFrom is Sweep from the byte index on.
func (w Width) SweepFrom(index, n reg.GPVirtual, blocks int, body func(group []At)) {
	steps := []int{blocks, 1}
	if blocks == 1 {
		steps = steps[:1]
	}
	for _, step := range steps {
		loop, done := NewLabel("loop"), NewLabel("done")
		CMPQ(n, U32(step*Block))
		JLT(LabelRef(done))
		Label(loop)
		body(w.group(index, step, nil))
		ADDQ(U32(step*Block*4), index)
		SUBQ(U32(step*Block), n)
		CMPQ(n, U32(step*Block))
		JGE(LabelRef(loop))
		Label(done)
	}
	end := NewLabel("end")
	TESTQ(n, n)
	JZ(LabelRef(end))
	body(w.group(index, 1, w.masks(n)))
	Label(end)
}

func (w Width) group(index reg.GPVirtual, blocks int, masks []reg.Register) []At {
	out := make([]At, blocks*w.Parts())
	for i := range out {
		out[i] = At{Width: w, Part: i % w.Parts(), index: index, disp: i * w.Bytes}
		if masks != nil {
			out[i].mask = masks[i]
		}
	}
	return out
}

var tailMasks *Mem

// masks selects the first n lanes of a block, for n below its length.
func (w Width) masks(n reg.GPVirtual) []reg.Register {
	if w == AVX512 {
		all, k := GP32(), K()
		MOVL(U32(math.MaxUint32), all)
		BZHIL(n.As32(), all, all)
		KMOVW(all, k)
		return []reg.Register{k}
	}
	if tailMasks == nil {
		m := GLOBL("tailMasks", attr.RODATA|attr.NOPTR)
		for i := range Block {
			DATA(4*i, U32(math.MaxUint32))
		}
		for i := range Block {
			DATA(4*(Block+i), U32(0))
		}
		tailMasks = &m
	}
	at := GP64()
	LEAQ(*tailMasks, at)
	NEGQ(n)
	out := make([]reg.Register, w.Parts())
	for i := range out {
		out[i] = w.Copy(Mem{Base: at, Index: n, Scale: 4, Disp: 4*Block + i*w.Bytes})
	}
	return out
}

func (a At) mem(p reg.Register) Mem { return Mem{Base: p, Index: a.index, Scale: 1, Disp: a.disp} }

// Load returns the floats at p in a new register, zeros beyond the end.
func (a At) Load(p reg.Register) reg.VecVirtual {
	v := a.New()
	switch {
	case a.mask == nil:
		VMOVUPS(a.mem(p), v)
	case a.Width == AVX512:
		VMOVUPS_Z(a.mem(p), a.mask, v)
	default:
		VMASKMOVPS(a.mem(p), a.mask, v)
	}
	return v
}

// Store writes v to p, nothing beyond the end.
func (a At) Store(v, p reg.Register) {
	switch {
	case a.mask == nil:
		VMOVUPS(v, a.mem(p))
	case a.Width == AVX512:
		VMOVUPS(v, a.mask, a.mem(p))
	default:
		VMASKMOVPS(v, a.mask, a.mem(p))
	}
}

// Fill sets the lanes of v beyond the end to those of with.
func (a At) Fill(v, with reg.Register) {
	switch {
	case a.mask == nil:
	case a.Width == AVX512:
		VBLENDMPS(v, with, a.mask, v)
	default:
		VBLENDVPS(a.mask, v, with, v)
	}
}

// Add emits z = y + x.
func Add(x, y, z Op) { VADDPS(x, y, z) }

// Max emits z = max(y, x), which is x if either is NaN.
func Max(x, y, z Op) { VMAXPS(x, y, z) }

// Reduce emits the reduction of registers of whole blocks to lane 0 by op: neighbouring blocks first, then the halves of what is left.
func (w Width) Reduce(v []reg.VecVirtual, op func(x, y, z Op)) reg.Register {
	for len(v) > 1 {
		half := len(v) / 2
		if half >= w.Parts() {
			v = w.foldBlocks(v, op)
			continue
		}
		for i := range half {
			op(v[half+i], v[i], v[i])
		}
		v = v[:half]
	}
	y := v[0]
	tmp := YMM()
	if w == AVX512 {
		VEXTRACTF64X4(Imm(1), y, tmp)
		op(tmp, y.AsY(), y.AsY())
	}
	VEXTRACTF128(Imm(1), y.AsY(), tmp.AsX())
	op(tmp.AsX(), y.AsX(), y.AsX())
	VPERMILPD(Imm(1), y.AsX(), tmp.AsX())
	op(tmp.AsX(), y.AsX(), y.AsX())
	VMOVSHDUP(y.AsX(), tmp.AsX())
	op(tmp.AsX(), y.AsX(), y.AsX())
	return y.AsX()
}

// Sum emits a sweep over n floats, which is used up, that adds to four blocks of sums, and returns the total in lane 0.
func (w Width) Sum(n reg.GPVirtual, body func(a At, sum reg.VecVirtual)) reg.Register {
	sum := w.Zeros(4 * w.Parts())
	w.Sweep(n, 4, func(group []At) {
		for i, a := range group {
			body(a, sum[i])
		}
	})
	return w.Reduce(sum, Add)
}

// foldBlocks adds to every even block the odd one behind it.
func (w Width) foldBlocks(v []reg.VecVirtual, op func(x, y, z Op)) []reg.VecVirtual {
	var out []reg.VecVirtual
	for i := 0; i < len(v); i += 2 * w.Parts() {
		for j := range w.Parts() {
			op(v[i+w.Parts()+j], v[i+j], v[i+j])
			out = append(out, v[i+j])
		}
	}
	return out
}

// Doubles is 16 partial sums in double precision, one for each float of a block.
type Doubles struct {
	w   Width
	sum []reg.VecVirtual
}

// NewDoubles returns sums of zero.
func (w Width) NewDoubles() Doubles { return Doubles{w, w.Zeros(2 * w.Parts())} }

// Each converts register part of a block to doubles, and gives its halves to f with their sums.
func (d Doubles) Each(v reg.VecVirtual, part int, f func(x, sum reg.VecVirtual)) {
	x := d.w.New()
	VCVTPS2PD(d.w.low(v), x)
	f(x, d.sum[2*part])
	if d.w == AVX512 {
		VEXTRACTF64X4(Imm(1), v, x.AsY())
	} else {
		VEXTRACTF128(Imm(1), v, x.AsX())
	}
	VCVTPS2PD(d.w.low(x), x)
	f(x, d.sum[2*part+1])
}

// Add adds register part of a block to the sums.
func (d Doubles) Add(v reg.VecVirtual, part int) {
	d.Each(v, part, func(x, sum reg.VecVirtual) { VADDPD(x, sum, sum) })
}

// SumDoubles emits a sweep over a parameter that adds up what body gives, at most four of a lane in single precision before it goes on in double, and
// returns the total in the lowest double.
func (w Width) SumDoubles(slice string, body func(a At) reg.VecVirtual) reg.Register {
	zero := w.Zero()
	sums := w.NewDoubles()
	w.Sweep(Len(slice), 4, func(group []At) {
		part := make([]reg.VecVirtual, w.Parts())
		for _, a := range group {
			v := body(a)
			a.Fill(v, zero)
			if part[a.Part] == nil {
				part[a.Part] = v
			} else {
				VADDPS(v, part[a.Part], part[a.Part])
			}
		}
		for i, v := range part {
			sums.Add(v, i)
		}
	})
	return sums.Total()
}

// Total emits the sum of the sums to the lowest double.
func (d Doubles) Total() reg.Register {
	half := len(d.sum) / 2
	for i := range half {
		VADDPD(d.sum[half+i], d.sum[i], d.sum[i])
	}
	y, tmp := d.sum[0], YMM()
	if d.w == AVX512 {
		VEXTRACTF64X4(Imm(1), y, tmp)
		VADDPD(tmp, y.AsY(), y.AsY())
	} else {
		VADDPD(d.sum[1], y, y)
	}
	VEXTRACTF128(Imm(1), y.AsY(), tmp.AsX())
	VADDPD(tmp.AsX(), y.AsX(), y.AsX())
	VPERMILPD(Imm(1), y.AsX(), tmp.AsX())
	VADDSD(tmp.AsX(), y.AsX(), y.AsX())
	return y.AsX()
}
