package otpauth_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skip2/go-qrcode"

	"example.com/securemail/internal/otpauth"
	"example.com/securemail/internal/secret"
)

// tool returns the path of an independent program. Without the program the test is skipped; in CI
// it fails.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", name)
		}
		t.Skipf("%s is missing: install it to run this test", name)
	}
	return path
}

func randomURI(t testing.TB, account string) (uri secret.String, raw []byte) {
	t.Helper()
	raw = make([]byte, 20)
	rand.Read(raw)
	uri, err := otpauth.Key{Issuer: "Example & Söhne", Account: account, Secret: secret.New(string(raw))}.URI()
	if err != nil {
		t.Fatal(err)
	}
	return uri, raw
}

// The test takes 1,000 random secrets. zbarimg reads each image, and oathtool computes a code from
// the secret in the URI that zbarimg read.
func TestQR_AgreesWithZbarimgAndOathtool(t *testing.T) {
	t.Parallel()
	zbarimg, oathtool := tool(t, "zbarimg"), tool(t, "oathtool")
	secrets, perCall := 1000, 50
	if testing.Short() {
		secrets = 100
	}
	for first := 0; first < secrets; first += perCall {
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			t.Parallel()
			checkImages(t, zbarimg, oathtool, first, perCall)
		})
	}
}

func checkImages(t *testing.T, zbarimg, oathtool string, first, n int) {
	dir := t.TempDir()
	var uris, files []string
	var raws [][]byte
	for i := first; i < first+n; i++ {
		uri, raw := randomURI(t, fmt.Sprintf("user%d+%s@example.com", i, strings.Repeat("x", i%90)))
		picture, err := otpauth.QR(uri)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, fmt.Sprintf("%d.png", i))
		if err := os.WriteFile(file, picture, 0o600); err != nil {
			t.Fatal(err)
		}
		uris, files, raws = append(uris, uri.Reveal()), append(files, file), append(raws, raw)
	}
	// With --raw and -q, zbarimg prints one line for a file. Only the QR decoder is on, so that it
	// finds no bar code in a QR code.
	out, err := exec.Command(zbarimg, append([]string{"--raw", "-q", "-Sdisable", "-Sqrcode.enable"}, files...)...).Output()
	if err != nil {
		t.Fatalf("zbarimg: %v", err)
	}
	read := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(read) != len(uris) {
		t.Fatalf("zbarimg read %d of %d images", len(read), len(uris))
	}
	for i := range read {
		if read[i] != uris[i] {
			t.Errorf("zbarimg read %s, want %s", read[i], uris[i])
			continue
		}
		_, query, _ := strings.Cut(read[i], "?secret=")
		encoded, _, _ := strings.Cut(query, "&")
		at := randomTime()
		code, err := exec.Command(oathtool, "--totp", "-b", fmt.Sprintf("--now=@%d", at.Unix()), encoded).Output()
		if err != nil {
			t.Fatalf("oathtool: %v", err)
		}
		if got, want := otpauth.Code(raws[i], at), strings.TrimSpace(string(code)); got != want {
			t.Errorf("%s at %d: got %s, want %s of oathtool", encoded, at.Unix(), got, want)
		}
	}
}

// randomTime returns a moment from 1970 to 2106.
func randomTime() time.Time {
	var b [4]byte
	rand.Read(b[:])
	return time.Unix(int64(binary.BigEndian.Uint32(b[:])), 0)
}

// The image is go-qrcode's matrix, with the quiet zone and with modules of whole pixels.
func TestQR_HasWholePixelModulesAndTheQuietZone(t *testing.T) {
	for _, length := range []int{1, 14, 100, 150, 200, 400, 1000, 2331} {
		content := strings.Repeat("a", length)
		data, err := otpauth.QR(secret.New(content))
		if err != nil {
			t.Fatalf("%d bytes: %v", length, err)
		}
		decoded, err := png.Decode(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%d bytes: %v", length, err)
		}
		img := decoded.(*image.Gray)
		q, err := qrcode.New(content, qrcode.Medium)
		if err != nil {
			t.Fatal(err)
		}
		q.DisableBorder = true
		modules := q.Bitmap()
		size := img.Bounds().Dx()
		width := len(modules) + 8
		scale := size / width
		if size != img.Bounds().Dy() || size%width != 0 || scale < 4 || scale > 4 && (size < 270 || size > 330) {
			t.Fatalf("%d bytes: got %v for %d modules", length, img.Bounds(), width)
		}
		for y := range size {
			for x := range size {
				my, mx := y/scale-4, x/scale-4
				inside := my >= 0 && mx >= 0 && my < len(modules) && mx < len(modules)
				dark := img.GrayAt(x, y).Y == 0
				if want := inside && modules[my][mx]; dark != want {
					t.Fatalf("%d bytes: pixel %d,%d: got dark %v, want %v", length, x, y, dark, want)
				}
			}
		}
	}
}

func TestQR_IsOneBitGreyAndSmall(t *testing.T) {
	uri, _ := randomURI(t, "alice@example.com")
	data, err := otpauth.QR(uri)
	if err != nil {
		t.Fatal(err)
	}
	if depth, colour := data[24], data[25]; depth != 1 || colour != 0 {
		t.Errorf("got bit depth %d and colour type %d, want 1 and 0", depth, colour)
	}
	if len(data) > 1500 {
		t.Errorf("got %d bytes, want at most 1500", len(data))
	}
}

func TestQR_RefusesInvalidURIs(t *testing.T) {
	for name, content := range map[string]string{"empty": "", "2332 bytes": strings.Repeat("a", 2332)} {
		data, err := otpauth.QR(secret.New(content))
		if err == nil || data != nil || strings.Contains(err.Error(), "aaa") {
			t.Errorf("%s: got %d bytes, %v, want an error", name, len(data), err)
		}
	}
}

func TestQR_IsSafeForConcurrentUse(t *testing.T) {
	for i := range 8 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			for range 5 {
				uri, _ := randomURI(t, "alice@example.com")
				first, err1 := otpauth.QR(uri)
				again, err2 := otpauth.QR(uri)
				if err1 != nil || err2 != nil || !bytes.Equal(first, again) {
					t.Errorf("two images of one URI differ: %v, %v", err1, err2)
				}
			}
		})
	}
}

func BenchmarkQR(b *testing.B) {
	uri, _ := randomURI(b, "alice@example.com")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := otpauth.QR(uri); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMatrix runs go-qrcode alone, the lower bound of BenchmarkQR.
func BenchmarkMatrix(b *testing.B) {
	uri, _ := randomURI(b, "alice@example.com")
	b.ReportAllocs()
	for b.Loop() {
		q, err := qrcode.New(uri.Reveal(), qrcode.Medium)
		if err != nil {
			b.Fatal(err)
		}
		q.Bitmap()
	}
}
