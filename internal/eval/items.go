package eval

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"mor/internal/model"
	"mor/internal/strict"
	"mor/internal/token"
)

// runOptions are what the records of a run depend on.
type runOptions struct {
	Task         string  `json:"task"`
	Routing      string  `json:"routing"`
	MaxRecursion int     `json:"max_recursion"`
	Threshold    float64 `json:"router_threshold"`
	NumFewshot   int     `json:"num_fewshot"`
	Limit        int     `json:"limit"`
	Context      int     `json:"context"`
	Model        string  `json:"model"` // what TaskOptions says of it
	Tokenizer    string  `json:"tokenizer_sha256"`
	Items        string  `json:"items_sha256"` // of the texts
}

// runFile is TASK.ROUTING….json.
type runFile struct {
	Options runOptions  `json:"options"`
	Result  *TaskResult `json:"result"` // null until all items are done
}

// itemLog keeps the records of a run: in memory, and in the JSONL of its folder.
type itemLog struct {
	records map[int]Record
	path    string // without its ending; "" for no files
	options runOptions
	f       *os.File
	w       *bufio.Writer
}

// openItems begins or continues a run. One with other options is refused.
func openItems(m *model.Model, tok *token.Tokenizer, task *Task, o *TaskOptions, items []Item) (*itemLog, error) {
	l := &itemLog{records: map[int]Record{}}
	if o.Out == "" {
		return l, nil
	}
	l.options = runOptions{task.Name, o.Mode.Routing.String(), o.Mode.MaxRecursion, o.Mode.Threshold, o.NumFewshot, o.Limit, o.Context, o.Model, tok.Hash(), itemsHash(items)}
	l.path = filepath.Join(o.Out, runName(m.Config, task, o.Mode))
	if err := os.MkdirAll(o.Out, 0o777); err != nil {
		return nil, err
	}
	begun, err := l.checkOptions()
	if err != nil {
		return nil, err
	}
	if !begun {
		if err := l.write(nil); err != nil {
			return nil, err
		}
	}
	if l.f, err = os.OpenFile(l.path+".jsonl", os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return nil, err
	}
	l.w = bufio.NewWriter(l.f)
	if err := l.read(task, items); err != nil {
		l.f.Close()
		return nil, err
	}
	return l, nil
}

// runName is the name of a run's files: TASK.ROUTING, and what differs from all recursions and the trained threshold.
func runName(c *model.Config, task *Task, mode model.Mode) string {
	name := task.Name + "." + mode.Routing.String()
	if mode.MaxRecursion != c.Recursions() {
		name += fmt.Sprintf(".max_recursion-%d", mode.MaxRecursion)
	}
	if mode.Threshold != 0 && mode.Threshold != 0.5 {
		name += fmt.Sprintf(".threshold-%g", mode.Threshold)
	}
	return name
}

func itemsHash(items []Item) string {
	h := sha256.New()
	for _, it := range items {
		fmt.Fprintf(h, "%d %d %q %q %q %q\n", it.Index, it.Gold, it.Subject, it.Prefix, it.Contexts, it.Continuations)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// checkOptions tells whether the run was begun, and refuses one with other options.
func (l *itemLog) checkOptions() (begun bool, err error) {
	path := l.path + ".json"
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var file runFile
	if err := json.Unmarshal(data, &file); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	there, here := reflect.ValueOf(file.Options), reflect.ValueOf(l.options)
	for i := range there.NumField() {
		if a, b := there.Field(i).Interface(), here.Field(i).Interface(); a != b {
			name := there.Type().Field(i).Tag.Get("json")
			return false, fmt.Errorf("%s: %s was %v, now %v: go on with the same options, or choose another --out", path, name, a, b)
		}
	}
	return true, nil
}

// read takes in the records that are there. A last line that was broken off is cut off.
func (l *itemLog) read(task *Task, items []Item) error {
	data, err := os.ReadFile(l.f.Name())
	if err != nil {
		return err
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	known := map[int]*Item{}
	for i := range items {
		known[items[i].Index] = &items[i]
	}
	number := 0
	for line := range bytes.Lines(data) {
		number++
		var r Record
		err := strict.JSON(line, &r)
		if err == nil && !task.made(&r, known[r.Item]) {
			err = fmt.Errorf("item %d with %d choices is not one of this run", r.Item, len(r.LogProbs))
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w: remove the file to begin anew", l.f.Name(), number, err)
		}
		l.records[r.Item] = r
	}
	if err := l.f.Truncate(int64(len(data))); err != nil {
		return err
	}
	_, err = l.f.Seek(int64(len(data)), 0)
	return err
}

// made tells whether a record can be the item's.
func (t *Task) made(r *Record, it *Item) bool {
	return it != nil && len(r.LogProbs) == it.Choices() && len(r.Greedy) == it.Choices() && r.Gold == it.Gold && t.norm == (r.AccNorm != nil && r.AccBytes != nil)
}

func (l *itemLog) has(item int) bool {
	_, ok := l.records[item]
	return ok
}

func (l *itemLog) count() int { return len(l.records) }

// where says, for an error, where the records are.
func (l *itemLog) where() string {
	if l.path == "" {
		return " (--out DIR would keep them)"
	}
	return " and kept in " + l.path + ".jsonl; the same command goes on"
}

func (l *itemLog) add(r Record) error {
	l.records[r.Item] = r
	if l.w == nil {
		return nil
	}
	data, err := json.Marshal(r)
	if err == nil {
		_, err = l.w.Write(append(data, '\n'))
	}
	return err
}

// flush hands the records over to the system.
func (l *itemLog) flush() error {
	if l.w == nil {
		return nil
	}
	return l.w.Flush()
}

// sorted lists the records in the order of the items.
func (l *itemLog) sorted() []Record {
	return slices.SortedFunc(maps.Values(l.records), func(a, b Record) int { return cmp.Compare(a.Item, b.Item) })
}

// finish writes the result, and the records in order.
func (l *itemLog) finish(r *TaskResult) error {
	if l.path == "" {
		return nil
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	for _, record := range l.sorted() {
		if err := enc.Encode(record); err != nil {
			return err
		}
	}
	if err := replaceFile(l.path+".jsonl", []byte(b.String())); err != nil {
		return err
	}
	return l.write(r)
}

func (l *itemLog) write(r *TaskResult) error {
	data, err := json.MarshalIndent(runFile{l.options, r}, "", " ")
	if err != nil {
		return err
	}
	return replaceFile(l.path+".json", append(data, '\n'))
}

func (l *itemLog) close() {
	if l.f != nil {
		l.f.Close()
	}
}

// replaceFile writes a file aside and renames it.
func replaceFile(path string, data []byte) error {
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}
