package uptrain

import (
	"cmp"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"mor/internal/kernel"
)

const (
	oversample = 10 // directions beyond the rank that the subspace iteration follows
	iterations = 4  // of the subspace iteration
	exactBelow = 64 // matrices with a side no longer than this are decomposed whole
	maxSweeps  = 60 // of Jacobi rotations; ten are usual
)

// lowRank is the best approximation of a matrix D[m,n] of some rank: the sum of value[i]·left[i]·right[i]ᵀ.
type lowRank struct {
	left  [][]float64 // [rank][m], of length 1, or 0 where the value is
	right [][]float64 // [rank][n], likewise
	value []float64   // [rank] singular values, descending
}

// truncate computes the truncated singular value decomposition of d[m,n]. Small matrices, and ranks near the full one, are decomposed by one-sided
// Jacobi rotations; others are first projected on the subspace of their largest directions, found by iteration from a drawn start
// (Halko, Martinsson, Tropp 2011). The name seeds the draw. rank may exceed m or n: the rest is zero.
func truncate(cpu *kernel.CPU, d []float32, m, n, rank int, name string) *lowRank {
	k := min(rank+oversample, m, n)
	var q, rows [][]float64 // D is approximately Σ_p q[p]·rows[p]ᵀ, with orthonormal q
	switch {
	case k < min(m, n) && min(m, n) > exactBelow:
		q, rows = project(cpu, d, m, n, k, name)
	case m <= n:
		rows = split(d, m, n)
	default:
		t := truncateRows(nil, split(transpose(d, m, n), n, m), rank, n, m)
		return &lowRank{t.right, t.left, t.value}
	}
	return truncateRows(q, rows, rank, m, n)
}

// truncateRows decomposes Σ_p q[p]·rows[p]ᵀ; nil for q stands for the unit vectors.
func truncateRows(q, rows [][]float64, rank, m, n int) *lowRank {
	turn := jacobi(rows)
	order := make([]int, len(rows))
	value := make([]float64, len(rows))
	for i, r := range rows {
		order[i], value[i] = i, math.Sqrt(dot(r, r))
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(value[b], value[a]) })
	out := &lowRank{}
	for i := range rank {
		left, right, s := make([]float64, m), make([]float64, n), 0.0
		if i < len(order) && value[order[i]] > 0 {
			at := order[i]
			s = value[at]
			for j, v := range rows[at] {
				right[j] = v / s
			}
			if q == nil {
				copy(left, turn[at])
			}
			for p := range q {
				axpy(left, turn[at][p], q[p])
			}
		}
		out.left, out.right, out.value = append(out.left, left), append(out.right, right), append(out.value, s)
	}
	return out
}

// jacobi turns the rows until each is orthogonal to every other (Hestenes 1958), and returns the rotation: new rows = turn · old rows.
func jacobi(rows [][]float64) (turn [][]float64) {
	turn = make([][]float64, len(rows))
	for i := range turn {
		turn[i] = make([]float64, len(rows))
		turn[i][i] = 1
	}
	for range maxSweeps {
		still := true
		for p := range rows {
			for q := p + 1; q < len(rows); q++ {
				a, b, g := dot(rows[p], rows[p]), dot(rows[q], rows[q]), dot(rows[p], rows[q])
				if g == 0 || math.Abs(g) <= 1e-14*math.Sqrt(a*b) {
					continue
				}
				still = false
				zeta := (b - a) / (2 * g)
				t := math.Copysign(1/(math.Abs(zeta)+math.Hypot(1, zeta)), zeta)
				c := 1 / math.Hypot(1, t)
				rotate(rows[p], rows[q], c, c*t)
				rotate(turn[p], turn[q], c, c*t)
			}
		}
		if still {
			break
		}
	}
	return turn
}

// project finds k orthonormal directions q of [m] that hold most of d[m,n], and rows = qᵀ·d.
func project(cpu *kernel.CPU, d []float32, m, n, k int, name string) (q, rows [][]float64) {
	h := fnv.New64a()
	h.Write([]byte(name))
	rng := rand.New(rand.NewPCG(1, h.Sum64()))
	right, left := make([]float32, k*n), make([]float32, k*m)
	for i := range right {
		right[i] = float32(rng.NormFloat64())
	}
	for range iterations {
		cpu.Linear(left, right, d, k, n, m, false)
		orthonormal(left, k, m)
		cpu.LinearBackwardInput(right, left, d, k, n, m, false)
		orthonormal(right, k, n)
	}
	cpu.Linear(left, right, d, k, n, m, false)
	q = orthonormal(left, k, m)
	cpu.LinearBackwardInput(right, left, d, k, n, m, false)
	return q, split(right, k, n)
}

// orthonormal makes the k rows of x[k,n] orthonormal by Gram–Schmidt, twice for accuracy. A row that depends on those before it becomes zero.
func orthonormal(x []float32, k, n int) [][]float64 {
	rows := split(x, k, n)
	for i, r := range rows {
		before := math.Sqrt(dot(r, r))
		for range 2 {
			for _, p := range rows[:i] {
				axpy(r, -dot(r, p), p)
			}
		}
		scale := 0.0
		if length := math.Sqrt(dot(r, r)); length > 1e-7*before {
			scale = 1 / length
		}
		for j := range r {
			r[j] *= scale
			x[i*n+j] = float32(r[j])
		}
	}
	return rows
}

func split(x []float32, rows, n int) [][]float64 {
	out := make([][]float64, rows)
	for i := range out {
		out[i] = make([]float64, n)
		for j, v := range x[i*n : (i+1)*n] {
			out[i][j] = float64(v)
		}
	}
	return out
}

func transpose(x []float32, m, n int) []float32 {
	out := make([]float32, len(x))
	for i := range m {
		for j := range n {
			out[j*m+i] = x[i*n+j]
		}
	}
	return out
}

func dot(a, b []float64) float64 {
	s := 0.0
	for i, v := range a {
		s += v * b[i]
	}
	return s
}

// axpy adds s·x to y.
func axpy(y []float64, s float64, x []float64) {
	for i, v := range x {
		y[i] += s * v
	}
}

func rotate(a, b []float64, c, s float64) {
	for i, x := range a {
		y := b[i]
		a[i], b[i] = c*x-s*y, s*x+c*y
	}
}
