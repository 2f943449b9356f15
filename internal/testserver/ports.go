package testserver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// freePorts returns n ports of 127.0.0.1 that nothing listens on. They are below those that Linux
// assigns to connections (32768 and up), so that no connection of another test uses one before the
// server listens.
func freePorts(t testing.TB, n int) []int {
	t.Helper()
	var ports []int
	for range 100 + n {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		defer listener.Close() // at the end, so that no port is found twice
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	t.Fatal("no ports are free")
	return nil
}
