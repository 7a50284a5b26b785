//go:build !amd64

package kernel

func (l Level) fmaPeak(rounds int) float64 { return fmaPeakGeneric(rounds) }
