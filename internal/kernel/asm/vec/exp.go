package vec

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// expPoly is e^r on |r| ≤ ln2/2 by powers of r from the highest down: minimax of the relative error (3e-9) with the first two coefficients 1.
var expPoly = []float32{0.0013818296138197184, 0.008368532173335552, 0.04166829213500023, 0.1666652262210846, 0.4999999403953552, 1, 1}

// Exp returns e^x and overwrites x. The error is below 2 units in the last place, gradual underflow included; e^0 is 1, e^−∞ 0, what is
// too large ∞, and NaN stays NaN. It is x = n·ln2 + r, then 2^n·e^r.
func (w Width) Exp(x reg.VecVirtual) reg.VecVirtual {
	magic := Const(0x1.8p23) // adding it rounds to an integer in the low bits
	n := w.New()
	VMINPS(x, w.Fill(89), x) // the operand that comes first here is the one that is kept if it is NaN
	VMAXPS(x, w.Fill(-105), x)
	t := w.Fill(1.442695040888963407)
	w.Apply(MulAdd, magic, x, t)
	w.Apply(Sub, magic, t, n)
	w.Apply(TakeAway, Const(0.693359375), n, x)
	w.Apply(TakeAway, Const(-0.00021219444005469058), n, x)
	p := w.Fill(expPoly[0])
	for _, c := range expPoly[1:] {
		w.Apply(MulAdd, Const(c), x, p)
	}
	if w == AVX512 {
		VSCALEFPS(n, p, p)
		return p
	}
	// 2^n may leave the range of floats where 2^n·e^r does not: multiply by 2^⌊n/2⌋ and by 2^⌈n/2⌉.
	half := n
	VPSLLD(Imm(22), t, half)
	VPAND(ConstBits(0xff800000), half, half)
	VPSLLD(Imm(23), t, t)
	VPSUBD(half, t, t)
	VPADDD(Const(1), half, half)
	VPADDD(Const(1), t, t)
	VMULPS(half, p, p)
	VMULPS(t, p, p)
	return p
}

// Sigmoid returns 1/(1+e^−x), which is also the derivative of log(1+e^x).
func (w Width) Sigmoid(x reg.VecVirtual) reg.VecVirtual {
	minus := w.New()
	w.Apply(Flip, ConstBits(0x80000000), x, minus)
	e := w.Exp(minus)
	one := w.Fill(1)
	VADDPS(one, e, e)
	VDIVPS(e, one, e)
	return e
}
