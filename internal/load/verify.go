package load

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Verified compares the answers of a run with those that the server gives to the same requests one at a time, not streamed.
type Verified struct {
	Alone      int      `json:"alone"`      // different requests that were sent again
	Completed  int      `json:"completed"`  // answers compared
	Beginnings int      `json:"beginnings"` // answers that the client gave up, compared as far as they came
	Different  int      `json:"different"`
	Examples   []string `json:"examples,omitempty"`
}

// Verify asks for each answer of the run again, alone, and compares. Options.Verify must have been set. It adds to the run's report.
func (r *Run) Verify(ctx context.Context, progress func(done, total int)) error {
	v := &Verified{}
	same := map[int][]int{} // requests by what they ask for
	var order []int
	for i := range r.outcomes {
		if out := &r.outcomes[i]; out.completed() || out.cancelled && len(out.text) > 0 {
			d := r.Options.distinct(i)
			if len(same[d]) == 0 {
				order = append(order, d)
			}
			same[d] = append(same[d], i)
		}
	}
	for n, d := range order {
		text, err := r.alone(ctx, d)
		if err != nil {
			return fmt.Errorf("request %d, sent again alone: %w", d, err)
		}
		v.Alone++
		for _, i := range same[d] {
			v.compare(i, &r.outcomes[i], text)
		}
		if progress != nil {
			progress(n+1, len(order))
		}
	}
	r.Report().Verified = v
	return nil
}

func (v *Verified) compare(i int, out *outcome, alone string) {
	found := string(out.text)
	equal := found == alone
	if out.cancelled {
		v.Beginnings++
		equal = strings.HasPrefix(alone, found)
	} else {
		v.Completed++
	}
	if equal {
		return
	}
	if v.Different++; len(v.Examples) < maxDetails {
		v.Examples = append(v.Examples, fmt.Sprintf("request %d: %.80q, alone %.80q", i, found, alone))
	}
}

// alone is the answer to one request with nothing beside it.
func (r *Run) alone(ctx context.Context, i int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Options.Timeout)
	defer cancel()
	body, _ := r.Options.content(i, false)
	req, err := r.post(ctx, body)
	if err != nil {
		return "", err
	}
	if body, err = r.call(req); err != nil {
		return "", err
	}
	var answer struct {
		Choices []struct {
			Text    string `json:"text"`
			Message struct {
				Content string `json:"content"`
			} `json:"message"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Choices) == 0 {
		return "", fmt.Errorf("expected an answer with a choice, found %.100q", body)
	}
	return answer.Choices[0].Text + answer.Choices[0].Message.Content, nil
}
