package kernel

import "github.com/klauspost/cpuid/v2"

// Has tells whether this machine, its operating system included, can run a level.
func Has(l Level) bool {
	switch l {
	case AVX2:
		return cpuid.CPU.Supports(cpuid.AVX2, cpuid.FMA3)
	case AVX512:
		return Has(AVX2) && cpuid.CPU.Supports(cpuid.AVX512F, cpuid.AVX512VL, cpuid.AVX512DQ, cpuid.AVX512BW)
	case AVX512BF16:
		return Has(AVX512) && cpuid.CPU.Supports(cpuid.AVX512BF16, cpuid.BMI2)
	}
	return true
}
