package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mor/internal/strict"
	"mor/internal/token"
)

// tokenizerEncode holds the flags of `mor tokenizer encode`.
type tokenizerEncode struct {
	file       string
	out        string
	dtype      string
	addSpecial bool
	plain      bool
	json       bool
}

func newTokenizerEncode() *cobra.Command {
	e := &tokenizerEncode{}
	cmd := &cobra.Command{
		Use:   "encode TOKENIZER [TEXT]",
		Short: "Write the token ids of a text",
		Long: `Write the token ids of a text: the argument, the file of --file, or standard input. They are the ids of Hugging Face's
encode(text, add_special_tokens=False); --add-special-tokens adds what the tokenizer puts around a text. Special tokens that stand in the text are recognised
unless --plain is given.

The ids are a line of numbers, with --json one object, and with --out a binary file without a header: little-endian uint16 where the vocabulary has at most 65,536
tokens, else uint32.`,
		Example: `  mor tokenizer encode tokenizer.json "func main() {"
  mor tokenizer encode runs/default --file book.txt --out book.bin
  git log | mor tokenizer encode model.gguf --json | jq .mb_per_second`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error { return e.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&e.file, "file", "", "read the text from a file, as it is; - is standard input")
	f.StringVar(&e.out, "out", "", "write a binary file, which must not be there yet")
	f.StringVar(&e.dtype, "dtype", "", "type of an id in the binary file: uint16 or uint32 (default: the smallest that holds the vocabulary)")
	f.BoolVar(&e.addSpecial, "add-special-tokens", false, "put the tokenizer's own tokens before and after the text")
	f.BoolVar(&e.plain, "plain", false, "take special tokens in the text for ordinary text")
	f.BoolVar(&e.json, "json", false, "print one JSON object: ids, tokens, bytes per token, MB/s")
	return cmd
}

// encoding is what --json prints. A token that is no whole character has U+FFFD in its text.
type encoding struct {
	Count         int      `json:"count"`
	Bytes         int      `json:"bytes"`
	BytesPerToken float64  `json:"bytes_per_token"`
	Seconds       float64  `json:"seconds"` // of encoding alone, on one thread
	MBPerSecond   float64  `json:"mb_per_second"`
	Out           string   `json:"out,omitempty"`
	IDs           []int32  `json:"ids,omitempty"` // not where a file has them
	Tokens        []string `json:"tokens,omitempty"`
}

func (e *tokenizerEncode) run(cmd *cobra.Command, args []string) error {
	if e.file != "" && len(args) == 2 {
		return fmt.Errorf("--file and a text as argument: give one of them")
	}
	if e.dtype != "" && e.out == "" {
		return fmt.Errorf("--dtype: only a binary file has a type: name one with --out")
	}
	tok, err := openTokenizer(args[0])
	if err != nil {
		return err
	}
	width, err := idWidth(e.dtype, tok)
	if err != nil {
		return err
	}
	text, err := e.text(args, cmd.InOrStdin())
	if err != nil {
		return err
	}
	started := time.Now()
	ids := e.encode(tok, text)
	r := encoding{Count: len(ids), Bytes: len(text), Seconds: time.Since(started).Seconds(), Out: e.out}
	r.BytesPerToken, r.MBPerSecond = ratio(len(text), max(len(ids), 1)), float64(len(text))/1e6/r.Seconds
	if e.out == "" {
		r.IDs = ids
	} else if err := createNew(e.out, func(w io.Writer) error { return writeIDs(w, ids, width) }); err != nil {
		return err
	}
	return e.print(cmd.OutOrStdout(), tok, &r)
}

// print shows what was encoded.
func (e *tokenizerEncode) print(out io.Writer, tok *token.Tokenizer, r *encoding) error {
	switch {
	case e.json:
		for _, id := range r.IDs {
			r.Tokens = append(r.Tokens, string(tok.TokenBytes(id)))
		}
		return json.NewEncoder(out).Encode(r)
	case e.out != "":
		_, err := fmt.Fprintf(out, "%s: %s tokens of %s, %.2f bytes per token, %.1f MB/s\n", e.out, group(r.Count), formatSize(int64(r.Bytes)), r.BytesPerToken, r.MBPerSecond)
		return err
	}
	var line []byte
	for i, id := range r.IDs {
		if i > 0 {
			line = append(line, ' ')
		}
		line = strconv.AppendInt(line, int64(id), 10)
	}
	_, err := out.Write(append(line, '\n'))
	return err
}

// text returns the text to encode.
func (e *tokenizerEncode) text(args []string, stdin io.Reader) ([]byte, error) {
	switch {
	case len(args) == 2:
		return []byte(args[1]), nil
	case e.file != "":
		return readInput(e.file, stdin)
	}
	return readInput("-", stdin)
}

func (e *tokenizerEncode) encode(tok *token.Tokenizer, text []byte) []int32 {
	ids := make([]int32, 0, len(text)/4+8)
	if e.addSpecial {
		ids = append(ids, tok.Prefix()...)
	}
	if e.plain {
		ids = tok.AppendEncodePlain(ids, text)
	} else {
		ids = tok.AppendEncode(ids, text)
	}
	if e.addSpecial {
		ids = append(ids, tok.Suffix()...)
	}
	return ids
}

// idWidth returns the bytes of an id of type dtype, by default of the smallest type that holds the vocabulary.
func idWidth(dtype string, tok *token.Tokenizer) (int, error) {
	fits := tok.VocabSize() <= 1<<16
	switch {
	case dtype == "" && fits:
		return 2, nil
	case dtype == "" || dtype == "uint32":
		return 4, nil
	case dtype == "uint16" && fits:
		return 2, nil
	case dtype == "uint16":
		return 0, fmt.Errorf("--dtype uint16: the vocabulary has %d tokens: expected uint32", tok.VocabSize())
	}
	return 0, fmt.Errorf("--dtype: %q: expected uint16 or uint32%s", dtype, strict.Suggest(dtype, []string{"uint16", "uint32"}))
}

// writeIDs writes ids as little-endian numbers of width bytes.
func writeIDs(w io.Writer, ids []int32, width int) error {
	data := make([]byte, 0, width*len(ids))
	for _, id := range ids {
		if width == 2 {
			data = binary.LittleEndian.AppendUint16(data, uint16(id))
		} else {
			data = binary.LittleEndian.AppendUint32(data, uint32(id))
		}
	}
	_, err := w.Write(data)
	return err
}

// tokenizerDecode holds the flags of `mor tokenizer decode`.
type tokenizerDecode struct {
	file        string
	binary      bool
	dtype       string
	skipSpecial bool
	json        bool
}

func newTokenizerDecode() *cobra.Command {
	d := &tokenizerDecode{}
	cmd := &cobra.Command{
		Use:   "decode TOKENIZER [ID...]",
		Short: "Write the text of token ids",
		Long: `Write the text of token ids: the arguments, the file of --file, or standard input. Ids are numbers separated by white space or commas, in brackets or not; with
--binary they are what encode --out writes. The text comes as it is, without a newline behind it.`,
		Example: `  mor tokenizer decode tokenizer.json 504 253 216
  mor tokenizer decode runs/default --file book.bin --binary > book.txt
  mor tokenizer encode model.gguf "Hello" | mor tokenizer decode model.gguf`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return d.run(cmd, args[0], args[1:]) },
	}
	f := cmd.Flags()
	f.StringVar(&d.file, "file", "", "read the ids from a file; - is standard input")
	f.BoolVar(&d.binary, "binary", false, "the ids are little-endian numbers, as encode --out writes them")
	f.StringVar(&d.dtype, "dtype", "", "type of an id with --binary: uint16 or uint32 (default: the smallest that holds the vocabulary)")
	f.BoolVar(&d.skipSpecial, "skip-special-tokens", false, "leave special tokens out of the text")
	f.BoolVar(&d.json, "json", false, "print one JSON object: text, count")
	return cmd
}

func (d *tokenizerDecode) run(cmd *cobra.Command, path string, args []string) error {
	switch {
	case (d.file != "" || d.binary) && len(args) > 0:
		return fmt.Errorf("ids as arguments and --file or --binary: give one of them")
	case d.dtype != "" && !d.binary:
		return fmt.Errorf("--dtype: only binary ids have a type: add --binary")
	}
	tok, err := openTokenizer(path)
	if err != nil {
		return err
	}
	ids, err := d.ids(tok, args, cmd.InOrStdin())
	if err != nil {
		return err
	}
	dec, text := tok.NewDecoder(), make([]byte, 0, 4*len(ids))
	for i, id := range ids {
		if tok.TokenBytes(id) == nil {
			return fmt.Errorf("id %d of %d: %d names no token: expected 0 to %d", i+1, len(ids), id, tok.VocabSize()-1)
		}
		if !d.skipSpecial || !tok.IsSpecial(id) {
			text = append(text, dec.Write(id)...)
		}
	}
	text = append(text, dec.Flush()...)
	if d.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"text": string(text), "count": len(ids)})
	}
	_, err = cmd.OutOrStdout().Write(text)
	return err
}

// ids returns the ids to decode.
func (d *tokenizerDecode) ids(tok *token.Tokenizer, args []string, stdin io.Reader) ([]int32, error) {
	if len(args) > 0 {
		return parseIDs([]byte(strings.Join(args, " ")))
	}
	if d.file == "" {
		d.file = "-"
	}
	data, err := readInput(d.file, stdin)
	if err != nil {
		return nil, err
	}
	if !d.binary {
		return parseIDs(data)
	}
	width, err := idWidth(d.dtype, tok)
	if err != nil {
		return nil, err
	}
	if len(data)%width != 0 {
		return nil, fmt.Errorf("%s: %d bytes: expected a multiple of %d, the bytes of an id: is --dtype right?", d.file, len(data), width)
	}
	ids := make([]int32, 0, len(data)/width)
	for ; len(data) > 0; data = data[width:] {
		id := uint32(binary.LittleEndian.Uint16(data))
		if width == 4 {
			id = binary.LittleEndian.Uint32(data)
		}
		ids = append(ids, int32(min(id, math.MaxInt32)))
	}
	return ids, nil
}

// parseIDs reads numbers between white space, commas and brackets.
func parseIDs(text []byte) ([]int32, error) {
	fields := bytes.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\r\n,[]", r) })
	ids := make([]int32, len(fields))
	for i, f := range fields {
		id, err := strconv.ParseInt(string(f), 10, 32)
		if err != nil || id < 0 {
			return nil, fmt.Errorf("id %d of %d: %.40q: expected a token's number; binary ids need --binary", i+1, len(fields), f)
		}
		ids[i] = int32(id)
	}
	return ids, nil
}
