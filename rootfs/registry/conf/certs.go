package conf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Certs is what certs.d holds for one host.
type Certs struct {
	Dirs    []string          // the folders that exist for this host
	Roots   [][]byte          // PEM of private certificate authorities
	Clients []tls.Certificate // client certificates
}

// Certificates collects HOST:PORT/*.crt (authorities) and *.cert with *.key
// (client certificates) from every folder of d.Certs. A file that this user
// may not read is skipped: a root-only client key is not meant for him.
func Certificates(d Dirs, host string) (Certs, error) {
	var c Certs
	if host == "" || strings.ContainsAny(host, "/\x00") || host == "." || host == ".." {
		return c, fmt.Errorf("certs.d: invalid host %q", host)
	}
	for _, base := range d.Certs {
		dir := filepath.Join(base, host)
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			return c, err
		}
		c.Dirs = append(c.Dirs, dir)
		for _, e := range entries {
			if err := c.add(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrPermission) {
				return c, err
			}
		}
	}
	return c, nil
}

func (c *Certs) add(path string) error {
	switch filepath.Ext(path) {
	case ".crt":
		pem, err := readFile(path)
		if err != nil {
			return err
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return fmt.Errorf("read %s: no certificate in it", path)
		}
		c.Roots = append(c.Roots, pem)
	case ".cert":
		key := strings.TrimSuffix(path, ".cert") + ".key"
		cert, err := tls.LoadX509KeyPair(path, key)
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read %s: its key %s is missing", path, key)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		c.Clients = append(c.Clients, cert)
	}
	return nil
}

// Pool is the system's authorities plus the private ones; nil means the
// system's alone.
func (c Certs) Pool() *x509.CertPool {
	if len(c.Roots) == 0 {
		return nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, pem := range c.Roots {
		pool.AppendCertsFromPEM(pem)
	}
	return pool
}
