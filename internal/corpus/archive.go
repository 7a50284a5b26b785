package corpus

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// errNotPacked: a file does not begin as its ending promises.
var errNotPacked = errors.New("not in the format that its ending names")

// tar reads the regular entries of an archive like the files of a folder. Nothing is ever written, so an entry's path is only a name.
func (r *reader) tar(name string, in io.Reader, named bool) error {
	tr := tar.NewReader(in)
	for first := true; ; first = false {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			return nil
		case first && !named && errors.Is(err, tar.ErrHeader):
			r.left.Binary++
			return nil
		case err != nil && !errors.Is(err, tar.ErrInsecurePath):
			return fmt.Errorf("archive: %w", err)
		}
		if h.Typeflag != tar.TypeReg || hiddenFolder(h.Name) || !r.src.included(h.Name) {
			continue
		}
		err = r.stream(name+":"+h.Name, tr, false, true)
		if err == errStop {
			return err
		}
		if err != nil {
			return fmt.Errorf("entry %q: %w", h.Name, err)
		}
	}
}

// hiddenFolder reports whether a slash-separated path leads through a folder like .git.
func hiddenFolder(name string) bool {
	for dir := range strings.SplitSeq(path.Dir(name), "/") {
		if strings.HasPrefix(dir, ".") && dir != "." && dir != ".." {
			return true
		}
	}
	return false
}

// decompress returns a reader of the unpacked stream and a function that releases it.
func decompress(codec string, in io.Reader) (io.Reader, func(), error) {
	packed := &expandReader{}
	br := bufio.NewReaderSize(in, 64<<10)
	packed.in = br
	head, err := br.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	var out io.Reader
	stop := func() {}
	switch codec {
	case "gzip":
		if !bytes.HasPrefix(head, []byte{0x1f, 0x8b}) {
			return nil, nil, fmt.Errorf("%w: no gzip data", errNotPacked)
		}
		z, err := gzip.NewReader(packed)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		out = z
	case "zstd":
		if len(head) < 4 || !bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) && !(head[0]>>4 == 5 && bytes.Equal(head[1:], []byte{0x2a, 0x4d, 0x18})) {
			return nil, nil, fmt.Errorf("%w: no zstd data", errNotPacked)
		}
		z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		out, stop = z, z.Close
	}
	return &boundedReader{codec: codec, in: out, packed: packed}, stop, nil
}

const (
	maxWindow = 128 << 20 // memory that a zstd stream may ask for: that of zstd --long
	bombSize  = 64 << 20
	bombRatio = 1000 // text packs 3 to 20 times
)

// expandReader counts the packed bytes.
type expandReader struct {
	in io.Reader
	n  int64
}

func (e *expandReader) Read(p []byte) (int, error) {
	n, err := e.in.Read(p)
	e.n += int64(n)
	return n, err
}

// boundedReader refuses a stream that unpacks to what no text would.
type boundedReader struct {
	codec  string
	in     io.Reader
	packed *expandReader
	n      int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	b.n += int64(n)
	if b.n > bombSize && b.n/bombRatio > b.packed.n {
		return 0, fmt.Errorf("%s: unpacks to more than %d times its size: not text", b.codec, bombRatio)
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", b.codec, err)
	}
	return n, err
}
