// Command mor trains, converts, evaluates and serves language models whose depth adapts to each token, on ordinary CPUs.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mor/internal/strict"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	// One line, whatever the error is made of.
	fmt.Fprintf(os.Stderr, "%s: %s\n", cmd.CommandPath(), strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; "))
	return 1
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "mor",
		Short:         "Train, convert, evaluate and serve language models whose depth adapts to each token",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(verbs()...)
	return root
}

// flagError adds the nearest known flag to the error about an unknown one.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return err
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	suggestion := strict.Suggest("--"+unknown.GetSpecifiedName(), names)
	if suggestion == "" {
		suggestion = fmt.Sprintf(": %s --help lists them", cmd.CommandPath())
	}
	return fmt.Errorf("unknown flag --%s%s", unknown.GetSpecifiedName(), suggestion)
}
