package memory

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestGroupRoom: the tightest limit of a process's control groups and of those above them counts, in either version of the interface.
func TestGroupRoom(t *testing.T) {
	for _, c := range []struct {
		name, groups string
		files        map[string]string
		want         int64
	}{
		{"none", "0::/\n", nil, math.MaxInt64},
		{"v2", "0::/a/b\n", map[string]string{"a/memory.max": "1000\n", "a/memory.current": "700\n", "a/memory.stat": "anon 5\ninactive_file 200\n", "a/b/memory.max": "max\n"}, 500},
		{"v2 child", "0::/a/b\n", map[string]string{"a/memory.max": "1000", "a/b/memory.max": "400", "a/b/memory.current": "100"}, 300},
		{"v1", "8:memory:/a\n3:cpu:/a\n0::/\n", map[string]string{"memory/a/memory.limit_in_bytes": "900", "memory/a/memory.usage_in_bytes": "200",
			"memory/a/memory.stat": "total_inactive_file 50\n"}, 750},
		{"v1 no limit", "8:memory:/a\n", map[string]string{"memory/a/memory.limit_in_bytes": "9223372036854771712"}, math.MaxInt64},
		{"v1 of a host that is not seen", "8:cpu,memory:/docker/1\n", map[string]string{"memory/memory.limit_in_bytes": "900"}, 900},
		{"over the limit", "0::/\n", map[string]string{"memory.max": "100", "memory.current": "200"}, 0},
		{"not of the format", "x\n::\n", nil, math.MaxInt64},
	} {
		root := t.TempDir()
		for name, text := range c.files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if got := groupRoom(c.groups, root); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestPeak: touched memory shows in the peak, and a reset peak no longer shows what was given back.
func TestPeak(t *testing.T) {
	const size = 64 << 20
	before := Peak()
	touch := func() {
		s := Make[float32](size / 4)
		for i := 0; i < len(s); i += 1024 {
			s[i] = 1
		}
		Release(s)
	}
	touch()
	if Peak() < size || Peak() < before {
		t.Errorf("peak %d behind touching %d", Peak(), size)
	}
	if !ResetPeak() {
		t.Skip("this system does not reset the peak")
	}
	if p := Peak(); p > Resident()+size/2 {
		t.Errorf("peak %d of %d resident, behind a reset", p, Resident())
	}
}

// TestZero: a slice is zero behind Zero, whatever its size, and neighbours of it are left alone.
func TestZero(t *testing.T) {
	s := Make[float32](2 * hugePage)
	for _, n := range []int{0, 1, 1000, hugePage / 2, hugePage, 2*hugePage - 6} {
		for i := range s {
			s[i] = 1
		}
		Zero(s[3 : 3+n])
		for i, v := range s {
			if inside := i >= 3 && i < 3+n; inside != (v == 0) {
				t.Fatalf("n=%d: value %d is %v", n, i, v)
			}
		}
	}
}
