package infer

// LogProbs is what the engine computes of a row of logits.
var LogProbs = logProbs
