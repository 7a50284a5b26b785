package kernel

// fmaPeak runs so many rounds of independent multiply-adds, and returns the FLOPs of peakRounds rounds.
func (l Level) fmaPeak(rounds int) float64 {
	const chains = 12
	switch {
	case l == Generic:
		return fmaPeakGeneric(rounds)
	case rounds == 0:
	case l == AVX2:
		fmaPeakAVX2(rounds)
	case l == AVX512BF16:
		fmaPeakAVX512BF16(rounds)
	default:
		fmaPeakAVX512(rounds)
	}
	lanes := 8
	switch l {
	case AVX512:
		lanes = 16
	case AVX512BF16:
		lanes = 32 // two products in each lane
	}
	return float64(peakRounds * chains * lanes * 2)
}
