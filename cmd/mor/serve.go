package main

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/spf13/cobra"

	"mor/internal/infer"
	"mor/internal/serve"
)

func newServe() *cobra.Command {
	m, o, listen := serve.ModelOptions{Weights: "auto", Engine: infer.DefaultEngineOptions()}, serve.DefaultOptions(), "127.0.0.1:8080"
	cmd := &cobra.Command{
		Use:   "serve MODEL",
		Short: "Serve a model over OpenAI's API for completions and chats",
		Example: `  mor serve runs/default
  curl http://127.0.0.1:8080/v1/completions -H 'Content-Type: application/json' -d '{"prompt": "func main() {", "return_depth": true}'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m.Path = args[0]
			o.Log = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil))
			s, err := serve.New(m, o)
			if err != nil {
				return err
			}
			defer s.Close()
			fmt.Fprintf(cmd.OutOrStdout(), "listening on http://%s\n", listen)
			h := &http.Server{Addr: listen, Handler: s}
			go func() {
				<-cmd.Context().Done()
				h.Close()
			}()
			if err := h.ListenAndServe(); err != http.ErrServerClosed {
				return err
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&listen, "listen", listen, "address to listen on")
	cmd.Flags().StringVar(&m.ChatTemplate, "chat-template", "", "a file with a Jinja template, in place of the model's own")
	weightsFlag(cmd, &m.Weights)
	threadsFlag(cmd, &m.Threads)
	return cmd
}
