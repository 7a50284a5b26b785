package torch

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"mor/internal/format/safetensors"
)

// The opcodes of Python's pickle that a dictionary of tensors needs. No other is obeyed.
const (
	opProto           = 0x80
	opFrame           = 0x95
	opStop            = '.'
	opMark            = '('
	opNone            = 'N'
	opNewTrue         = 0x88
	opNewFalse        = 0x89
	opBinInt          = 'J'
	opBinInt1         = 'K'
	opBinInt2         = 'M'
	opLong1           = 0x8a
	opBinUnicode      = 'X'
	opShortBinUnicode = 0x8c
	opEmptyTuple      = ')'
	opTuple           = 't'
	opTuple1          = 0x85
	opTuple2          = 0x86
	opTuple3          = 0x87
	opEmptyDict       = '}'
	opSetItem         = 's'
	opSetItems        = 'u'
	opBinPut          = 'q'
	opLongBinPut      = 'r'
	opMemoize         = 0x94
	opBinGet          = 'h'
	opLongBinGet      = 'j'
	opGlobal          = 'c'
	opStackGlobal     = 0x93
	opBinPersID       = 'Q'
	opReduce          = 'R'
	opBuild           = 'b'
)

// storageTypes are the globals that name the type of a storage.
var storageTypes = map[global]safetensors.DType{
	"torch.FloatStorage": safetensors.F32, "torch.BFloat16Storage": safetensors.BF16, "torch.HalfStorage": safetensors.F16,
	"torch.DoubleStorage": safetensors.F64,
}

// The other globals that may be named.
const (
	rebuildTensor global = "torch._utils._rebuild_tensor_v2"
	orderedDict   global = "collections.OrderedDict"
)

// What stands on the unpickler's stack: nil, bool, int64, string and these.
type (
	global string // module and name
	tuple  []any
	mark   struct{}
	// dict holds the pairs in the order of their first setting.
	dict struct {
		keys  []string
		value map[string]any
	}
	// storage is a run of values in a file of the archive.
	storage struct {
		key   string
		dtype safetensors.DType
		n     int64 // values
	}
	// tensor is a view of a storage.
	tensor struct {
		storage *storage
		offset  int64 // values before the first
		shape   []int
	}
)

// unpickler runs a pickle that may only build dictionaries of tensors. What it holds is bounded by the length of the pickle.
type unpickler struct {
	in    []byte
	at    int
	stack []any
	memo  map[uint32]any
}

// unpickle returns the dictionary that a pickle builds.
func unpickle(in []byte) (*dict, error) {
	u := &unpickler{in: in, memo: map[uint32]any{}}
	for {
		start := u.at
		op, err := u.take(1)
		if err != nil {
			return nil, err
		}
		if op[0] == opStop {
			break
		}
		if err := u.step(op[0]); err != nil {
			return nil, fmt.Errorf("byte %d: %w", start, err)
		}
	}
	if len(u.stack) != 1 {
		return nil, fmt.Errorf("%d values are left at the end, expected one", len(u.stack))
	}
	d, ok := u.stack[0].(*dict)
	if !ok {
		return nil, fmt.Errorf("found %s, expected a dictionary of tensors", kind(u.stack[0]))
	}
	return d, nil
}

// step obeys one opcode.
func (u *unpickler) step(op byte) error {
	switch op {
	case opProto:
		v, err := u.take(1)
		if err == nil && (v[0] < 2 || v[0] > 5) {
			err = fmt.Errorf("pickle protocol %d, expected 2 to 5", v[0])
		}
		return err
	case opFrame:
		_, err := u.take(8)
		return err
	case opMark:
		u.push(mark{})
	case opNone:
		u.push(nil)
	case opNewTrue, opNewFalse:
		u.push(op == opNewTrue)
	case opBinInt, opBinInt1, opBinInt2, opLong1:
		return u.integer(op)
	case opBinUnicode, opShortBinUnicode:
		return u.text(op)
	case opEmptyTuple, opTuple, opTuple1, opTuple2, opTuple3:
		return u.tuple(op)
	case opEmptyDict:
		u.push(newDict())
	case opSetItem, opSetItems:
		return u.setItems(op)
	case opBinPut, opLongBinPut, opMemoize, opBinGet, opLongBinGet:
		return u.remember(op)
	case opGlobal, opStackGlobal:
		return u.global(op)
	case opBinPersID:
		return u.persistent()
	case opReduce:
		return u.reduce()
	case opBuild:
		return u.build()
	default:
		return fmt.Errorf("opcode 0x%02x is refused: only those that build tensors are obeyed", op)
	}
	return nil
}

// take returns the next n bytes.
func (u *unpickler) take(n int) ([]byte, error) {
	if n < 0 || n > len(u.in)-u.at {
		return nil, fmt.Errorf("byte %d: the pickle ends, expected %d bytes more", u.at, n)
	}
	u.at += n
	return u.in[u.at-n : u.at], nil
}

func (u *unpickler) push(v any) { u.stack = append(u.stack, v) }

func (u *unpickler) pop() (any, error) {
	if len(u.stack) == 0 {
		return nil, fmt.Errorf("the stack is empty")
	}
	v := u.stack[len(u.stack)-1]
	u.stack = u.stack[:len(u.stack)-1]
	return v, nil
}

// pops removes n values, or with n < 0 all above the last mark, and the mark.
func (u *unpickler) pops(n int) ([]any, error) {
	at := len(u.stack) - n
	if n < 0 {
		for at = len(u.stack) - 1; at >= 0; at-- {
			if _, ok := u.stack[at].(mark); ok {
				break
			}
		}
		if at < 0 {
			return nil, fmt.Errorf("no mark on the stack")
		}
	}
	if at < 0 {
		return nil, fmt.Errorf("the stack has %d values, expected %d", len(u.stack), n)
	}
	out := append([]any(nil), u.stack[at:]...)
	u.stack = u.stack[:at]
	if n < 0 {
		return out[1:], nil
	}
	return out, nil
}

func (u *unpickler) integer(op byte) error {
	size := map[byte]int{opBinInt: 4, opBinInt1: 1, opBinInt2: 2, opLong1: 1}[op]
	b, err := u.take(size)
	if err != nil {
		return err
	}
	switch op {
	case opBinInt:
		u.push(int64(int32(binary.LittleEndian.Uint32(b))))
	case opBinInt1:
		u.push(int64(b[0]))
	case opBinInt2:
		u.push(int64(binary.LittleEndian.Uint16(b)))
	default: // two's complement of so many bytes
		n := int(b[0])
		if n > 8 {
			return fmt.Errorf("an integer of %d bytes, expected at most 8", n)
		}
		if b, err = u.take(n); err != nil {
			return err
		}
		v := int64(0)
		for i, x := range b {
			v |= int64(x) << (8 * i)
		}
		if n > 0 && n < 8 && b[n-1] >= 0x80 {
			v -= 1 << (8 * n)
		}
		u.push(v)
	}
	return nil
}

func (u *unpickler) text(op byte) error {
	size := 4
	if op == opShortBinUnicode {
		size = 1
	}
	b, err := u.take(size)
	if err != nil {
		return err
	}
	n := uint32(b[0])
	if size == 4 {
		n = binary.LittleEndian.Uint32(b)
	}
	if int64(n) > int64(len(u.in)-u.at) {
		return fmt.Errorf("a text of %d bytes, but %d are left", n, len(u.in)-u.at)
	}
	if b, err = u.take(int(n)); err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return fmt.Errorf("a text that is not UTF-8")
	}
	u.push(string(b))
	return nil
}

func (u *unpickler) tuple(op byte) error {
	n := map[byte]int{opEmptyTuple: 0, opTuple: -1, opTuple1: 1, opTuple2: 2, opTuple3: 3}[op]
	items, err := u.pops(n)
	if err != nil {
		return err
	}
	u.push(tuple(items))
	return nil
}

func newDict() *dict { return &dict{value: map[string]any{}} }

func (u *unpickler) setItems(op byte) error {
	n := 2
	if op == opSetItems {
		n = -1
	}
	items, err := u.pops(n)
	if err != nil {
		return err
	}
	if len(u.stack) == 0 {
		return fmt.Errorf("no dictionary on the stack")
	}
	d, ok := u.stack[len(u.stack)-1].(*dict)
	if !ok {
		return fmt.Errorf("items for %s, expected a dictionary", kind(u.stack[len(u.stack)-1]))
	}
	if len(items)%2 != 0 {
		return fmt.Errorf("%d keys and values, expected pairs", len(items))
	}
	for i := 0; i < len(items); i += 2 {
		key, ok := items[i].(string)
		if !ok {
			return fmt.Errorf("%s as a key, expected a text", kind(items[i]))
		}
		if _, twice := d.value[key]; twice {
			return fmt.Errorf("the key %q stands twice", key)
		}
		d.keys = append(d.keys, key)
		d.value[key] = items[i+1]
	}
	return nil
}

// remember stores the top of the stack in the memo, or pushes what is stored.
func (u *unpickler) remember(op byte) error {
	index := uint32(len(u.memo))
	if op != opMemoize {
		size := 1
		if op == opLongBinPut || op == opLongBinGet {
			size = 4
		}
		b, err := u.take(size)
		if err != nil {
			return err
		}
		index = uint32(b[0])
		if size == 4 {
			index = binary.LittleEndian.Uint32(b)
		}
	}
	if op == opBinGet || op == opLongBinGet {
		v, ok := u.memo[index]
		if !ok {
			return fmt.Errorf("memo %d is empty", index)
		}
		u.push(v)
		return nil
	}
	if len(u.stack) == 0 {
		return fmt.Errorf("the stack is empty")
	}
	u.memo[index] = u.stack[len(u.stack)-1]
	return nil
}

// kind names what a value is.
func kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		return "a bool"
	case int64:
		return "an integer"
	case string:
		return fmt.Sprintf("the text %.40q", v)
	case global:
		return string(v)
	case tuple:
		return fmt.Sprintf("a tuple of %d", len(v))
	case *dict:
		return "a dictionary"
	case *storage:
		return "a storage"
	case *tensor:
		return "a tensor"
	default:
		return "a mark"
	}
}
