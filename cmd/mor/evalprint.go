package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"mor/internal/eval"
)

// printEval writes tables.
func printEval(out io.Writer, report *evalReport) error {
	first := report.Results[0]
	overlap := "without overlap"
	if first.Stride < first.Context {
		overlap = fmt.Sprintf("that begin every %d", first.Stride)
	}
	fmt.Fprintf(out, "%s tokens, %s of text, windows of %d tokens %s\n\n", group(first.Tokens), formatSize(first.Bytes), first.Context, overlap)
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	header := func() {
		fmt.Fprintln(w, "routing\tmax recursion\tthreshold\tloss\t± stderr\tperplexity\tbits per byte\tmean depth\tFLOPs/token\t")
	}
	row := func(r *eval.Result) {
		threshold := "–"
		if r.Threshold > 0 {
			threshold = fmt.Sprintf("%.2f", r.Threshold)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%.4f\t%.4f\t%.2f\t%.4f\t%.3f\t%s\t\n", r.Routing, r.MaxRecursion, threshold, r.Loss, r.StdErr, r.Perplexity, r.BitsPerByte, r.MeanDepth, short(r.FLOPs))
	}
	header()
	for _, r := range report.Results {
		row(r)
	}
	w.Flush()
	for _, r := range report.Results {
		printRouting(out, w, r)
	}
	if len(report.DepthCurve) > 0 {
		fmt.Fprintf(out, "\ntest-time depth\n")
		header()
		for _, r := range report.DepthCurve {
			row(r)
		}
	}
	return w.Flush()
}

// printRouting writes what the routers did under one routing.
func printRouting(out io.Writer, w *tabwriter.Writer, r *eval.Result) {
	if len(r.Recursions) > 0 {
		fmt.Fprintf(out, "\n%s: tokens by depth", r.Routing)
		for d, share := range r.Histogram {
			fmt.Fprintf(out, "  %d: %.1f %%", d, 100*share)
		}
		fmt.Fprintf(out, "; no recursion at all (dead): %.1f %%\n", 100*r.Dead())
		fmt.Fprintln(w, "recursion\tcapacity\tran it\tthreshold agrees\t")
		for i, rec := range r.Recursions {
			agreement := "–"
			if rec.Agreement != nil {
				agreement = fmt.Sprintf("%.1f %%", 100**rec.Agreement)
			}
			fmt.Fprintf(w, "%d\t%.1f %%\t%.1f %%\t%s\t\n", i, 100*rec.Capacity, 100*rec.Share, agreement)
		}
		w.Flush()
	}
	fmt.Fprintf(out, "\n%s: by class of token\n", r.Routing)
	fmt.Fprintln(w, "class\tshare\tmean depth\tloss behind it\t")
	for _, c := range r.Classes {
		fmt.Fprintf(w, "%s\t%.1f %%\t%.3f\t%.3f\t\n", c.Name, 100*c.Share, c.MeanDepth, c.Loss)
	}
	w.Flush()
}

// printTasks writes a line for each score.
func printTasks(out io.Writer, results []*eval.TaskResult) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "task\titems\tshots\trouting\tmax recursion\tthreshold\tmetric\tvalue\t± stderr\tmean depth\tFLOPs/token")
	for _, r := range results {
		threshold := "–"
		if r.Threshold > 0 {
			threshold = fmt.Sprintf("%.2f", r.Threshold)
		}
		for _, name := range eval.MetricNames {
			m, ok := r.Metrics[name]
			if !ok {
				continue
			}
			stderr := "–"
			if m.StdErr != nil {
				stderr = fmt.Sprintf("%.4f", *m.StdErr)
			}
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\t%s\t%.4f\t%s\t%.3f\t%s\n", r.Task, group(r.Items), r.NumFewshot, r.Routing, r.MaxRecursion, threshold, name, m.Value, stderr, r.MeanDepth, short(r.FLOPs))
		}
	}
	return w.Flush()
}
