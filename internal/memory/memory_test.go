package memory

import "testing"

// TestMake: whatever the size, the slice has its length and zeros, and can be written to its end.
func TestMake(t *testing.T) {
	for _, n := range []int{0, 1, 1000, hugePage/4 - 1, hugePage / 4, hugePage/2 + 3, 3 * hugePage} {
		s := Make[float32](n)
		if len(s) != n {
			t.Fatalf("%d values, want %d", len(s), n)
		}
		for i := range s {
			if s[i] != 0 {
				t.Fatalf("n=%d: value %d is %v", n, i, s[i])
			}
			s[i] = 1
		}
	}
}
