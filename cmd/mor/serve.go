package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"mor/internal/serve"
	"mor/internal/serve/page"
)

// serveCommand holds the flags of `mor serve`.
type serveCommand struct {
	flags  serve.Config // where the flags are parsed to
	config string
	json   bool
}

func newServe() *cobra.Command {
	s := &serveCommand{flags: serve.DefaultConfig()}
	cmd := &cobra.Command{
		Use:   "serve [MODEL]",
		Short: "Serve a model over OpenAI's API for completions and chats",
		Long: `Serve a model: a model folder (mor's or Hugging Face's), a GGUF file, or the directory of a training run, whose latest checkpoint is taken.

Options come from the defaults, then a YAML file (--config), then variables (MOR_LISTEN for --listen), then flags; the merged result is printed, its secrets
hidden. The server listens on loopback; on another address it needs an API key, or --insecure.

SIGTERM and an interrupt end it: /readyz and new requests get 503, and those that run are finished; a second signal ends them too. SIGHUP loads the model again, from a
run its latest checkpoint, and switches to it without dropping a request.`,
		Example: `  mor serve runs/default
  mor serve model.gguf --listen 127.0.0.1:9000 --max-running 64
  MOR_API_KEYS=$(openssl rand -hex 32) mor serve model-folder --listen 0.0.0.0:8080 --tls-cert cert.pem --tls-key key.pem
  mor serve --config serve.yaml
  curl http://127.0.0.1:8080/v1/completions -H 'Content-Type: application/json' \
    -d '{"prompt": "func main() {", "max_tokens": 32, "return_depth": true}'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd, args) },
	}
	s.flags.Flags(cmd.Flags())
	cmd.Flags().StringVar(&s.config, "config", "", "YAML file of options")
	cmd.Flags().BoolVar(&s.json, "json", false, "print the merged options and the address as JSON")
	return cmd
}

func (s *serveCommand) run(cmd *cobra.Command, args []string) error {
	c, err := serve.Load(s.config, os.Environ(), cmd.Flags())
	if err != nil {
		return err
	}
	if len(args) == 1 {
		c.Model = args[0]
	}
	if c.Model != "" {
		if _, err := resolveModel(c.Model); err != nil {
			return err
		}
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	return serve.Run(c, page.Files(), cmd.ErrOrStderr(), signals, func(url string) { err = s.print(cmd, c, url) })
}

// print says what is served, and how.
func (s *serveCommand) print(cmd *cobra.Command, c *serve.Config, url string) error {
	text, err := c.YAML()
	if err != nil {
		return err
	}
	if s.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"url": url, "config": c.Shown()})
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%sserving on %s\n", text, url)
	return err
}
