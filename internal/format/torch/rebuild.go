package torch

import (
	"bytes"
	"fmt"
	"math"
)

// global pushes the name of a function or type, if it is one that builds tensors.
func (u *unpickler) global(op byte) error {
	var name global
	if op == opGlobal {
		module, err := u.line()
		if err != nil {
			return err
		}
		of, err := u.line()
		if err != nil {
			return err
		}
		name = global(module + "." + of)
	} else {
		items, err := u.pops(2)
		if err != nil {
			return err
		}
		module, ok1 := items[0].(string)
		of, ok2 := items[1].(string)
		if !ok1 || !ok2 {
			return fmt.Errorf("a global named by %s and %s, expected texts", kind(items[0]), kind(items[1]))
		}
		name = global(module + "." + of)
	}
	if _, ok := storageTypes[name]; !ok && name != rebuildTensor && name != orderedDict {
		return fmt.Errorf("it asks for %.80q, which is refused: only tensors of floating-point numbers are built; save it as safetensors instead", string(name))
	}
	u.push(name)
	return nil
}

// line returns the bytes up to the next line feed.
func (u *unpickler) line() (string, error) {
	n := bytes.IndexByte(u.in[u.at:], '\n')
	if n < 0 {
		return "", fmt.Errorf("a name without an end")
	}
	b, err := u.take(n + 1)
	return string(bytes.TrimSuffix(b, []byte("\n"))), err
}

// persistent turns ("storage", type, key, location, values) into a storage.
func (u *unpickler) persistent() error {
	v, err := u.pop()
	if err != nil {
		return err
	}
	t, _ := v.(tuple)
	if len(t) != 5 || t[0] != "storage" {
		return fmt.Errorf("a reference to %s, expected a storage", kind(v))
	}
	of, ok1 := t[1].(global)
	key, ok2 := t[2].(string)
	n, ok3 := t[4].(int64)
	dtype, ok4 := storageTypes[of]
	if !ok1 || !ok2 || !ok3 || !ok4 || n < 0 || n > math.MaxInt64/8 {
		return fmt.Errorf("a storage of %s, %s, %s: expected type, key and number of values", kind(t[1]), kind(t[2]), kind(t[4]))
	}
	u.push(&storage{key, dtype, n})
	return nil
}

// reduce calls a global: an ordered dictionary, or a tensor.
func (u *unpickler) reduce() error {
	items, err := u.pops(2)
	if err != nil {
		return err
	}
	args, ok := items[1].(tuple)
	if !ok {
		return fmt.Errorf("a call with %s, expected a tuple", kind(items[1]))
	}
	switch items[0] {
	case orderedDict:
		if len(args) != 0 {
			return fmt.Errorf("an OrderedDict of %d arguments, expected none", len(args))
		}
		u.push(newDict())
		return nil
	case rebuildTensor:
		t, err := rebuild(args)
		if err != nil {
			return err
		}
		u.push(t)
		return nil
	}
	return fmt.Errorf("a call of %s is refused", kind(items[0]))
}

// rebuild makes a tensor of (storage, offset, shape, strides, requires_grad, hooks). Its values must lie one behind the other, so that a tensor never
// has more values than its storage.
func rebuild(args tuple) (*tensor, error) {
	if len(args) < 6 {
		return nil, fmt.Errorf("a tensor of %d arguments, expected 6", len(args))
	}
	s, ok1 := args[0].(*storage)
	offset, ok2 := args[1].(int64)
	shape, ok3 := args[2].(tuple)
	strides, ok4 := args[3].(tuple)
	if !ok1 || !ok2 || !ok3 || !ok4 || len(shape) != len(strides) || len(shape) > 8 {
		return nil, fmt.Errorf("a tensor of %s, %s, %s, %s: expected storage, offset, shape and strides", kind(args[0]), kind(args[1]), kind(args[2]), kind(args[3]))
	}
	t := &tensor{storage: s, offset: offset, shape: make([]int, len(shape))}
	n := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		size, ok1 := shape[i].(int64)
		stride, ok2 := strides[i].(int64)
		if !ok1 || !ok2 || size < 0 {
			return nil, fmt.Errorf("a tensor of size %s and stride %s, expected integers", kind(shape[i]), kind(strides[i]))
		}
		if size > 1 && stride != n {
			return nil, fmt.Errorf("a tensor whose values are not one behind the other (stride %d, expected %d): save it contiguous, or as safetensors", stride, n)
		}
		if size > 0 && n > s.n/size {
			return nil, fmt.Errorf("a tensor of more values than its storage %q, which has %d", s.key, s.n)
		}
		n *= size
		t.shape[i] = int(size)
	}
	if offset < 0 || offset > s.n-n {
		return nil, fmt.Errorf("a tensor of %d values from %d on, but its storage %q has %d", n, offset, s.key, s.n)
	}
	return t, nil
}

// build sets the attributes of an ordered dictionary, which torch uses for the versions of modules. They say nothing about tensors.
func (u *unpickler) build() error {
	state, err := u.pop()
	if err != nil {
		return err
	}
	if len(u.stack) == 0 {
		return fmt.Errorf("the stack is empty")
	}
	_, isDict := u.stack[len(u.stack)-1].(*dict)
	attributes, ok := state.(*dict)
	if !isDict || !ok {
		return fmt.Errorf("attributes %s for %s, expected those of an OrderedDict", kind(state), kind(u.stack[len(u.stack)-1]))
	}
	for _, key := range attributes.keys {
		if key != "_metadata" {
			return fmt.Errorf("the attribute %.40q of a dictionary, expected only _metadata", key)
		}
	}
	return nil
}
