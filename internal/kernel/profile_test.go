package kernel

import "testing"

// TestProfile: every call is recorded once, products apart by shape with the packing inside their time, and nothing while recording is off.
func TestProfile(t *testing.T) {
	for _, level := range Levels() {
		c := mustCPU(t, level, 2)
		const n, in, out = 20, 48, 33
		x, w, y := make([]float32, n*in), make([]float32, out*in), make([]float32, n*out)
		c.Linear(y, x, w, n, in, out, false)
		if len(c.Usages()) != 0 {
			t.Fatalf("%s: recorded while off: %v", level, c.Usages())
		}
		c.Profile(true)
		packed := c.Pack(nil, w, in, out)
		c.Linear(y, x, w, n, in, out, false)
		c.Linear(y, x, w, n, in, out, false)
		c.LinearPacked(y, x, packed, n, false)
		c.LinearBackwardInput(x, y, w, n, in, out, false)
		c.Add(y, y)
		want := []Usage{{Work: Work{"pack", 0, 0, 0, 4 * 2 * in * out}, Calls: 1}, {Work: Work{"linear", in, out, 3 * 2 * n * in * out, 3 * 4 * (n*(in+out) + in*out)}, Calls: 3},
			{Work: Work{"dx", in, out, 2 * n * in * out, 4 * (n*(in+out) + in*out)}, Calls: 1}, {Work: Work{"add", 0, 0, 0, 4 * 3 * n * out}, Calls: 1}}
		got := c.Usages()
		if len(got) != len(want) {
			t.Fatalf("%s: %v", level, got)
		}
		for i, u := range got {
			if u.Work != want[i].Work || u.Calls != want[i].Calls || u.Packing > u.Time {
				t.Errorf("%s: %+v, want %+v", level, u, want[i])
			}
		}
		c.Profile(false)
		c.Add(y, y)
		if len(c.Usages()) != 0 {
			t.Errorf("%s: recorded after the end", level)
		}
	}
}

// TestProfileDoesNotAllocate: a kernel allocates nothing while it is recorded.
func TestProfileDoesNotAllocate(t *testing.T) {
	c := mustCPU(t, Levels()[len(Levels())-1], 2)
	y := make([]float32, 100)
	c.Profile(true)
	if a := testing.AllocsPerRun(100, func() { c.Add(y, y) }); a != 0 {
		t.Errorf("a recorded kernel allocates %v times", a)
	}
}
