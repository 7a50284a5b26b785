package parquet

import "fmt"

// Numbers of the Parquet format (parquet.thrift).
const (
	typeByteArray = 6

	repetitionRequired = 0
	repetitionOptional = 1

	pageData       = 0
	pageIndex      = 1
	pageDictionary = 2
	pageDataV2     = 3
)

// element is a node of the schema, which is a tree in depth-first order.
type element struct {
	name       string
	kind       int64 // physical type, -1: a group
	repetition int64
	children   int64
}

// chunk is a column's part of a row group.
type chunk struct {
	codec      int64
	values     int64
	size       int64 // compressed, headers of pages included
	data       int64 // offset of the first data page
	dictionary int64 // of the dictionary page, 0: none
	elsewhere  bool  // in another file, or encrypted
}

// metadata is what a file's footer says.
type metadata struct {
	schema    []element
	rows      int64
	groups    [][]chunk // by row group, by leaf column
	encrypted bool
}

// i reads a number where the kind says that there is one.
func (t *thrift) i(dst *int64, kind byte) bool {
	if kind < thriftI16 || kind > thriftI64 {
		return false
	}
	*dst = t.int()
	return true
}

func parseMetadata(b []byte) (*metadata, error) {
	t, m := &thrift{b: b}, &metadata{}
	t.structure(func(id int64, kind byte) bool {
		switch {
		case id == 2 && kind == thriftList:
			t.list(thriftStruct, func() { m.schema = append(m.schema, t.element()) })
		case id == 3:
			return t.i(&m.rows, kind)
		case id == 4 && kind == thriftList:
			t.list(thriftStruct, func() { m.groups = append(m.groups, t.rowGroup()) })
		case id == 8:
			m.encrypted = true
			return false
		default:
			return false
		}
		return true
	})
	if t.err != nil {
		return nil, t.err
	}
	return m, nil
}

func (t *thrift) element() element {
	e := element{kind: -1}
	t.structure(func(id int64, kind byte) bool {
		switch {
		case id == 1:
			return t.i(&e.kind, kind)
		case id == 3:
			return t.i(&e.repetition, kind)
		case id == 4 && kind == thriftBinary:
			e.name = string(t.bytes())
			return true
		case id == 5:
			return t.i(&e.children, kind)
		}
		return false
	})
	if e.children > 0 {
		e.kind = -1
	}
	return e
}

func (t *thrift) rowGroup() (chunks []chunk) {
	t.structure(func(id int64, kind byte) bool {
		if id != 1 || kind != thriftList {
			return false
		}
		t.list(thriftStruct, func() { chunks = append(chunks, t.chunk()) })
		return true
	})
	return chunks
}

func (t *thrift) chunk() (c chunk) {
	t.structure(func(id int64, kind byte) bool {
		switch {
		case id == 3 && kind == thriftStruct:
			t.chunkMetadata(&c)
			return true
		case id == 1 || id == 8:
			c.elsewhere = true
		}
		return false
	})
	return c
}

func (t *thrift) chunkMetadata(c *chunk) {
	t.structure(func(id int64, kind byte) bool {
		switch id {
		case 4:
			return t.i(&c.codec, kind)
		case 5:
			return t.i(&c.values, kind)
		case 7:
			return t.i(&c.size, kind)
		case 9:
			return t.i(&c.data, kind)
		case 11:
			return t.i(&c.dictionary, kind)
		}
		return false
	})
}

// pageHeader is what precedes a page.
type pageHeader struct {
	kind         int64
	unpacked     int64 // bytes
	packed       int64 // bytes in the file
	values       int64 // nulls included
	encoding     int64
	levelBytes   int64 // second version: definition levels
	repeatBytes  int64 // second version: repetition levels
	uncompressed bool  // second version
}

// parsePageHeader also returns the header's own size.
func parsePageHeader(b []byte) (h pageHeader, size int, err error) {
	t := &thrift{b: b}
	t.structure(func(id int64, kind byte) bool {
		switch {
		case id == 1:
			return t.i(&h.kind, kind)
		case id == 2:
			return t.i(&h.unpacked, kind)
		case id == 3:
			return t.i(&h.packed, kind)
		case (id == 5 || id == 7) && kind == thriftStruct: // of a data page, of a dictionary
			t.structure(func(id int64, kind byte) bool {
				return id == 1 && t.i(&h.values, kind) || id == 2 && t.i(&h.encoding, kind)
			})
			return true
		case id == 8 && kind == thriftStruct:
			t.pageHeaderV2(&h)
			return true
		}
		return false
	})
	return h, t.at, t.err
}

func (t *thrift) pageHeaderV2(h *pageHeader) {
	t.structure(func(id int64, kind byte) bool {
		switch id {
		case 1:
			return t.i(&h.values, kind)
		case 4:
			return t.i(&h.encoding, kind)
		case 5:
			return t.i(&h.levelBytes, kind)
		case 6:
			return t.i(&h.repeatBytes, kind)
		case 7:
			h.uncompressed = kind == thriftFalse
		}
		return false
	})
}

// column finds a column at the top of the schema, which must hold text.
func (m *metadata) column(name string) (leaf int, optional bool, err error) {
	if len(m.schema) == 0 {
		return 0, false, fmt.Errorf("no schema")
	}
	var names []string
	for i := 1; i < len(m.schema); {
		e := &m.schema[i]
		next, leaves := m.subtree(i)
		if e.name == name {
			switch {
			case e.kind != typeByteArray:
				return 0, false, fmt.Errorf("column %q holds no text: name the one that does with --text-field", name)
			case e.repetition != repetitionRequired && e.repetition != repetitionOptional:
				return 0, false, fmt.Errorf("column %q holds lists: expected one text a row", name)
			}
			return leaf, e.repetition == repetitionOptional, nil
		}
		if e.kind == typeByteArray && e.repetition <= repetitionOptional && len(names) < 8 {
			names = append(names, fmt.Sprintf("%.40q", e.name))
		}
		i, leaf = next, leaf+leaves
	}
	return 0, false, fmt.Errorf("no column %q: name the one that holds the text with --text-field; of bytes it has %v", name, names)
}

// subtree returns the index behind the subtree at i, and how many leaves that has.
func (m *metadata) subtree(i int) (next, leaves int) {
	for open := int64(1); open > 0 && i < len(m.schema); i++ {
		open += max(m.schema[i].children, 0) - 1
		if m.schema[i].children <= 0 {
			leaves++
		}
	}
	return i, leaves
}
