package eval

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"mor/internal/strict"
)

// Task is a benchmark: where its documents lie, how one becomes requests, and what is measured. Requests are those of lm-evaluation-harness.
type Task struct {
	Name string
	File string // JSONL of the documents, in the data folder
	// Shots is the JSONL of the few-shot examples, "" where the task has none.
	Shots      string
	firstShots bool // the examples are the first of the subject; otherwise they are drawn for each document
	skipOwn    bool // one more is drawn, and the document itself passed over
	norm       bool // acc_norm and acc_bytes are measured too
	lastWord   bool // one continuation, which counts as right where greedy decoding gives it
	parse      func(line []byte) (*Document, error)
	header     string // text before a subject's documents, with the subject for %s
}

// tasks in the order in which help names them.
var tasks = []Task{
	{Name: "lambada_openai", File: "lambada_openai.jsonl", Shots: "lambada_openai.jsonl", lastWord: true, parse: parseLAMBADA},
	{Name: "hellaswag", File: "hellaswag_validation.jsonl", Shots: "hellaswag_train.jsonl", skipOwn: true, norm: true, parse: parseHellaSwag},
	{Name: "piqa", File: "piqa_validation.jsonl", Shots: "piqa_train.jsonl", skipOwn: true, norm: true, parse: parsePIQA},
	{Name: "winogrande", File: "winogrande_xl_validation.jsonl", Shots: "winogrande_xl_train.jsonl", skipOwn: true, parse: parseWinoGrande},
	{Name: "arc_easy", File: "arc_easy_test.jsonl", Shots: "arc_easy_train.jsonl", norm: true, parse: parseARC},
	{Name: "arc_challenge", File: "arc_challenge_test.jsonl", Shots: "arc_challenge_train.jsonl", norm: true, parse: parseARC},
	{Name: "openbookqa", File: "openbookqa_test.jsonl", Shots: "openbookqa_train.jsonl", norm: true, parse: parseOpenBookQA},
	{Name: "mmlu", File: "mmlu_test.jsonl", Shots: "mmlu_dev.jsonl", firstShots: true, parse: parseMMLU(mmluLetters),
		header: "The following are multiple choice questions (with answers) about %s.\n\n"},
	{Name: "mmlu_continuation", File: "mmlu_test.jsonl", Shots: "mmlu_dev.jsonl", firstShots: true, norm: true, parse: parseMMLU(mmluContinuation),
		header: "The following are questions (with answers) about %s.\n\n"},
	{Name: "hendrycksTest", File: "mmlu_test.jsonl", norm: true, parse: parseMMLU(mmluListed)},
}

// TaskNames lists the tasks.
func TaskNames() []string {
	var out []string
	for i := range tasks {
		out = append(out, tasks[i].Name)
	}
	return out
}

// FindTask returns the task of a name.
func FindTask(name string) (*Task, error) {
	for i := range tasks {
		if tasks[i].Name == name {
			return &tasks[i], nil
		}
	}
	return nil, fmt.Errorf("task %q: unknown%s: expected one of %s", name, strict.Suggest(name, TaskNames()), strings.Join(TaskNames(), ", "))
}

// Item is a document with the text before its contexts: the subject's header and the few-shot examples.
type Item struct {
	*Document
	Index  int // of the document in its file
	Prefix string
}

// Load reads the documents of a task, the first limit of each subject (0: all), each behind so many few-shot examples.
func (t *Task) Load(dir string, shots, limit int) ([]Item, error) {
	docs, err := readDocuments(dir, t.File, t.Name, t.parse)
	if err != nil {
		return nil, err
	}
	var examples []*Document
	if shots > 0 {
		if t.Shots == "" {
			return nil, fmt.Errorf("num_fewshot: %d: the task %s has no few-shot examples; use 0", shots, t.Name)
		}
		if examples, err = readDocuments(dir, t.Shots, fmt.Sprintf("%s with few-shot examples", t.Name), t.parse); err != nil {
			return nil, err
		}
	}
	var out []Item
	pools := map[string]*shotPool{}
	taken := map[string]int{}
	for i, d := range docs {
		if taken[d.Subject]++; limit > 0 && taken[d.Subject] > limit {
			continue
		}
		pool := pools[d.Subject]
		if pool == nil {
			pool = t.newPool(examples, d.Subject)
			pools[d.Subject] = pool
		}
		picked, err := pool.pick(d, shots)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t.Name, err)
		}
		out = append(out, Item{d, i, t.prefix(d.Subject, picked)})
	}
	return out, nil
}

// prefix is the header of a subject and the few-shot examples with their answers.
func (t *Task) prefix(subject string, shots []*Document) string {
	var b strings.Builder
	if t.header != "" {
		fmt.Fprintf(&b, t.header, strings.ReplaceAll(subject, "_", " "))
	}
	for _, s := range shots {
		b.WriteString(s.Context(s.Gold))
		if t.lastWord { // the harness puts a blank before the answer, which here begins with one
			b.WriteByte(' ')
		}
		b.WriteString(s.Continuation(s.Gold))
		b.WriteString("\n\n")
	}
	return b.String()
}

// shotSeed is what the harness draws few-shot examples with.
const shotSeed = 1234

// shotPool is where the few-shot examples of a subject come from.
type shotPool struct {
	task *Task
	docs []*Document
	rnd  *pythonRandom
}

func (t *Task) newPool(examples []*Document, subject string) *shotPool {
	p := &shotPool{task: t, rnd: newPythonRandom(shotSeed)}
	for _, e := range examples {
		if e.Subject == subject {
			p.docs = append(p.docs, e)
		}
	}
	return p
}

// pick chooses the examples of one document. Drawn ones depend on the documents before it.
func (p *shotPool) pick(d *Document, n int) ([]*Document, error) {
	draw := n
	if p.task.skipOwn && n > 0 {
		draw++
	}
	if draw > len(p.docs) {
		return nil, fmt.Errorf("num_fewshot: %d: %s has %d examples to draw %d from", n, p.task.Shots, len(p.docs), draw)
	}
	if p.task.firstShots || n == 0 {
		return p.docs[:n], nil
	}
	own := func(e *Document) bool { return p.task.skipOwn && reflect.DeepEqual(d, e) }
	picked := slices.DeleteFunc(p.at(p.docs, p.rnd.sample(len(p.docs), draw)), own)
	if len(picked) < n { // the document stands there more than once
		others := slices.DeleteFunc(slices.Clone(p.docs), own)
		if len(others) < n {
			return nil, fmt.Errorf("num_fewshot: %d: %s has %d other examples", n, p.task.Shots, len(others))
		}
		picked = p.at(others, p.rnd.sample(len(others), n))
	}
	return picked[:n], nil
}

func (p *shotPool) at(docs []*Document, index []int) []*Document {
	out := make([]*Document, len(index))
	for i, j := range index {
		out[i] = docs[j]
	}
	return out
}
