package parquet

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The types of Thrift's compact protocol, in which Parquet writes what it says about itself.
const (
	thriftTrue   = 1
	thriftFalse  = 2
	thriftByte   = 3
	thriftI16    = 4
	thriftI32    = 5
	thriftI64    = 6
	thriftDouble = 7
	thriftBinary = 8
	thriftList   = 9
	thriftSet    = 10
	thriftMap    = 11
	thriftStruct = 12
)

// maxNesting bounds structures within structures; Parquet's own go seven deep.
const maxNesting = 32

// errShort: the bytes end inside a value.
var errShort = errors.New("cut short")

// thrift reads values one by one and allocates nothing for what they claim. After the first error every read gives zero.
type thrift struct {
	b     []byte
	at    int
	depth int
	err   error
}

func (t *thrift) fail(err error) {
	if t.err == nil {
		t.err = err
	}
	t.at = len(t.b)
}

func (t *thrift) byte() byte {
	if t.at >= len(t.b) {
		t.fail(errShort)
		return 0
	}
	t.at++
	return t.b[t.at-1]
}

func (t *thrift) uvarint() uint64 {
	v, n := binary.Uvarint(t.b[t.at:])
	if n <= 0 {
		t.fail(errShort)
		return 0
	}
	t.at += n
	return v
}

// int reads a zigzag number.
func (t *thrift) int() int64 {
	v := t.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// bytes reads a string, as a view.
func (t *thrift) bytes() []byte {
	n := t.uvarint()
	if n > uint64(len(t.b)-t.at) {
		t.fail(errShort)
		return nil
	}
	t.at += int(n)
	return t.b[t.at-int(n) : t.at]
}

// structure reads the fields of a structure. visit reads the value of a field that it knows and reports true; others are skipped.
func (t *thrift) structure(visit func(id int64, kind byte) bool) {
	if t.depth++; t.depth > maxNesting {
		t.fail(fmt.Errorf("structures are nested deeper than %d", maxNesting))
	}
	id := int64(0)
	for t.err == nil {
		head := t.byte()
		if head == 0 {
			break
		}
		if delta := head >> 4; delta != 0 {
			id += int64(delta)
		} else {
			id = t.int()
		}
		if kind := head & 15; !visit(id, kind) {
			t.skip(kind)
		}
	}
	t.depth--
}

// list reads the elements of a list, each by visit, and fails where they are of another kind.
func (t *thrift) list(kind byte, visit func()) {
	n, found := t.listHead()
	if t.err == nil && n > 0 && found != kind {
		t.fail(fmt.Errorf("a list of type %d: expected type %d", found, kind))
	}
	for ; n > 0 && t.err == nil; n-- {
		visit()
	}
}

func (t *thrift) listHead() (n uint64, kind byte) {
	head := t.byte()
	if n = uint64(head >> 4); n == 15 {
		n = t.uvarint()
	}
	if n > uint64(len(t.b)-t.at) { // an element takes a byte at least
		t.fail(errShort)
	}
	return n, head & 15
}

// skip passes over the value of a field.
func (t *thrift) skip(kind byte) {
	switch kind {
	case thriftTrue, thriftFalse: // the value is in the type
	case thriftByte:
		t.byte()
	case thriftI16, thriftI32, thriftI64:
		t.uvarint()
	case thriftDouble:
		for range 8 {
			t.byte()
		}
	case thriftBinary:
		t.bytes()
	case thriftList, thriftSet:
		n, element := t.listHead()
		for ; n > 0 && t.err == nil; n-- {
			t.skipElement(element)
		}
	case thriftMap:
		n, kinds := t.uvarint(), byte(0)
		if n > 0 {
			kinds = t.byte()
		}
		for ; n > 0 && t.err == nil; n-- {
			t.skipElement(kinds >> 4)
			t.skipElement(kinds & 15)
		}
	case thriftStruct:
		t.structure(func(int64, byte) bool { return false })
	default:
		t.fail(fmt.Errorf("the unknown type %d", kind))
	}
}

// skipElement passes over an element of a list or map, where a boolean takes a byte.
func (t *thrift) skipElement(kind byte) {
	if t.depth++; t.depth > maxNesting {
		t.fail(fmt.Errorf("lists are nested deeper than %d", maxNesting))
	}
	if kind == thriftTrue || kind == thriftFalse {
		t.byte()
	} else {
		t.skip(kind)
	}
	t.depth--
}
