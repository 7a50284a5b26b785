// Package deploy_test checks the files that put the server into containers and clusters: their schemas, and that they agree with each other and with the server.
package deploy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"

	"mor/internal/serve"
	"mor/internal/strict"
)

// read decodes a YAML file whose keys must all be in T.
func read[T any](t *testing.T, path string) T {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var v T
	if err := strict.JSON(data, &v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

// TestEveryFileIsRead: no YAML file is left out of the tests below.
func TestEveryFileIsRead(t *testing.T) {
	known := []string{"compose.yaml", "prometheus/prometheus.yml", "grafana/provisioning/datasources/prometheus.yaml", "grafana/provisioning/dashboards/mor.yaml"}
	for _, name := range []string{"autoscaler", "deployment", "disruption", "kustomization", "prometheus-adapter", "prometheus-scrape", "secret", "service", "volume"} {
		known = append(known, "kubernetes/"+name+".yaml")
	}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if ext := filepath.Ext(path); err == nil && (ext == ".yaml" || ext == ".yml") && !slices.Contains(known, filepath.ToSlash(path)) {
			t.Errorf("%s: no test reads it", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// flagsOf parses the arguments of mor serve and returns its configuration.
func flagsOf(t *testing.T, where string, args []string) serve.Config {
	t.Helper()
	c := serve.DefaultConfig()
	f := pflag.NewFlagSet(where, pflag.ContinueOnError)
	c.Flags(f)
	if len(args) == 0 || args[0] != "serve" {
		t.Fatalf("%s: %q: expected mor serve", where, args)
	}
	if err := f.Parse(args[1:]); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if f.NArg() != 1 {
		t.Fatalf("%s: %q: expected one model", where, f.Args())
	}
	c.Model = f.Arg(0)
	if err := c.Validate(); err != nil {
		t.Errorf("%s: %v", where, err)
	}
	if !strings.HasSuffix(c.Listen, ":8080") {
		t.Errorf("%s: listens on %s: expected port 8080", where, c.Listen)
	}
	return c
}

// TestDockerfile: the image is built with the Go version of go.mod and runs mor serve as no root on nothing else.
func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	find := func(in []byte, pattern string) string {
		m := regexp.MustCompile(`(?m)` + pattern).FindSubmatch(in)
		if m == nil {
			t.Fatalf("no %s", pattern)
		}
		return string(m[1])
	}
	want, got := find(mod, `^go (\d+\.\d+)\.\d+$`), find(text, `^FROM golang:(\d+\.\d+)\.\d+-bookworm AS build$`)
	if want != got {
		t.Errorf("the image is built with Go %s, go.mod says %s", got, want)
	}
	for _, line := range []string{"FROM scratch", "USER 65532:65532", "EXPOSE 8080", `ENTRYPOINT \["/mor"\]`} {
		find(text, `^(`+line+`)$`)
	}
	var command []string
	if err := json.Unmarshal([]byte(find(text, `^CMD (.*)$`)), &command); err != nil {
		t.Fatal(err)
	}
	flagsOf(t, "Dockerfile", command)
	if strings.Contains(string(text), ":latest") {
		t.Error("a version is not pinned")
	}
}

// TestCompose: versions are pinned, secrets and volumes exist, the grace period is longer than the drain, and only loopback is published.
func TestCompose(t *testing.T) {
	c := read[compose](t, "compose.yaml")
	server := c.Services["mor"]
	o := flagsOf(t, "compose.yaml", server.Command)
	grace, err := time.ParseDuration(server.StopGracePeriod)
	if err != nil || grace <= time.Duration(o.DrainTimeout) {
		t.Errorf("stop_grace_period %s: expected more than the %v of --drain-timeout", server.StopGracePeriod, o.DrainTimeout)
	}
	if _, err := os.Stat(filepath.Join(server.Build.Context, server.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	for name, s := range c.Services {
		if !regexp.MustCompile(`:(local|v?\d+\.\d+\.\d+)$`).MatchString(s.Image) {
			t.Errorf("%s: image %s has no version", name, s.Image)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is published to other machines", name, p)
			}
		}
		for _, secret := range s.Secrets {
			if _, ok := c.Secrets[secret]; !ok {
				t.Errorf("%s: no secret %s", name, secret)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if _, err := os.Stat(from); strings.HasPrefix(from, "./") && err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if o.APIKeyFile != "/run/secrets/api-key" || !slices.Contains(server.Secrets, "api-key") {
		t.Errorf("the key file is %s: expected that of the secret", o.APIKeyFile)
	}
}

// TestPrometheus: the server is asked at its port and path, with its key.
func TestPrometheus(t *testing.T) {
	p := read[prometheus](t, "prometheus/prometheus.yml")
	jobs := append(p.ScrapeConfigs, read[[]scrape](t, "kubernetes/prometheus-scrape.yaml")...)
	for _, s := range jobs {
		if s.MetricsPath != "/metrics" || s.Authorization.Type != "Bearer" || s.Authorization.CredentialsFile == "" {
			t.Errorf("job %s: %+v", s.JobName, s)
		}
	}
	if got := jobs[0].StaticConfigs[0].Targets; len(got) != 1 || got[0] != "mor:8080" {
		t.Errorf("targets %v: expected the service mor of compose.yaml at its port", got)
	}
	if !slices.ContainsFunc(jobs[1].RelabelConfigs, func(r relabel) bool { return r.Action == "keep" && r.Regex == "8080" }) {
		t.Error("the job for Kubernetes does not keep port 8080 alone")
	}
}

// TestGrafana: the data source is Prometheus of compose.yaml, and the dashboard is where the provider looks and asks this source.
func TestGrafana(t *testing.T) {
	d := read[datasources](t, "grafana/provisioning/datasources/prometheus.yaml").Datasources[0]
	if d.URL != "http://prometheus:9090" || d.UID != "prometheus" || d.Type != "prometheus" {
		t.Errorf("data source %+v", d)
	}
	path := read[dashboards](t, "grafana/provisioning/dashboards/mor.yaml").Providers[0].Options["path"]
	if mounts := read[compose](t, "compose.yaml").Services["grafana"].Volumes; !slices.Contains(mounts, "./grafana/dashboards:"+path+":ro") {
		t.Errorf("dashboards are looked for in %s, mounted are %v", path, mounts)
	}
	text, err := os.ReadFile("grafana/dashboards/mor.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct {
				Expr       string
				Datasource struct{ UID string }
			}
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	ids := map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W == 0 || len(p.Targets) == 0 {
			t.Errorf("panel %s: id %d twice, or no place, or nothing in it: %+v", p.Title, p.ID, p.GridPos)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			if target.Datasource.UID != d.UID || target.Expr == "" {
				t.Errorf("panel %s: %+v", p.Title, target)
			}
		}
	}
}

// TestKubernetes: the manifests fit each other and the server.
func TestKubernetes(t *testing.T) {
	d := read[deployment](t, "kubernetes/deployment.yaml")
	s := read[service](t, "kubernetes/service.yaml")
	a := read[autoscaler](t, "kubernetes/autoscaler.yaml")
	b := read[disruption](t, "kubernetes/disruption.yaml")
	k := read[secret](t, "kubernetes/secret.yaml")
	v := read[volumeClaim](t, "kubernetes/volume.yaml")
	for what, found := range map[string][2]string{
		"Deployment": {"apps/v1", d.APIVersion}, "Service": {"v1", s.APIVersion}, "HorizontalPodAutoscaler": {"autoscaling/v2", a.APIVersion},
		"PodDisruptionBudget": {"policy/v1", b.APIVersion}, "Secret": {"v1", k.APIVersion}, "PersistentVolumeClaim": {"v1", v.APIVersion},
	} {
		if found[0] != found[1] {
			t.Errorf("%s: apiVersion %s, expected %s", what, found[1], found[0])
		}
	}
	if got := d.Kind + s.Kind + a.Kind + b.Kind + k.Kind + v.Kind; got != "DeploymentServiceHorizontalPodAutoscalerPodDisruptionBudgetSecretPersistentVolumeClaim" {
		t.Errorf("kinds %s", got)
	}
	pods := d.Spec.Template.Metadata.Labels["app.kubernetes.io/name"]
	for what, l := range map[string]names{"Deployment": d.Spec.Selector.MatchLabels, "Service": s.Spec.Selector, "PodDisruptionBudget": b.Spec.Selector.MatchLabels} {
		if len(l) != 1 || l["app.kubernetes.io/name"] != pods {
			t.Errorf("%s selects %v, the pods are %s", what, l, pods)
		}
	}
	if d.Spec.Replicas != nil || a.Spec.ScaleTargetRef.Name != d.Metadata.Name || a.Spec.ScaleTargetRef.Kind != d.Kind || a.Spec.MinReplicas <= b.Spec.MinAvailable || a.Spec.MaxReplicas < a.Spec.MinReplicas {
		t.Errorf("the autoscaler's target and bounds do not fit: %+v", a.Spec)
	}
	if s.Spec.Ports[0].TargetPort != d.Spec.Template.Spec.Containers[0].Ports[0].Name {
		t.Error("the Service's port is none of the container")
	}
	checkPod(t, &d.Spec.Template.Spec, k, v)
	resources := read[kustomization](t, "kubernetes/kustomization.yaml").Resources
	slices.Sort(resources)
	if want := []string{"autoscaler.yaml", "deployment.yaml", "disruption.yaml", "secret.yaml", "service.yaml", "volume.yaml"}; !slices.Equal(resources, want) {
		t.Errorf("kustomization.yaml has %v, expected %v", resources, want)
	}
	rule := read[adapterValues](t, "kubernetes/prometheus-adapter.yaml").Rules.Custom[0]
	if m := a.Spec.Metrics[0].Pods.Metric.Name; m != rule.Name.As || !strings.HasPrefix(rule.SeriesQuery, "vllm:num_requests_waiting{") {
		t.Errorf("the autoscaler reads %s, the adapter gives %s of %s", m, rule.Name.As, rule.SeriesQuery)
	}
}

func checkPod(t *testing.T, p *pod, k secret, v volumeClaim) {
	t.Helper()
	yes := func(b *bool) bool { return b != nil && *b }
	no := func(b *bool) bool { return b != nil && !*b }
	c := &p.Containers[0]
	o := flagsOf(t, "deployment.yaml", c.Args)
	if need := c.Lifecycle.PreStop.Sleep.Seconds + int(time.Duration(o.DrainTimeout).Seconds()); p.TerminationGracePeriodSeconds <= need {
		t.Errorf("terminationGracePeriodSeconds %d: expected more than %d", p.TerminationGracePeriodSeconds, need)
	}
	for what, good := range map[string]bool{
		"runAsNonRoot": yes(p.SecurityContext.RunAsNonRoot), "user": p.SecurityContext.RunAsUser == 65532, "seccomp": p.SecurityContext.SeccompProfile.Type == "RuntimeDefault",
		"allowPrivilegeEscalation": no(c.SecurityContext.AllowPrivilegeEscalation), "readOnlyRootFilesystem": yes(c.SecurityContext.ReadOnlyRootFilesystem),
		"capabilities": slices.Equal(c.SecurityContext.Capabilities.Drop, []string{"ALL"}), "automountServiceAccountToken": no(p.AutomountServiceAccountToken),
		"enableServiceLinks": no(p.EnableServiceLinks), "port": c.Ports[0].ContainerPort == 8080,
		"requests": c.Resources.Requests["cpu"] != "" && c.Resources.Requests["memory"] != "", "limits": c.Resources.Limits["cpu"] != "" && c.Resources.Limits["memory"] != "",
		"startup": c.StartupProbe.HTTPGet.Path == "/readyz", "readiness": c.ReadinessProbe.HTTPGet.Path == "/readyz", "liveness": c.LivenessProbe.HTTPGet.Path == "/healthz",
		"claim": p.Volumes[0].PersistentVolumeClaim != nil && p.Volumes[0].PersistentVolumeClaim.ClaimName == v.Metadata.Name,
		"keys":  p.Volumes[1].Secret != nil && p.Volumes[1].Secret.SecretName == k.Metadata.Name,
	} {
		if !good {
			t.Errorf("deployment.yaml: %s is not as it must be", what)
		}
	}
	for _, q := range []probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		if q.HTTPGet.Port != c.Ports[0].Name {
			t.Errorf("a probe asks port %s", q.HTTPGet.Port)
		}
	}
	for i, m := range c.VolumeMounts {
		if m.Name != p.Volumes[i].Name || !m.ReadOnly {
			t.Errorf("mount %+v is not volume %s, read only", m, p.Volumes[i].Name)
		}
	}
	if dir, file := filepath.Split(o.APIKeyFile); dir != c.VolumeMounts[1].MountPath+"/" || k.StringData[file] == "" || o.Model != c.VolumeMounts[0].MountPath {
		t.Errorf("model %s, key file %s: not in the volumes", o.Model, o.APIKeyFile)
	}
	if len(k.StringData["api-keys"]) >= 16 {
		t.Error("the Secret has a key that would work: it must be replaced")
	}
}
