package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"

	"mor/internal/infer"
	"mor/internal/kernel"
	"mor/internal/strict"
)

// Config says everything about a server. The keys are those of the YAML file, with dashes those of the flags, and in capitals behind MOR_ those of the environment.
type Config struct {
	Model        string `json:"model"`
	Name         string `json:"model_name"`
	ChatTemplate string `json:"chat_template"`
	Weights      string `json:"weights"`
	Threads      int    `json:"threads"`

	Listen      string `json:"listen"`
	Insecure    bool   `json:"insecure"`
	TLSCert     string `json:"tls_cert"`
	TLSKey      string `json:"tls_key"`
	APIKeys     List   `json:"api_keys"`
	APIKeyFile  string `json:"api_key_file"`
	CORSOrigins List   `json:"cors_origins"`

	MaxRunning       int    `json:"max_running"`
	MaxWaiting       int    `json:"max_waiting"`
	MaxWaitingTokens int    `json:"max_waiting_tokens"`
	TokenBudget      int    `json:"token_budget"`
	CacheBytes       Size   `json:"cache_bytes"`
	CacheFormat      string `json:"cache_format"`
	PrefixReuse      bool   `json:"prefix_reuse"`

	MaxBodyBytes    Size `json:"max_body_bytes"`
	MaxChoices      int  `json:"max_choices"`
	MaxPromptTokens int  `json:"max_prompt_tokens"`
	MaxTokens       int  `json:"max_tokens"`

	RequestTimeout    Duration `json:"request_timeout"`
	ReadHeaderTimeout Duration `json:"read_header_timeout"`
	ReadTimeout       Duration `json:"read_timeout"`
	WriteTimeout      Duration `json:"write_timeout"`
	IdleTimeout       Duration `json:"idle_timeout"`
	DrainTimeout      Duration `json:"drain_timeout"`

	LogLevel  string `json:"log_level"`
	LogFormat string `json:"log_format"`
}

// usageOf describes each key. A key without a flag is "-": what stands on a command line can be read by others.
var usageOf = map[string]string{
	"model": "-", "model_name": "name in /v1/models (default: the last part of the model's path)", "chat_template": "file with a Jinja template, in place of the model's own",
	"weights": "type that the matrices are held in; auto: what the file has", "threads": "compute threads (0: one for each CPU)",
	"listen": "address and port", "insecure": "serve on an address that is not loopback without an API key",
	"tls_cert": "file with the certificate; SIGHUP reads it again", "tls_key": "file with the certificate's key",
	"api_keys": "-", "api_key_file": "file with API keys, a line for each; MOR_API_KEYS has them separated by commas", "cors_origins": "web pages from elsewhere that may send requests, such as https://example.com",
	"max_running": "most texts that are written together", "max_waiting": "most requests that wait; more get 503", "max_waiting_tokens": "most prompt tokens that wait; more get 503",
	"token_budget": "most rows that enter the model at once", "cache_bytes": "most memory for keys and values", "cache_format": "what keys and values are kept as: fp32, bf16, int8; auto: fp32 beside weights in float32, else bf16",
	"prefix_reuse":   "keys and values of a prompt's beginning are kept for later prompts",
	"max_body_bytes": "largest body of a request", "max_choices": "most choices of a request: its prompts times n", "max_prompt_tokens": "longest prompt (0: what the context holds)",
	"max_tokens": "most tokens that a request may ask for (0: what the context holds)", "request_timeout": "for a whole request (0s: no limit)",
	"read_header_timeout": "for the header of a request", "read_timeout": "for the body of a request", "write_timeout": "for each write to a client that reads slowly",
	"idle_timeout": "for a connection without a request", "drain_timeout": "for running requests behind SIGTERM",
	"log_level": "debug, info, warn, error", "log_format": "json or text",
}

// DefaultConfig serves some dozens of clients on this machine.
func DefaultConfig() Config {
	e, o := infer.DefaultEngineOptions(), DefaultOptions()
	return Config{
		Weights: "auto", Listen: "127.0.0.1:8080", MaxRunning: e.MaxRunning, MaxWaiting: e.MaxWaiting, MaxWaitingTokens: e.MaxWaitingTokens, TokenBudget: e.TokenBudget,
		CacheBytes: Size(e.CacheBytes), CacheFormat: string(e.CacheFormat), PrefixReuse: e.PrefixReuse, MaxBodyBytes: Size(o.MaxBodyBytes), MaxChoices: o.MaxChoices,
		RequestTimeout: Duration(o.RequestTimeout), ReadHeaderTimeout: Duration(10 * time.Second), ReadTimeout: Duration(o.ReadTimeout), WriteTimeout: Duration(o.WriteTimeout),
		IdleTimeout: Duration(2 * time.Minute), DrainTimeout: Duration(30 * time.Second), LogLevel: "info", LogFormat: "json",
	}
}

// Flags adds a flag for each key that has one.
func (c *Config) Flags(f *pflag.FlagSet) { c.bind(f, false) }

// bind adds a flag for each key; with all, also for those that a command line has none of.
func (c *Config) bind(f *pflag.FlagSet, all bool) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		key := v.Type().Field(i).Tag.Get("json")
		name, usage := flagName(key), usageOf[key]
		if usage == "-" && !all {
			continue
		}
		switch p := v.Field(i).Addr().Interface().(type) {
		case *string:
			f.StringVar(p, name, *p, usage)
		case *int:
			f.IntVar(p, name, *p, usage)
		case *bool:
			f.BoolVar(p, name, *p, usage)
		case pflag.Value:
			f.Var(p, name, usage)
		}
	}
}

func flagName(key string) string     { return strings.ReplaceAll(key, "_", "-") }
func variableName(key string) string { return "MOR_" + strings.ToUpper(key) }

// Load merges the defaults, a YAML file ("": none), variables MOR_* of an environment, and flags that were given, in this order.
func Load(path string, environ []string, flags *pflag.FlagSet) (*Config, error) {
	c := DefaultConfig()
	if path != "" {
		text, err := os.ReadFile(path)
		if err == nil {
			err = c.mergeYAML(text)
		}
		if err != nil {
			return nil, fmt.Errorf("--config %s: %w", path, err)
		}
	}
	target := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.bind(target, true)
	if err := setVariables(target, environ); err != nil {
		return nil, err
	}
	var err error
	flags.Visit(func(given *pflag.Flag) {
		if f := target.Lookup(given.Name); f != nil {
			err = errors.Join(err, f.Value.Set(given.Value.String()))
		}
	})
	return &c, err
}

func (c *Config) mergeYAML(text []byte) error {
	data, err := yaml.YAMLToJSON(text)
	if err != nil {
		return fmt.Errorf("not valid YAML: %s", strings.Join(strings.Fields(err.Error()), " "))
	}
	if strings.TrimSpace(string(data)) == "null" {
		return nil
	}
	return strict.JSON(data, c)
}

// foreignVariables begin like those of the server and are not: what picks kernels, what tests read, and what Kubernetes sets for a Service named mor.
var foreignVariables = []string{"MOR_CPU", "MOR_GOLDEN", "MOR_GGUF", "MOR_SMOLLM2", "MOR_PYTHON", "MOR_SERVICE_", "MOR_PORT"}

// setVariables applies MOR_*. An unknown one is an error.
func setVariables(target *pflag.FlagSet, environ []string) error {
	var known []string
	target.VisitAll(func(f *pflag.Flag) { known = append(known, variableName(strings.ReplaceAll(f.Name, "-", "_"))) })
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		foreign := slices.ContainsFunc(foreignVariables, func(p string) bool { return strings.HasPrefix(name, p) })
		if !strings.HasPrefix(name, "MOR_") || foreign {
			continue
		}
		f := target.Lookup(flagName(strings.ToLower(strings.TrimPrefix(name, "MOR_"))))
		if f == nil || !slices.Contains(known, name) {
			return fmt.Errorf("%s: unknown variable%s", name, strict.Suggest(name, known))
		}
		if err := f.Value.Set(value); err != nil {
			return fmt.Errorf("%s: %q: %w", name, value, err)
		}
	}
	return nil
}

// Shown is the configuration with its secrets hidden.
func (c Config) Shown() Config {
	if n := len(c.APIKeys); n > 0 {
		c.APIKeys = List{fmt.Sprintf("(%d hidden)", n)}
	}
	return c
}

// YAML is the merged configuration as a file, its secrets hidden.
func (c Config) YAML() ([]byte, error) {
	data, err := json.Marshal(c.Shown())
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(data)
}

// Validate names the first key that makes no sense.
func (c *Config) Validate() error {
	for _, f := range []struct {
		key         string
		value, last int
	}{
		{"max_body_bytes", int(c.MaxBodyBytes), 1}, {"max_choices", c.MaxChoices, 1}, {"max_prompt_tokens", c.MaxPromptTokens, 0}, {"max_tokens", c.MaxTokens, 0},
		{"threads", c.Threads, 0}, {"request_timeout", int(c.RequestTimeout), 0}, {"read_header_timeout", int(c.ReadHeaderTimeout), 1}, {"read_timeout", int(c.ReadTimeout), 1},
		{"write_timeout", int(c.WriteTimeout), 1}, {"idle_timeout", int(c.IdleTimeout), 1}, {"drain_timeout", int(c.DrainTimeout), 0},
	} {
		if f.value < f.last {
			return fmt.Errorf("%s: %d: expected at least %d", f.key, f.value, f.last)
		}
	}
	switch {
	case c.Model == "":
		return fmt.Errorf("model: missing: name a model folder, a GGUF file or a run")
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return fmt.Errorf("tls_cert, tls_key: expected both or none")
	case !slices.Contains([]string{"json", "text"}, c.LogFormat):
		return fmt.Errorf("log_format: %q: expected json or text", c.LogFormat)
	}
	for _, origin := range c.CORSOrigins {
		if !strings.HasPrefix(origin, "http://") && !strings.HasPrefix(origin, "https://") || strings.HasSuffix(origin, "/") {
			return fmt.Errorf("cors_origins: %q: expected scheme and host, such as https://example.com", origin)
		}
	}
	o := c.ModelOptions().Engine
	return o.Validate()
}

// ModelOptions are those of the model.
func (c *Config) ModelOptions() ModelOptions {
	e := infer.DefaultEngineOptions()
	e.MaxRunning, e.MaxWaiting, e.MaxWaitingTokens, e.TokenBudget = c.MaxRunning, c.MaxWaiting, c.MaxWaitingTokens, c.TokenBudget
	e.CacheBytes, e.CacheFormat, e.PrefixReuse = int64(c.CacheBytes), kernel.PageFormat(c.CacheFormat), c.PrefixReuse
	return ModelOptions{Path: c.Model, Name: c.Name, ChatTemplate: c.ChatTemplate, Weights: c.Weights, Threads: c.Threads, Engine: e}
}

// Options are the limits of the server.
func (c *Config) Options() Options {
	return Options{
		MaxBodyBytes: int64(c.MaxBodyBytes), MaxChoices: c.MaxChoices, MaxPromptTokens: c.MaxPromptTokens, MaxTokens: c.MaxTokens, RequestTimeout: time.Duration(c.RequestTimeout),
		ReadTimeout: time.Duration(c.ReadTimeout), WriteTimeout: time.Duration(c.WriteTimeout), Keys: c.APIKeys, CORSOrigins: c.CORSOrigins,
	}
}

// readKeys adds the keys of the key file. One that is too short to be secret is an error.
func (c *Config) readKeys() error {
	if c.APIKeyFile != "" {
		data, err := os.ReadFile(c.APIKeyFile)
		if err != nil {
			return fmt.Errorf("api_key_file: %w", err)
		}
		n := len(c.APIKeys)
		for line := range strings.Lines(string(data)) {
			if key := strings.TrimSpace(line); key != "" && !strings.HasPrefix(key, "#") {
				c.APIKeys = append(c.APIKeys, key)
			}
		}
		if len(c.APIKeys) == n {
			return fmt.Errorf("api_key_file: %s: no key in it: expected one on a line", c.APIKeyFile)
		}
	}
	for _, key := range c.APIKeys {
		if len(key) < 16 {
			return fmt.Errorf("api_keys: a key of %d characters: expected at least 16, such as openssl rand -hex 32 makes", len(key))
		}
	}
	return nil
}

// checkAddress refuses to serve everybody by mistake.
func (c *Config) checkAddress() error {
	address, err := net.ResolveTCPAddr("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %q: expected an address and a port, such as 127.0.0.1:8080: %w", c.Listen, err)
	}
	if !address.IP.IsLoopback() && len(c.APIKeys) == 0 && !c.Insecure {
		return fmt.Errorf("listen: %s can be reached from other machines, and no API key is set: set one (api_key_file or MOR_API_KEYS), or serve everybody with --insecure", c.Listen)
	}
	return nil
}

// Duration is a time that is written like 30s.
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// Type is what the help calls it.
func (d Duration) Type() string { return "duration" }

// Set reads it.
func (d *Duration) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("expected a duration such as 30s or 5m")
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(text []byte) error { return d.Set(string(text)) }

// Size is a number of bytes that is written like 1GiB.
type Size int64

var sizeUnits = []struct {
	suffix string
	factor int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}, {"", 1}}

func (s Size) String() string {
	for _, u := range sizeUnits[:3] {
		if s != 0 && int64(s)%u.factor == 0 {
			return strconv.FormatInt(int64(s)/u.factor, 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Type is what the help calls it.
func (s Size) Type() string { return "size" }

// Set reads it.
func (s *Size) Set(text string) error {
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(strings.TrimSpace(text), u.suffix)
		if n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64); ok && err == nil && n >= 0 && n <= (1<<62)/u.factor {
			*s = Size(n * u.factor)
			return nil
		}
	}
	return fmt.Errorf("expected a number of bytes such as 512MiB or 1GiB")
}

// MarshalText writes it.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalJSON reads a text or a number.
func (s *Size) UnmarshalJSON(data []byte) error { return s.Set(strings.Trim(string(data), `"`)) }

// List is texts that are written with commas between them.
type List []string

func (l List) String() string { return strings.Join(l, ",") }

// Type is what the help calls it.
func (l List) Type() string { return "list" }

// Set reads it.
func (l *List) Set(text string) error {
	*l = nil
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}
