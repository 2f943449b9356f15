package otpauth

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync"

	"github.com/skip2/go-qrcode"

	"example.com/securemail/internal/secret"
)

const (
	imagePixels  = 300 // wanted width: a phone reads it off any screen, and it fits a narrow mail
	modulePixels = 4   // least width of a module, for a QR code so large that it needs more than imagePixels
)

// QR returns a PNG image of uri as a QR code: level Medium, about 300 pixels wide, every module the same whole number
// of pixels, with the quiet zone of four modules that ISO/IEC 18004 asks for. It fails if uri is longer than 2,331
// bytes; an error does not hold it.
func QR(uri secret.String) ([]byte, error) {
	modules, err := matrix(uri.Reveal())
	if err != nil {
		return nil, err
	}
	scale := max(modulePixels, (imagePixels+len(modules)/2)/len(modules))
	return encodePNG(modules, scale)
}

// matrix returns the modules, quiet zone included; true is dark.
func matrix(content string) (modules [][]bool, err error) {
	// go-qrcode panics where it finds itself wrong. That is one mail's end, not the worker's; what it says may hold a
	// character of the secret.
	defer func() {
		if recover() != nil {
			err = errors.New("otpauth: QR code: go-qrcode failed inside")
		}
	}()
	q, err := qrcode.New(content, qrcode.Medium)
	if err != nil {
		return nil, errors.New("otpauth: QR code: the key URI is empty or over 2331 bytes; shorten issuer or account")
	}
	return q.Bitmap(), nil
}

// compressors keeps zlib writers from one image to the next: making one takes over a megabyte, and longer than its
// work.
var compressors = sync.Pool{New: func() any {
	w, err := zlib.NewWriterLevel(nil, zlib.BestSpeed)
	if err != nil {
		panic(err) // only for a level that does not exist
	}
	return w
}}

// encodePNG writes modules as a PNG image (RFC 2083) of one bit per pixel, grey scale. It takes a twentieth of what
// the matrix takes; image/png, which knows eight bits of grey at least, takes half of it, and go-qrcode's own writer
// as much again.
func encodePNG(modules [][]bool, scale int) ([]byte, error) {
	size := len(modules) * scale
	var out bytes.Buffer
	out.WriteString("\x89PNG\r\n\x1a\n")
	header := binary.BigEndian.AppendUint32(nil, uint32(size))
	header = binary.BigEndian.AppendUint32(header, uint32(size))
	chunk(&out, "IHDR", append(header, 1, 0, 0, 0, 0)) // bit depth 1, grey scale, deflate, filters per row, not interlaced

	var data bytes.Buffer
	w := compressors.Get().(*zlib.Writer)
	defer compressors.Put(w)
	w.Reset(&data)
	_, err := w.Write(pixels(modules, scale))
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	chunk(&out, "IDAT", data.Bytes())
	chunk(&out, "IEND", nil)
	return out.Bytes(), nil
}

// pixels returns the rows of the image, each behind its filter type, 0: as it is (RFC 2083 section 6).
func pixels(modules [][]bool, scale int) []byte {
	width := (len(modules)*scale + 7) / 8
	rows := make([]byte, 0, len(modules)*scale*(1+width))
	for _, line := range modules {
		start := len(rows) + 1
		rows = append(rows, make([]byte, 1+width)...)
		for m, dark := range line {
			for x := m * scale; !dark && x < (m+1)*scale; x++ {
				rows[start+x/8] |= 0x80 >> (x % 8) // light is 1
			}
		}
		for range scale - 1 {
			rows = append(rows, rows[start-1:start+width]...)
		}
	}
	return rows
}

// chunk writes one PNG chunk: length, type, data, and the CRC of the last two (RFC 2083 section 3.2).
func chunk(out *bytes.Buffer, kind string, data []byte) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(b, kind...)
	b = append(b, data...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
	out.Write(b)
}
