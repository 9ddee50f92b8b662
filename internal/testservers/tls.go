package testservers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// TLS is a [Server] whose certificate is signed by an authority of the test.
type TLS struct {
	*Server
	// Roots holds the authority, which signed for 127.0.0.1 and localhost.
	Roots *x509.CertPool
	// Authority is its certificate, as PEM.
	Authority []byte
}

// RedisTLS starts a Redis server for this test alone that accepts only TLS and only the user in its
// URL. The user may do what a hosted Redis usually allows: everything except commands for
// administrators and dangerous ones, such as KEYS and FLUSHALL, but including INFO.
func RedisTLS(t testing.TB) *TLS {
	t.Helper()
	authority, certificate, key, err := certify()
	if err != nil {
		t.Fatal("testservers:", err)
	}
	s := &TLS{Roots: x509.NewCertPool(), Authority: authority}
	if !s.Roots.AppendCertsFromPEM(authority) {
		t.Fatal("testservers: the authority that was just made cannot be read")
	}
	password := rand.Text()
	s.Server = newServer(t, redisProgram{
		roots: s.Roots,
		files: map[string][]byte{"server.crt": certificate, "server.key": key},
		at: func(port int) (string, []string) {
			return fmt.Sprintf("rediss://gateway:%s@127.0.0.1:%d/0", password, port), redisArgs(0,
				"--tls-port", strconv.Itoa(port), "--tls-auth-clients", "no",
				"--tls-cert-file", "server.crt", "--tls-key-file", "server.key",
				"--user", "default", "off",
				"--user", "gateway", "on", ">"+password, "~*", "&*", "+@all", "-@admin", "-@dangerous", "+info")
		},
	}.start, syscall.SIGKILL)
	return s
}

// certify creates an authority and a certificate, signed by it, with its key for servers on this
// machine, all as PEM.
func certify() (authority, certificate, key []byte, err error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fieldcache test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, nil, nil, err
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "fieldcache test server"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, ca, serverKey.Public(), caKey)
	if err != nil {
		return nil, nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return nil, nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
