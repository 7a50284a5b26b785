package kernel

import (
	"fmt"
	"unsafe"

	"mor/internal/memory"
	"mor/internal/quant"
)

// panelOut is how many outputs stand side by side in a panel of a Matrix.
const panelOut = 32

const cacheLine = 64 // bytes

// Matrix is a weight matrix w[out,in] that products read where it lies, in one of the types of package quant. It is laid out in panels of 32 outputs; the
// last one is filled up. It holds the values that the type's blocks hold, and hardly more bytes.
type Matrix struct {
	Type    quant.Type
	In, Out int

	data   []byte         // panels, but for F32
	packed *Packed        // F32
	region *memory.Region // that they are of; nil where they are mapped
}

// MatrixBytes is what a matrix takes of an arena.
func (c *CPU) MatrixBytes(t quant.Type, in, out int) int {
	n := 4 * c.level.packedLen(out, in)
	if t != quant.F32 {
		n = (&Matrix{Type: t, In: in, Out: out}).Size()
	}
	return (n + cacheLine - 1) / cacheLine * cacheLine
}

// NewMatrix returns a matrix of zeros. The matrices of a model come from one arena, in the order in which products read them.
func (c *CPU) NewMatrix(a *memory.Arena, t quant.Type, in, out int) (*Matrix, error) {
	m := &Matrix{Type: t, In: in, Out: out}
	if t == quant.F32 {
		panels, region := a.Bytes(4 * c.level.packedLen(out, in))
		m.packed, m.region = &Packed{in: in, out: out, level: c.level, panels: memory.Values[float32](panels)}, region
		return m, nil
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	m.data, m.region = a.Bytes(m.Size())
	return m, nil
}

// MapMatrix returns a matrix that lies in data, as Data of another gave it. data must not change.
func (c *CPU) MapMatrix(t quant.Type, in, out int, data []byte) (*Matrix, error) {
	m := &Matrix{Type: t, In: in, Out: out, data: data}
	if t == quant.F32 {
		return nil, fmt.Errorf("%s: its layout depends on the CPU, and is not stored", t)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	if len(data) != m.Size() {
		return nil, fmt.Errorf("%s [%d, %d]: %d bytes, expected %d", t, out, in, len(data), m.Size())
	}
	return m, nil
}

func (m *Matrix) check() error {
	if !m.Type.Known() || m.In < 1 || m.Out < 1 {
		return fmt.Errorf("%s [%d, %d]: not a matrix that products run on", m.Type, m.Out, m.In)
	}
	if v := m.Type.Values(); v > blockIn && m.In%v != 0 {
		return fmt.Errorf("%s [%d, %d]: rows of %d values: expected a multiple of %d", m.Type, m.Out, m.In, m.In, v)
	}
	if m.Type == quant.BF16 && m.In%2 != 0 {
		return fmt.Errorf("%s [%d, %d]: rows of %d values: expected an even number", m.Type, m.Out, m.In, m.In)
	}
	return nil
}

// Size is the number of bytes of the layout.
func (m *Matrix) Size() int { return Panels(m.Out) * m.panelSize() }

// Data is the layout, which is the same for every CPU, or nil for F32.
func (m *Matrix) Data() []byte { return m.data }

// panelSize is the number of bytes of a panel.
func (m *Matrix) panelSize() int {
	switch m.Type {
	case quant.F32:
		return 4 * panelOut * m.In
	case quant.F16, quant.BF16:
		return 2 * panelOut * m.In
	}
	l := layoutOf(m.Type)
	return m.blocks()*l.record + (m.blocks()+superBlocks-1)/superBlocks*l.header
}

// blocks is how many blocks a row has.
func (m *Matrix) blocks() int { return (m.In + blockIn - 1) / blockIn }

// SetRow lays out row i from the type's blocks, the last of which may reach beyond the row. Rows may be set at the same time.
func (m *Matrix) SetRow(i int, blocks []byte) {
	switch m.Type {
	case quant.F32:
		m.packed.setRow(i, blocks)
	case quant.F16, quant.BF16:
		for p := range m.In {
			at := m.half(i, p)
			m.data[at], m.data[at+1] = blocks[2*p], blocks[2*p+1]
		}
	default:
		m.setBlocks(i, blocks)
	}
}

// half is where value p of row i lies, for types of 16 bits. BF16 has pairs of inputs together for each output, as VDPBF16PS wants them.
func (m *Matrix) half(i, p int) int {
	if m.Type == quant.F16 {
		return i/panelOut*m.panelSize() + 2*(p*panelOut+i%panelOut)
	}
	return i/panelOut*m.panelSize() + 2*(p/2*2*panelOut+2*(i%panelOut)+p%2)
}

// Row writes the values of row i to dst[in].
func (m *Matrix) Row(dst []float32, i int) {
	switch m.Type {
	case quant.F32:
		m.packed.row(dst, i)
	case quant.F16, quant.BF16:
		for p := range dst[:m.In] {
			at := m.half(i, p)
			m.Type.Expand(dst[p:p+1], m.data[at:at+2])
		}
	default:
		m.row(dst[:m.In], i)
	}
}

// SetRows lays out rows that are stored as blocks of the type from; what is stored as row i becomes row place(i). Where the types differ, values are
// rounded as m.Type.Shrink does.
func (c *CPU) SetRows(m *Matrix, from quant.Type, first int, stored []byte, place func(i int) int) {
	per := from.Values()
	t := &setRowsTask{m: m, from: from, first: first, stored: stored, place: place, size: (m.In + per - 1) / per * from.Bytes()}
	c.pool.Run(len(stored)/t.size, 16, t)
}

type setRowsTask struct {
	m      *Matrix
	from   quant.Type
	first  int
	stored []byte
	size   int // bytes of a stored row
	place  func(i int) int
}

func (t *setRowsTask) Do(_, lo, hi int) {
	if t.from == t.m.Type {
		for i := lo; i < hi; i++ {
			t.m.SetRow(t.place(t.first+i), t.stored[i*t.size:(i+1)*t.size])
		}
		return
	}
	read, write := t.from.Values(), t.m.Type.Values()
	per := max(read, write)
	wide := make([]float32, (t.m.In+per-1)/per*per)
	blocks := make([]byte, (t.m.In+write-1)/write*t.m.Type.Bytes())
	for i := lo; i < hi; i++ {
		t.from.Expand(wide[:(t.m.In+read-1)/read*read], t.stored[i*t.size:(i+1)*t.size])
		clear(wide[t.m.In:])
		t.m.Type.Shrink(blocks, wide[:(t.m.In+write-1)/write*write])
		t.m.SetRow(t.place(t.first+i), blocks)
	}
}

// GatherMatrix computes dst[i] = w[rows[i]].
func (c *CPU) GatherMatrix(dst []float32, w *Matrix, rows []int32) {
	defer c.Done(c.Start(), sweepWork("gather", 2*len(rows)*w.In))
	t := &c.task.gather
	*t = gatherTask{dst, w, rows}
	c.pool.Run(len(rows), rowGrain(16*w.In), t)
	*t = gatherTask{}
}

type gatherTask struct {
	dst  []float32
	w    *Matrix
	rows []int32
}

func (t *gatherTask) Do(_, lo, hi int) {
	for i := lo; i < hi; i++ {
		t.w.Row(row(t.dst, i, t.w.In), int(t.rows[i]))
	}
}

// alignedBytes returns zeros that begin at a cache line.
func alignedBytes(n int) []byte {
	raw := memory.Make[byte](n + cacheLine)
	skip := int(-uintptr(unsafe.Pointer(&raw[0])) % cacheLine)
	return raw[skip : skip+n : skip+n]
}
