package corpus

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestCompressed(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, 50_000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	half := string(noise[:40_000]) // repeats beyond gzip's window, within xz's
	for _, path := range []bool{true, false} {
		if !path {
			t.Setenv("PATH", "")
		}
		for name, c := range map[string]struct {
			text             string
			gzipMin, gzipMax int64
			xzMin, xzMax     int64
		}{
			"empty":  {"", 1, 100, 1, 100},
			"noise":  {string(noise), 50_000, 50_200, 50_000, 50_400},
			"far":    {half + half, 80_000, 80_300, 40_000, 41_000},
			"spaces": {strings.Repeat(" ", 100_000), 1, 300, 1, 300},
		} {
			s, err := Compressed(t.Context(), []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if s.Raw != int64(len(c.text)) || s.Gzip < c.gzipMin || s.Gzip > c.gzipMax || s.XZ < c.xzMin || s.XZ > c.xzMax {
				t.Errorf("%s: %+v", name, s)
			}
			if !path && s.XZBy != "xz (Go)" {
				t.Errorf("%s: xz by %q", name, s.XZBy)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Compressed(ctx, noise)
	wantError(t, err, "cancel")
}
