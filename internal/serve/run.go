package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// daemon is a server with its listener.
type daemon struct {
	config *Config
	log    *slog.Logger
	server *Server
	http   *http.Server
	cert   atomic.Pointer[tls.Certificate] // nil: no TLS
}

// Run serves until a signal ends it. SIGTERM and an interrupt refuse new requests and wait for those that run, as long as drain_timeout; the next one ends them.
// SIGHUP loads the model, and the certificate, again. ready is told the address once requests are taken.
func Run(c *Config, page fs.FS, logs io.Writer, signals <-chan os.Signal, ready func(url string)) error {
	d := &daemon{config: c}
	if err := c.Validate(); err != nil {
		return err
	}
	if err := c.readKeys(); err != nil {
		return err
	}
	if err := c.checkAddress(); err != nil {
		return err
	}
	var err error
	if d.log, err = c.logger(logs); err != nil {
		return err
	}
	if err := d.readCertificate(); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer listener.Close()
	o := c.Options()
	o.Page, o.Log = page, d.log
	if d.server, err = New(c.ModelOptions(), o); err != nil {
		return err
	}
	scheme := d.listen(&listener)
	served := make(chan error, 1)
	go func() { served <- d.http.Serve(listener) }()
	d.log.Info("serving", "model", d.server.Path(), "address", listener.Addr().String())
	ready(scheme + "://" + listener.Addr().String())
	return d.until(served, signals)
}

// listen makes the HTTP server.
func (d *daemon) listen(l *net.Listener) (scheme string) {
	c := d.config
	d.http = &http.Server{
		Handler: d.server, ReadHeaderTimeout: time.Duration(c.ReadHeaderTimeout), IdleTimeout: time.Duration(c.IdleTimeout), MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
	if d.cert.Load() == nil {
		return "http"
	}
	*l = tls.NewListener(*l, &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return d.cert.Load(), nil
	}})
	return "https"
}

// until serves until a signal ends it, or the listener fails.
func (d *daemon) until(served <-chan error, signals <-chan os.Signal) error {
	for {
		select {
		case err := <-served:
			return errors.Join(err, d.server.Close())
		case s := <-signals:
			if s != syscall.SIGHUP {
				return d.drain(s, signals)
			}
			go d.reload()
		}
	}
}

// reload loads model and certificate again.
func (d *daemon) reload() {
	err := safely(func() error { return errors.Join(d.server.Reload(), d.readCertificate()) })
	if err != nil {
		d.log.Error("reload", "error", err.Error())
		return
	}
	d.log.Info("reloaded", "model", d.server.Path())
}

// lastWords is how long clients have to be told that their requests were ended.
const lastWords = time.Second

// drain ends the server behind its running requests.
func (d *daemon) drain(s os.Signal, signals <-chan os.Signal) error {
	d.log.Info("draining", "signal", s.String(), "drain_timeout", d.config.DrainTimeout.String())
	d.http.SetKeepAlivesEnabled(false)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(d.config.DrainTimeout))
	defer cancel()
	go func() {
		for s := range signals {
			if s != syscall.SIGHUP {
				d.log.Warn("stopping at once", "signal", s.String())
				cancel()
				return
			}
		}
	}()
	err := d.server.Drain(ctx)
	cut := time.AfterFunc(lastWords, func() { d.http.Close() }) // clients that neither send nor read
	defer cut.Stop()
	err = errors.Join(err, d.server.Close()) // ends what still runs, whose clients are told
	last, done := context.WithTimeout(context.Background(), lastWords)
	defer done()
	if d.http.Shutdown(last) != nil {
		d.http.Close()
	}
	d.log.Info("stopped")
	return err
}

// readCertificate reads the certificate, if there is to be one.
func (d *daemon) readCertificate() error {
	if d.config.TLSCert == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(d.config.TLSCert, d.config.TLSKey)
	if err != nil {
		return fmt.Errorf("tls_cert, tls_key: %w", err)
	}
	d.cert.Store(&cert)
	return nil
}

// logger writes the log in its format.
func (c *Config) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return nil, fmt.Errorf("log_level: %q: expected debug, info, warn or error", c.LogLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(w, o)), nil
	}
	return slog.New(slog.NewJSONHandler(w, o)), nil
}
