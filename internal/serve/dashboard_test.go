package serve

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"mor/internal/infer"
)

// metricNames are the names of all metrics that a server can show.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	m := newMetrics("model", func() infer.Stats { return infer.Stats{} })
	descs := make(chan *prometheus.Desc, 1000)
	m.registry.Describe(descs)
	close(descs)
	named := regexp.MustCompile(`fqName: "([^"]+)"`)
	names := map[string]bool{}
	for d := range descs {
		name := named.FindStringSubmatch(d.String())
		if name == nil {
			t.Fatalf("no name in %s", d)
		}
		names[name[1]] = true
	}
	return names
}

// TestDashboardMetrics: the dashboard, the autoscaler's rule and the README ask for no metric that the server does not have.
func TestDashboardMetrics(t *testing.T) {
	names := metricNames(t)
	asked := regexp.MustCompile(`\b(vllm:|mor_(token|block|recursions|admission|requests|http|kv|waiting)_|process_resident)[a-z_]*[a-z]\b`)
	for _, path := range []string{"../../deploy/grafana/dashboards/mor.json", "../../deploy/kubernetes/prometheus-adapter.yaml"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := asked.FindAllString(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s asks for nothing", path)
		}
		for _, name := range found {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
			if !names[name] && !names[base] {
				t.Errorf("%s asks for %s, which the server does not have", path, name)
			}
		}
	}
}
