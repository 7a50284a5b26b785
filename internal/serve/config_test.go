package serve

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"mor/internal/golden"
	"mor/internal/serve/servetest"
)

// load merges a file, an environment and flags.
func load(t *testing.T, yaml string, environ, args []string) (*Config, error) {
	t.Helper()
	path := ""
	if yaml != "" {
		path = filepath.Join(t.TempDir(), "serve.yaml")
		if err := os.WriteFile(path, []byte(yaml), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	parsed, flags := DefaultConfig(), pflag.NewFlagSet("", pflag.ContinueOnError)
	parsed.Flags(flags)
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return Load(path, environ, flags)
}

// TestConfigOrder: flags come before variables, these before the file, this before the defaults.
func TestConfigOrder(t *testing.T) {
	c, err := load(t, "max_running: 1\nmax_waiting: 2\ncache_bytes: 5MiB\napi_keys: [a-key-of-some-length]\nidle_timeout: 7s\nmax_body_bytes: 1000\n",
		[]string{"MOR_MAX_RUNNING=3", "MOR_MAX_WAITING=4", "MOR_CORS_ORIGINS=http://a, http://b", "MOR_CPU=generic", "MOR_SERVICE_HOST=10.0.0.1", "MOR_PORT=tcp://10.0.0.1:80", "OTHER=1"}, []string{"--max-waiting", "5"})
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultConfig()
	want.MaxRunning, want.MaxWaiting, want.CacheBytes, want.APIKeys, want.IdleTimeout, want.MaxBodyBytes = 3, 5, 5<<20, List{"a-key-of-some-length"}, Duration(7*time.Second), 1000
	want.CORSOrigins = List{"http://a", "http://b"}
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got  %+v\nwant %+v", *c, want)
	}
	text, err := c.YAML()
	if err != nil || strings.Contains(string(text), "a-key") || !strings.Contains(string(text), "max_waiting: 5") {
		t.Errorf("shown as %s, %v", text, err)
	}
	again, err := load(t, string(text), nil, nil)
	if err != nil || again.MaxWaiting != 5 || again.CacheBytes != 5<<20 || again.IdleTimeout != c.IdleTimeout {
		t.Errorf("what is shown is read as %+v, %v", again, err)
	}
}

// TestConfigRefusals: an unknown key or variable, and a value that is none, is an error that names it.
func TestConfigRefusals(t *testing.T) {
	for want, c := range map[string]struct {
		yaml    string
		environ []string
	}{
		`max_runing: unknown key: did you mean "max_running"`:              {yaml: "max_runing: 1\n"},
		`MOR_MAX_RUNING: unknown variable: did you mean "MOR_MAX_RUNNING"`: {environ: []string{"MOR_MAX_RUNING=1"}},
		`MOR_THREADS: "many"`:        {environ: []string{"MOR_THREADS=many"}},
		`expected a number of bytes`: {yaml: "cache_bytes: lots\n"},
		`not valid YAML`:             {yaml: "a: [\n"},
	} {
		if _, err := load(t, c.yaml, c.environ, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// TestAddress: only loopback is served without a key.
func TestAddress(t *testing.T) {
	for address, loopback := range map[string]bool{"127.0.0.1:80": true, "[::1]:80": true, "localhost:80": true, ":80": false, "0.0.0.0:80": false, "192.0.2.1:80": false, "[::]:80": false} {
		c := DefaultConfig()
		c.Listen = address
		if err := c.checkAddress(); (err == nil) != loopback {
			t.Errorf("%s: %v", address, err)
		}
		if c.Insecure = true; c.checkAddress() != nil {
			t.Errorf("%s is refused although insecure is set", address)
		}
	}
}

// TestEveryKeyIsDescribed: a key without a description would have no help.
func TestEveryKeyIsDescribed(t *testing.T) {
	v := reflect.TypeFor[Config]()
	for i := range v.NumField() {
		if key := v.Field(i).Tag.Get("json"); usageOf[key] == "" {
			t.Errorf("%s has no description", key)
		}
	}
}

// FuzzConfig: no file is more than an error of one line.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{"", "max_running: 3", "cache_bytes: 1GiB\nidle_timeout: 3s", "api_keys: [a, b]", "a: [", "threads: 1e99", "cache_bytes: -1"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := DefaultConfig()
		if err := c.mergeYAML(text); err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// TestCacheFormat: keys and values are as exact as the weights where nobody says what they are kept as.
func TestCacheFormat(t *testing.T) {
	dir := servetest.Folder(t, golden.Kinds()[0].Name, 1)
	for _, test := range []struct{ weights, format, want string }{
		{"auto", "auto", "fp32"}, {"int8", "auto", "bf16"}, {"bf16", "auto", "bf16"}, {"int8", "fp32", "fp32"}, {"auto", "int8", "int8"},
	} {
		c := DefaultConfig()
		c.Model, c.Weights, c.Threads = dir, test.weights, 1
		if c.CacheFormat != "auto" {
			t.Errorf("cache_format is %s where nobody says, expected auto", c.CacheFormat)
		}
		c.CacheFormat = test.format
		o := c.ModelOptions()
		b, err := open(&o)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.engine.Options().CacheFormat; string(got) != test.want {
			t.Errorf("weights %s, cache_format %s: %s, expected %s", test.weights, test.format, got, test.want)
		}
		b.close()
	}
}
