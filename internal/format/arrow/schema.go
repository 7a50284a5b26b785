package arrow

import (
	"errors"
	"fmt"
)

// Numbers of the format (Message.fbs, Schema.fbs).
const (
	messageSchema     = 1
	messageDictionary = 2
	messageBatch      = 3

	versionV4 = 3 // its unions have a validity buffer
	versionV5 = 4

	typeUtf8       = 5
	typeUnion      = 14
	typeLargeUtf8  = 20
	typeBinaryView = 23
	typeUtf8View   = 24

	maxNesting = 64 // lists of lists
)

// kinds are the types of columns: their names, and how many buffers each has beside those of its children.
var kinds = []struct {
	name    string
	buffers int
}{
	1: {"null", 0}, 2: {"int", 2}, 3: {"float", 2}, 4: {"binary", 3}, typeUtf8: {"string", 3}, 6: {"bool", 2}, 7: {"decimal", 2}, 8: {"date", 2}, 9: {"time", 2},
	10: {"timestamp", 2}, 11: {"interval", 2}, 12: {"list", 2}, 13: {"struct", 1}, typeUnion: {"union", 1}, 15: {"fixed_size_binary", 2},
	16: {"fixed_size_list", 1}, 17: {"map", 2}, 18: {"duration", 2}, 19: {"large_binary", 3}, typeLargeUtf8: {"large_string", 3}, 21: {"large_list", 2},
	22: {"run_end_encoded", 0}, typeBinaryView: {"binary_view", 2}, typeUtf8View: {"string_view", 2}, 25: {"list_view", 3}, 26: {"large_list_view", 3},
}

// place counts what precedes a column in a batch: its place in the lists that a batch's metadata has.
type place struct {
	nodes, buffers int
	views          int // columns of views, each of which has a number of buffers that the batch tells
}

// column is a column of text.
type column struct {
	place
	wide   bool // offsets of 8 bytes, not 4
	coded  bool // the batches hold places in a dictionary
	id     int64
	width  int // bytes of a place in the dictionary
	signed bool
}

// schema walks through the fields of a schema.
type schema struct {
	version int
	left    int // fields that the metadata may still have, so that tables that are pointed to twice cannot make it endless
}

// findColumn finds a column at the top of a schema, which must hold text.
func findColumn(f *flatBuffer, name string) (column, error) {
	message := f.root()
	header, _ := message.table(2)
	s := &schema{version: message.i16(0), left: len(f.b) / 8}
	if s.version != versionV4 && s.version != versionV5 && f.err == nil {
		return column{}, fmt.Errorf("metadata version %d: expected %d or %d, Arrow 0.8 or later", s.version+1, versionV4+1, versionV5+1)
	}
	if header.i16(0) != 0 && f.err == nil {
		return column{}, errors.New("big-endian data is not supported")
	}
	var at place
	var names []string
	fields := header.vector(1, 4)
	for i := range fields.count {
		field := fields.table(i)
		c, why := textColumn(field, at)
		found := field.string(0)
		if f.err != nil {
			return column{}, f.err
		}
		if found == name {
			if why != "" {
				return column{}, fmt.Errorf("column %q holds %s: expected string or large_string: name the column that holds the text with --text-field", name, why)
			}
			return c, nil
		}
		if why == "" && len(names) < 8 {
			names = append(names, fmt.Sprintf("%.40q", found))
		}
		if err := s.skip(field, &at, 0); err != nil {
			return column{}, err
		}
	}
	if f.err != nil {
		return column{}, f.err
	}
	return column{}, fmt.Errorf("no column %q: name the one that holds the text with --text-field; of text it has %v", name, names)
}

// textColumn describes a column of text, or says what a field is that is none.
func textColumn(field table, at place) (c column, why string) {
	kind := field.byte(2)
	c = column{place: at, wide: kind == typeLargeUtf8}
	dictionary, coded := field.table(4)
	if kind != typeUtf8 && kind != typeLargeUtf8 {
		return c, kindName(kind)
	}
	if !coded {
		return c, ""
	}
	c.coded, c.id, c.width, c.signed = true, dictionary.i64(0), 4, true
	if index, ok := dictionary.table(1); ok {
		c.width, c.signed = index.i32(0)/8, index.byte(1) != 0
	}
	if c.width != 1 && c.width != 2 && c.width != 4 && c.width != 8 {
		return c, fmt.Sprintf("a dictionary with indices of %d bytes", c.width)
	}
	return c, ""
}

func kindName(kind byte) string {
	if int(kind) >= len(kinds) || kinds[kind].name == "" {
		return fmt.Sprintf("the unknown type %d", kind)
	}
	return kinds[kind].name
}

// skip adds to at what a field and its children take in a batch.
func (s *schema) skip(field table, at *place, depth int) error {
	kind := field.byte(2)
	if s.left--; s.left < 0 || depth > maxNesting {
		return fmt.Errorf("more fields than the metadata can hold, or fields nested deeper than %d", maxNesting)
	}
	if field.f.err != nil {
		return field.f.err
	}
	at.nodes++
	if _, coded := field.table(4); coded { // the children are the dictionary's
		at.buffers += 2
		return field.f.err
	}
	if int(kind) >= len(kinds) || kinds[kind].name == "" {
		return fmt.Errorf("field %.40q of %s: what follows it cannot be found", field.string(0), kindName(kind))
	}
	at.buffers += kinds[kind].buffers
	switch kind {
	case typeUnion:
		union, _ := field.table(3)
		at.buffers += union.i16(0) & 1 // a dense one has offsets
		if s.version == versionV4 {
			at.buffers++
		}
	case typeBinaryView, typeUtf8View:
		at.views++
	}
	children := field.vector(5, 4)
	for i := range children.count {
		if err := s.skip(children.table(i), at, depth+1); err != nil {
			return err
		}
	}
	return field.f.err
}
