package corpus

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// randomShard has documents of random tokens, and returns them as one stream that begins with the end-of-text token before the first.
func randomShard(t testing.TB, documents int) (*Shard, []int32) {
	rng := rand.New(rand.NewPCG(3, uint64(documents)))
	enc := byteEncoder()
	stream := []int32{enc.EOT}
	docs := make([][]int32, documents)
	for i := range docs {
		for range rng.IntN(40) {
			docs[i] = append(docs[i], rng.Int32N(256))
		}
		stream = append(append(stream, docs[i]...), enc.EOT)
	}
	return openShard(t, makeShard(t, enc, docs...)), stream
}

// naiveStarts are the rows after an end-of-text token, and the first.
func naiveStarts(tokens []int32, row int) (starts []int32) {
	for i := range tokens {
		if i == 0 || tokens[i-1] == 256 {
			starts = append(starts, int32(row+i))
		}
	}
	return starts
}

// Every epoch gives every window of one cut of the stream once, each epoch in another order.
func TestLoaderEpochs(t *testing.T) {
	s, stream := randomShard(t, 50)
	for _, window := range []int{1, 2, 7, 64, int(s.Tokens) / 2} {
		l, err := NewLoader(s, window, 1, Position{Seed: 5})
		if err != nil {
			t.Fatal(err)
		}
		tokens, targets := make([]int32, window), make([]int32, window)
		var orders [][]int64
		for epoch := range 3 {
			var order []int64
			for l.pos.Epoch == int64(epoch) && (len(order) == 0 || l.pos.Index < l.count) {
				starts := l.Next(tokens, targets, nil)
				at := l.offset + int64(l.perm.at(uint64(l.pos.Index-1)))*l.t
				order = append(order, at)
				if !slices.Equal(tokens, stream[at:at+l.t]) || !slices.Equal(targets, stream[at+1:at+1+l.t]) {
					t.Fatalf("window %d at %d is not the stream's", window, at)
				}
				if want := naiveStarts(tokens, 0); !slices.Equal(starts, want) {
					t.Fatalf("window %d at %d: documents start at %v, want %v", window, at, starts, want)
				}
			}
			sorted := slices.Sorted(slices.Values(order))
			for i, at := range sorted {
				if at != sorted[0]+int64(i*window) {
					t.Fatalf("window %d, epoch %d: windows at %v", window, epoch, sorted)
				}
			}
			if first, end := sorted[0], sorted[len(sorted)-1]+l.t; first >= l.t || int64(len(stream))-1-end >= l.t {
				t.Errorf("window %d, epoch %d: cut from %d to %d of %d", window, epoch, first, end, len(stream))
			}
			orders = append(orders, order)
			if l.pos.Index == l.count { // step into the next epoch, then back to its beginning
				l.Next(tokens, targets, nil)
				if l, err = NewLoader(s, window, 1, Position{Seed: 5, Epoch: l.pos.Epoch}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if window < 64 && (slices.Equal(orders[0], orders[1]) || slices.IsSorted(orders[0])) {
			t.Errorf("window %d: epochs are not shuffled apart", window)
		}
	}
}

// The stream does not depend on how many windows are asked for at once, and a saved position continues it.
func TestLoaderPosition(t *testing.T) {
	s, _ := randomShard(t, 40)
	const window, total = 16, 240 // several epochs
	stream := func(seed uint64, batches ...int) (all, starts []int32) {
		pos := Position{Seed: seed}
		for done, i := 0, 0; done < total; i++ {
			b := min(batches[i%len(batches)], total-done)
			l, err := NewLoader(s, window, 2, pos)
			if err != nil {
				t.Fatal(err)
			}
			tokens, targets := make([]int32, b*window), make([]int32, b*window)
			for _, at := range l.Next(tokens, targets, nil) {
				starts = append(starts, int32(done*window)+at)
			}
			all = append(append(all, tokens...), targets[window-1])
			all = all[:len(all)-1]
			saved, err := json.Marshal(l.Position())
			if err != nil {
				t.Fatal(err)
			}
			pos = Position{}
			if err := json.Unmarshal(saved, &pos); err != nil {
				t.Fatal(err)
			}
			done += b
		}
		return all, starts
	}
	wantTokens, wantStarts := stream(9, total)
	for _, batches := range [][]int{{1}, {8}, {3, 1, 7}} {
		if tokens, starts := stream(9, batches...); !slices.Equal(tokens, wantTokens) || !slices.Equal(starts, wantStarts) {
			t.Errorf("batches of %v windows give another stream", batches)
		}
	}
	if tokens, _ := stream(10, total); slices.Equal(tokens, wantTokens) {
		t.Error("another seed gives the same stream")
	}
}

func TestLoaderErrors(t *testing.T) {
	s, _ := randomShard(t, 20)
	n := int(s.Tokens)
	for _, c := range []struct {
		window, batch int
		pos           Position
		want          []string
	}{
		{0, 1, Position{}, []string{"1×0"}},
		{1, 0, Position{}, []string{"0×1"}},
		{n + 1, 1, Position{}, []string{fmt.Sprint(n, " tokens are too few"), fmt.Sprintf("1×%d", n+1), fmt.Sprint("needs ", 2*n+1), "--data"}},
		{10, n / 10, Position{}, []string{"too few"}},
		{1 << 40, 1 << 40, Position{}, []string{"too few"}},
		{10, 2, Position{Index: -1}, []string{"index -1"}},
		{10, 2, Position{Epoch: -1}, []string{"epoch -1"}},
		{10, 2, Position{Index: int64(n)}, []string{"expected an index of 0 to"}},
	} {
		_, err := NewLoader(s, c.window, c.batch, c.pos)
		wantError(t, err, c.want...)
	}
	if l, err := NewLoader(s, n/3, 2, Position{}); err != nil || l.count < 2 {
		t.Errorf("a batch that just fits: %v", err)
	}
}

func TestNoAllocationPerBatch(t *testing.T) {
	s, _ := randomShard(t, 100)
	l, err := NewLoader(s, 32, 4, Position{})
	if err != nil {
		t.Fatal(err)
	}
	tokens, targets, starts := make([]int32, 128), make([]int32, 128), make([]int32, 0, 128)
	if n := testing.AllocsPerRun(200, func() { l.Next(tokens, targets, starts) }); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

// Every token of the shard, or of its first documents, is a target exactly once.
func TestWindows(t *testing.T) {
	s, stream := randomShard(t, 30)
	for _, window := range []int{1, 3, 16, len(stream) + 5} {
		for _, batch := range []int{1, 4} {
			for _, limit := range []int64{0, 1, 100, s.Bytes, s.Bytes + 1} {
				w, err := NewWindows(s, window, limit)
				if err != nil {
					t.Fatal(err)
				}
				tokens, targets := make([]int32, batch*window), make([]int32, batch*window)
				var in, out, starts, want []int32
				for {
					rows, got := w.Next(tokens, targets, nil)
					if rows == 0 {
						break
					}
					for _, r := range got {
						starts = append(starts, int32(len(in))+r)
					}
					for row := 0; row < rows; row += window {
						want = append(want, naiveStarts(tokens[row:min(row+window, rows)], len(in)+row)...)
					}
					in, out = append(in, tokens[:rows]...), append(out, targets[:rows]...)
				}
				n := int(w.Tokens())
				if !slices.Equal(in, stream[:n]) || !slices.Equal(out, stream[1:n+1]) || !slices.Equal(starts, want) {
					t.Errorf("window %d, batch %d, limit %d: not the first %d tokens", window, batch, limit, n)
				}
				text := 0
				for _, id := range out {
					if id != 256 {
						text++
					}
				}
				if int64(text) != w.Bytes() || stream[n] != 256 {
					t.Errorf("limit %d: %d bytes, want %d", limit, w.Bytes(), text)
				}
				if all := limit == 0 || limit >= s.Bytes; all != (w.Tokens() == s.Tokens) || limit > 1 && w.Bytes() > limit {
					t.Errorf("limit %d gives %d bytes of %d", limit, w.Bytes(), s.Bytes)
				}
			}
		}
	}
	_, err := NewWindows(s, 0, 0)
	wantError(t, err, "windows of 0")
}

func TestPermutation(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 4, 5, 16, 17, 1000, 4097} {
		p := newPermutation(n, n)
		seen := make([]bool, n)
		for i := range n {
			j := p.at(i)
			if j >= n || seen[j] {
				t.Fatalf("n=%d: %d is hit twice or out of range", n, j)
			}
			seen[j] = true
		}
	}
}
