package memory

import (
	"testing"
	"unsafe"
)

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

// TestMove: a page takes its values along and leaves zeros, there and back again.
func TestMove(t *testing.T) {
	size := PageLen[float32]()
	a, b := Whole(Make[float32](4 * size))[:size], Whole(Make[float32](4 * size))[:size]
	for i := range a {
		a[i], b[i] = float32(i), -1
	}
	if Move(a[1:], b) || Move(a, b[:size-1]) {
		t.Fatal("parts of pages were moved")
	}
	for turn := range 3 {
		if !Move(b, a) {
			if turn > 0 {
				t.Fatal("a page that was moved once cannot be moved again")
			}
			t.Skip("this system does not move pages")
		}
		for i := range a {
			if a[i] != 0 || b[i] != float32(i) {
				t.Fatalf("turn %d: value %d is %v, and %v where it was", turn, i, b[i], a[i])
			}
		}
		a, b = b, a
	}
}

// TestWhole: the part of whole pages begins and ends at a page's bounds, and is nothing where there is none.
func TestWhole(t *testing.T) {
	size := PageLen[float32]()
	s := Make[float32](4 * size)
	w := Whole(s)
	if len(w)%size != 0 || len(w) < 3*size || uintptr(unsafe.Pointer(&w[0]))%hugePage != 0 {
		t.Fatalf("%d values at %p", len(w), &w[0])
	}
	if n := len(Whole(w[1 : size+1])); n != 0 {
		t.Errorf("%d values of a part without a whole page", n)
	}
	if len(Whole(s[:0])) != 0 || len(Whole(w[1:2*size])) != size {
		t.Error("Whole of parts")
	}
}
