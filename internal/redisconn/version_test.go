package redisconn

import "testing"

func TestCheck_RefusesOldVersions(t *testing.T) {
	for version, old := range map[string]bool{"5.0.14": true, "6.0.16": true, "6.2.0": false, "7.0.15": false, "10.1": false, "255.255.255": false, "": false, "x": false} {
		if tooOld(version) != old {
			t.Errorf("%q: got %v", version, !old)
		}
	}
}
