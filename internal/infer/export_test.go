package infer

import "context"

// LogProbs is what the engine computes of a row of logits.
var LogProbs = logProbs

// SubmitTogether queues requests without constraints so that the engine sees none of them before the last.
func (e *Engine) SubmitTogether(ctx context.Context, requests []Request) ([]*Stream, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	streams := make([]*Stream, len(requests))
	for i := range requests {
		reason, err := e.check(&requests[i])
		if streams[i], err = e.accept(ctx, &requests[i], nil, reason, err); err != nil {
			return nil, err
		}
	}
	return streams, nil
}
