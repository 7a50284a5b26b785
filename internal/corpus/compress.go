package corpus

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"
)

// Sizes of one text under general-purpose compressors, in bytes.
type Sizes struct {
	Raw  int64
	Gzip int64  // level 9
	XZ   int64  // by XZBy
	XZBy string // "xz -9e" where that program is installed, else "xz (Go)", whose output is about 15 % larger
}

// Compressed measures what compressors need for a text, to compare with a model's bits per byte.
func Compressed(ctx context.Context, text []byte) (Sizes, error) {
	s := Sizes{Raw: int64(len(text))}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		s.Gzip, err = packedSize(ctx, text, func(w io.Writer) (io.WriteCloser, error) {
			return gzip.NewWriterLevel(w, gzip.BestCompression)
		})
		return err
	})
	g.Go(func() (err error) {
		s.XZ, s.XZBy, err = xzSize(ctx, text)
		return err
	})
	if err := g.Wait(); err != nil {
		return Sizes{}, fmt.Errorf("compressing held-out text: %w", err)
	}
	return s, nil
}

// xzSize asks the xz program, because the Go encoder, which looks for matches greedily, would flatter the model.
func xzSize(ctx context.Context, text []byte) (size int64, by string, err error) {
	if path, err := exec.LookPath("xz"); err == nil {
		var out sizeWriter
		cmd := exec.CommandContext(ctx, path, "-9e", "-T1", "-c")
		cmd.Stdin, cmd.Stdout = bytes.NewReader(text), &out
		if cmd.Run() == nil {
			return int64(out), "xz -9e", nil
		}
	}
	size, err = packedSize(ctx, text, func(w io.Writer) (io.WriteCloser, error) {
		return xz.WriterConfig{DictCap: 64 << 20}.NewWriter(w)
	})
	return size, "xz (Go)", err
}

func packedSize(ctx context.Context, text []byte, open func(io.Writer) (io.WriteCloser, error)) (int64, error) {
	var out sizeWriter
	w, err := open(&out)
	if err != nil {
		return 0, err
	}
	var n int64
	if _, err := io.Copy(w, &countReader{ctx: ctx, in: bytes.NewReader(text), n: &n}); err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return int64(out), nil
}

// sizeWriter counts what is written to it.
type sizeWriter int64

func (s *sizeWriter) Write(p []byte) (int, error) {
	*s += sizeWriter(len(p))
	return len(p), nil
}
