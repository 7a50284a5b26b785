package eval

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"mor/internal/strict"
)

// Document is one question of a task. Contexts and Continuations hold one text for each choice, or a single one that all choices share.
type Document struct {
	Subject       string // MMLU's
	Contexts      []string
	Continuations []string // with the blank that separates them from the context
	Gold          int      // the right choice
}

// Choices is how many answers are compared.
func (d *Document) Choices() int { return max(len(d.Contexts), len(d.Continuations)) }

// Context is what the choice is conditioned on.
func (d *Document) Context(choice int) string { return d.Contexts[min(choice, len(d.Contexts)-1)] }

// Continuation is what is scored.
func (d *Document) Continuation(choice int) string {
	return d.Continuations[min(choice, len(d.Continuations)-1)]
}

// choose makes the document whose choices continue one context.
func choose(context string, choices []string, gold *int) (*Document, error) {
	if len(choices) < 2 {
		return nil, fmt.Errorf("choices: %d of them: expected at least 2", len(choices))
	}
	if gold == nil || *gold < 0 || *gold >= len(choices) {
		return nil, fmt.Errorf("the right choice: %s: expected 0 to %d", shown(gold), len(choices)-1)
	}
	d := &Document{Contexts: []string{context}, Gold: *gold}
	for _, c := range choices {
		d.Continuations = append(d.Continuations, " "+c)
	}
	return d, nil
}

func shown(v *int) string {
	if v == nil {
		return "absent"
	}
	return fmt.Sprint(*v)
}

func parseARC(line []byte) (*Document, error) {
	var v struct {
		ID       string   `json:"id"`
		Question *string  `json:"question"`
		Choices  []string `json:"choices"`
		Gold     *int     `json:"gold"`
	}
	if err := decode(line, &v, &v.Question, "question"); err != nil {
		return nil, err
	}
	return choose("Question: "+*v.Question+"\nAnswer:", v.Choices, v.Gold)
}

func parseOpenBookQA(line []byte) (*Document, error) {
	var v struct {
		ID       string   `json:"id"`
		Question *string  `json:"question"`
		Choices  []string `json:"choices"`
		Gold     *int     `json:"gold"`
	}
	if err := decode(line, &v, &v.Question, "question"); err != nil {
		return nil, err
	}
	return choose(*v.Question, v.Choices, v.Gold)
}

func parseHellaSwag(line []byte) (*Document, error) {
	var v struct {
		Ind     int      `json:"ind"`
		Query   *string  `json:"query"`
		Choices []string `json:"choices"`
		Gold    *int     `json:"gold"`
	}
	if err := decode(line, &v, &v.Query, "query"); err != nil {
		return nil, err
	}
	return choose(*v.Query, v.Choices, v.Gold)
}

func parsePIQA(line []byte) (*Document, error) {
	var v struct {
		Goal  *string `json:"goal"`
		Sol1  *string `json:"sol1"`
		Sol2  *string `json:"sol2"`
		Label *int    `json:"label"`
	}
	if err := decode(line, &v, &v.Goal, "goal"); err != nil {
		return nil, err
	}
	if v.Sol1 == nil || v.Sol2 == nil {
		return nil, errors.New("sol1 or sol2 is absent: expected both texts")
	}
	return choose("Question: "+*v.Goal+"\nAnswer:", []string{*v.Sol1, *v.Sol2}, v.Label)
}

// parseWinoGrande fills each option into the blank; what follows the blank is scored.
func parseWinoGrande(line []byte) (*Document, error) {
	var v struct {
		Sentence *string `json:"sentence"`
		Option1  string  `json:"option1"`
		Option2  string  `json:"option2"`
		Answer   string  `json:"answer"`
	}
	if err := decode(line, &v, &v.Sentence, "sentence"); err != nil {
		return nil, err
	}
	head, tail, ok := strings.Cut(*v.Sentence, "_")
	if !ok {
		return nil, fmt.Errorf("sentence: %q has no blank: expected a _ where the options go", *v.Sentence)
	}
	if v.Answer != "1" && v.Answer != "2" {
		return nil, fmt.Errorf("answer: %q: expected \"1\" or \"2\"", v.Answer)
	}
	return &Document{Contexts: []string{head + v.Option1, head + v.Option2}, Continuations: []string{" " + strip(tail)}, Gold: int(v.Answer[0] - '1')}, nil
}

// parseLAMBADA scores the last word.
func parseLAMBADA(line []byte) (*Document, error) {
	var v struct {
		Context      *string `json:"context"`
		Continuation string  `json:"continuation"`
	}
	if err := decode(line, &v, &v.Context, "context"); err != nil {
		return nil, err
	}
	text := *v.Context + " " + v.Continuation
	cut := strings.LastIndexByte(text, ' ')
	return &Document{Contexts: []string{text[:cut]}, Continuations: []string{text[cut:]}}, nil
}

type mmluLine struct {
	Question *string  `json:"question"`
	Subject  string   `json:"subject"`
	Choices  []string `json:"choices"`
	Answer   *int     `json:"answer"`
}

// parseMMLU reads a line and makes the document of one of the task's forms.
func parseMMLU(form func(v *mmluLine) (context string, choices []string)) func(line []byte) (*Document, error) {
	return func(line []byte) (*Document, error) {
		var v mmluLine
		if err := decode(line, &v, &v.Question, "question"); err != nil {
			return nil, err
		}
		if len(v.Choices) != 4 || v.Subject == "" {
			return nil, fmt.Errorf("subject %q, %d choices: expected a subject and 4 choices", v.Subject, len(v.Choices))
		}
		context, choices := form(&v)
		d, err := choose(context, choices, v.Answer)
		if err == nil {
			d.Subject = v.Subject
		}
		return d, err
	}
}

var letters = []string{"A", "B", "C", "D"}

// lettered lists the choices, a line each.
func (v *mmluLine) lettered() string {
	var b strings.Builder
	for i, c := range v.Choices {
		fmt.Fprintf(&b, "%s. %s\n", letters[i], c)
	}
	return b.String()
}

func mmluLetters(v *mmluLine) (context string, choices []string) {
	return strip(*v.Question) + "\n" + v.lettered() + "Answer:", letters
}

func mmluContinuation(v *mmluLine) (context string, choices []string) {
	return "Question: " + strip(*v.Question) + "\nAnswer:", v.Choices
}

func mmluListed(v *mmluLine) (context string, choices []string) {
	return "Question: " + *v.Question + "\nChoices:\n" + v.lettered() + "Answer:", v.Choices
}

// decode reads one line; the field named must be there.
func decode(line []byte, v any, field **string, name string) error {
	if err := strict.JSON(line, v); err != nil {
		return err
	}
	if *field == nil {
		return fmt.Errorf("%s: absent: expected a text", name)
	}
	return nil
}

// space is what Python's strip takes away: Unicode's white space, and the four separators of ASCII.
func space(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func strip(s string) string { return strings.TrimFunc(s, space) }

// readDocuments reads a JSONL file of a task; blank lines are passed over.
func readDocuments(dir, name, task string, parse func(line []byte) (*Document, error)) ([]*Document, error) {
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such file: the task %s reads it", path, task)
	}
	if err != nil {
		return nil, err
	}
	var out []*Document
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		d, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, number, err)
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: empty: expected a JSON object a line", path)
	}
	return out, nil
}
