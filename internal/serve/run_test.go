package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"mor/internal/serve/servetest"
)

// certificate writes one for 127.0.0.1 and its key.
func certificate(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}

// TestRunTLS: the server speaks TLS, takes a new certificate on SIGHUP, and ends well on SIGTERM.
func TestRunTLS(t *testing.T) {
	c := DefaultConfig()
	c.Model, c.Listen, c.CacheBytes = servetest.Folder(t, "vanilla", 3), "127.0.0.1:0", 8<<20
	c.TLSCert, c.TLSKey = certificate(t, 1)
	signals, urls, done := make(chan os.Signal, 1), make(chan string, 1), make(chan error, 1)
	go func() { done <- Run(&c, nil, t.Output(), signals, func(url string) { urls <- url }) }()
	var url string
	select {
	case url = <-urls:
	case err := <-done:
		t.Fatal(err)
	}
	serial := func() int64 {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
		r, err := client.Get(url + "/readyz")
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%v, %v", r, err)
		}
		defer r.Body.Close()
		return r.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Errorf("certificate %d, want 1", n)
	}
	cert, key := certificate(t, 2)
	for from, to := range map[string]string{cert: c.TLSCert, key: c.TLSKey} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	signals <- syscall.SIGHUP
	eventually(t, "the new certificate", func() bool { return serial() == 2 })
	signals <- syscall.SIGTERM
	if err := <-done; err != nil {
		t.Error(err)
	}
}
