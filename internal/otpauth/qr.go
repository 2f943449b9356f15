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
	imagePixels  = 300 // aimed at: a phone can read it on any screen, and it fits a narrow mail
	modulePixels = 4   // at least, for a module; a large QR code gets wider than imagePixels
)

// QR returns uri as a QR code in a PNG image. The code has error correction level Medium and the
// quiet zone of four modules that ISO/IEC 18004 requires. The image is about 300 pixels wide, and
// every module has the same whole number of pixels. QR fails if uri is empty or longer than 2,331
// bytes. An error does not hold uri.
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
	// go-qrcode panics on an internal error. Such a panic must fail one mail, not the worker. Its
	// text is dropped, because it may hold a character of the secret.
	defer func() {
		if recover() != nil {
			err = errors.New("otpauth: QR code: go-qrcode panicked")
		}
	}()
	q, err := qrcode.New(content, qrcode.Medium)
	if err != nil {
		return nil, errors.New("otpauth: QR code: the key URI is empty or longer than 2331 bytes; shorten issuer or account")
	}
	return q.Bitmap(), nil
}

// compressors reuses zlib writers: creating one takes over a megabyte, and more time than
// compressing an image.
var compressors = sync.Pool{New: func() any {
	w, err := zlib.NewWriterLevel(nil, zlib.BestSpeed)
	if err != nil {
		panic(err) // only for a level that does not exist
	}
	return w
}}

// encodePNG returns modules as a PNG image (RFC 2083), grey scale with one bit per pixel. It takes
// a twentieth of the time that the matrix takes. image/png, which has no fewer than eight bits of
// grey, takes half of that time, and go-qrcode's own writer as much as the matrix.
func encodePNG(modules [][]bool, scale int) ([]byte, error) {
	size := len(modules) * scale
	var out bytes.Buffer
	out.WriteString("\x89PNG\r\n\x1a\n")
	header := binary.BigEndian.AppendUint32(nil, uint32(size))
	header = binary.BigEndian.AppendUint32(header, uint32(size))
	// Bit depth 1, grey scale, deflate, filters per row, not interlaced.
	chunk(&out, "IHDR", append(header, 1, 0, 0, 0, 0))

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

// pixels returns the rows of the image. Each follows its filter type, 0 for none (RFC 2083 section
// 6).
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

// chunk writes one PNG chunk: length, type, data, and the CRC of type and data (RFC 2083 section
// 3.2).
func chunk(out *bytes.Buffer, kind string, data []byte) {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	b = append(b, kind...)
	b = append(b, data...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
	out.Write(b)
}
