package train

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// MetricsFile is the run's record of events, one JSON object a line.
const MetricsFile = "metrics.jsonl"

// Metrics appends records to metrics.jsonl.
type Metrics struct {
	f   *os.File
	enc *json.Encoder
}

// OpenMetrics opens the record of a run that continues behind a step: what a run that was killed wrote of later steps is removed, aside
// and by rename, so that the record is that of a run which never stopped.
func OpenMetrics(dir string, step int) (*Metrics, error) {
	path := filepath.Join(dir, MetricsFile)
	if err := cutMetrics(path, step); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		return nil, err
	}
	return &Metrics{f, json.NewEncoder(f)}, nil
}

// Write appends a record.
func (m *Metrics) Write(record any) error {
	if err := m.enc.Encode(record); err != nil {
		return fmt.Errorf("%s: %w", m.f.Name(), err)
	}
	return nil
}

// Close closes the file.
func (m *Metrics) Close() error { return m.f.Close() }

// cutMetrics keeps the whole lines of steps up to step.
func cutMetrics(path string, step int) error {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	w := bufio.NewWriter(out)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r struct {
			Step  int
			Final bool
		}
		if json.Unmarshal(lines.Bytes(), &r) != nil || r.Step > step || r.Final { // the end of a run is evaluated again
			continue
		}
		w.Write(append(lines.Bytes(), '\n'))
	}
	if err := errors.Join(lines.Err(), w.Flush(), out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), path)
}

// FinalEvaluation is the last measurement on all held-out text that a run's record has, of the routing that serving uses. It is not ok where there is none.
func FinalEvaluation(dir string) (e Evaluation, ok bool) {
	in, err := os.Open(filepath.Join(dir, MetricsFile))
	if err != nil {
		return e, false
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r Evaluation
		if json.Unmarshal(lines.Bytes(), &r) == nil && r.Type == "eval" && r.Final && (!ok || r.Step > e.Step) {
			e, ok = r, true
		}
	}
	return e, ok
}
