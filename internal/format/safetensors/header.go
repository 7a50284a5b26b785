package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Limits of a header. The first is the reference implementation's; the second is twice NumPy's.
const (
	maxHeader = 100_000_000
	maxRank   = 64
)

const metadataKey = "__metadata__"

type header struct {
	tensors  []Tensor // in the order of their bytes
	metadata map[string]string
}

// parseHeader decodes the JSON of a file whose tensors occupy dataSize bytes.
func parseHeader(text []byte, dataSize int64) (*header, error) {
	if len(text) == 0 || text[0] != '{' {
		return nil, fmt.Errorf("header does not begin with '{'")
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("header is not valid UTF-8")
	}
	p := &headerParser{dec: json.NewDecoder(bytes.NewReader(text)), names: map[string]bool{}}
	p.dec.UseNumber()
	if err := p.object(p.entry); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if _, err := p.dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("header: text after the closing brace")
	}
	// Empty tensors share a begin with their neighbour; the header's order decides among them.
	slices.SortStableFunc(p.tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	if err := checkRanges(p.tensors, dataSize); err != nil {
		return nil, err
	}
	return &header{tensors: p.tensors, metadata: p.metadata}, nil
}

// checkRanges demands that the byte ranges, sorted, cover [0, dataSize) without gap or overlap.
func checkRanges(tensors []Tensor, dataSize int64) error {
	at, prev := int64(0), "the header"
	for _, t := range tensors {
		if t.begin != at {
			what := "a gap"
			if t.begin < at {
				what = "an overlap"
			}
			return fmt.Errorf("tensor %q: data begins at byte %d, expected %d where %s ends (%s)", t.Name, t.begin, at, prev, what)
		}
		at, prev = t.end, strconv.Quote(t.Name)
	}
	if at != dataSize {
		return fmt.Errorf("tensors end at byte %d of the data, but the file has %d bytes of data", at, dataSize)
	}
	return nil
}

// headerParser walks the tokens itself because encoding/json accepts duplicate and misspelt keys.
type headerParser struct {
	dec      *json.Decoder
	names    map[string]bool
	tensors  []Tensor
	metadata map[string]string
}

// object reads an object and calls value for each key; value must read the key's value.
func (p *headerParser) object(value func(key string) error) error {
	if err := p.delim('{'); err != nil {
		return err
	}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return err
		}
		if err := value(t.(string)); err != nil { // the decoder admits nothing but strings as keys
			return err
		}
	}
	return p.delim('}')
}

// entry reads the value of a top-level key.
func (p *headerParser) entry(name string) error {
	if p.names[name] {
		return fmt.Errorf("tensor %q is there twice", name)
	}
	p.names[name] = true
	if name == metadataKey {
		p.metadata = map[string]string{}
		return p.object(p.metadatum)
	}
	t, err := p.tensor(name)
	if err != nil {
		return fmt.Errorf("tensor %q: %w", name, err)
	}
	p.tensors = append(p.tensors, t)
	return nil
}

func (p *headerParser) metadatum(key string) error {
	if _, ok := p.metadata[key]; ok {
		return fmt.Errorf("%s: key %q is there twice", metadataKey, key)
	}
	v, err := p.text()
	if err != nil {
		return fmt.Errorf("%s: key %q: %w", metadataKey, key, err)
	}
	p.metadata[key] = v
	return nil
}

func (p *headerParser) tensor(name string) (Tensor, error) {
	t := Tensor{Name: name}
	var offsets []int
	seen := map[string]bool{}
	err := p.object(func(key string) (err error) {
		if seen[key] {
			return fmt.Errorf("key %q is there twice", key)
		}
		seen[key] = true
		switch key {
		case "dtype":
			var s string
			s, err = p.text()
			t.DType = DType(s)
		case "shape":
			t.Shape, err = p.ints(maxRank)
		case "data_offsets":
			offsets, err = p.ints(2)
		default:
			err = fmt.Errorf("unknown key, expected dtype, shape and data_offsets")
		}
		if err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[key] {
			return t, fmt.Errorf("key %q is missing", key)
		}
	}
	if len(offsets) != 2 || offsets[0] > offsets[1] {
		return t, fmt.Errorf("data_offsets are %v, expected [begin end]", offsets)
	}
	t.begin, t.end = int64(offsets[0]), int64(offsets[1])
	size, err := byteSize(t.DType, t.Shape)
	if err == nil && size != t.end-t.begin {
		err = fmt.Errorf("%s needs %d bytes, but data_offsets give it %d", t, size, t.end-t.begin)
	}
	return t, err
}

func (p *headerParser) token() (json.Token, error) {
	t, err := p.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return t, err
}

func (p *headerParser) delim(want json.Delim) error {
	t, err := p.token()
	if err == nil && t != want {
		err = fmt.Errorf("expected '%v', found %s", want, describe(t))
	}
	return err
}

func (p *headerParser) text() (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("expected a string, found %s", describe(t))
	}
	return s, nil
}

// ints reads an array of at most limit integers that are not negative.
func (p *headerParser) ints(limit int) ([]int, error) {
	if err := p.delim('['); err != nil {
		return nil, err
	}
	list := []int{}
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		number, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("expected an integer, found %s", describe(t))
		}
		n, err := strconv.Atoi(number.String())
		if err != nil || n < 0 {
			return nil, fmt.Errorf("expected an integer from 0 to the size of a file, found %.40s", number)
		}
		if len(list) == limit {
			return nil, fmt.Errorf("more than %d numbers", limit)
		}
		list = append(list, n)
	}
	return list, p.delim(']')
}

// describe names a token in an error.
func describe(t json.Token) string {
	switch t := t.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("the string %.40q", t)
	}
	return fmt.Sprintf("%.40v", t)
}
