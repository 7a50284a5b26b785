package report_test

import (
	"bytes"
	"encoding/xml"
	"image/png"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mor/internal/report"
)

func panels() []report.Panel {
	return []report.Panel{
		{Title: "first & <one>", X: "s", Y: "tokens", Lines: []report.Line{{Name: "a", X: []float64{0, 1, 2}, Y: []float64{3, math.NaN(), 5}}, {Name: "nothing"}}},
		{Title: "second", LogX: true, Lines: []report.Line{{Name: "b", X: []float64{0, 5}, Y: []float64{0, 1}}}},
		{Title: "empty", LogX: true},
	}
}

// TestPlot: both formats can be read, and panels without points are drawn too.
func TestPlot(t *testing.T) {
	var svg, img bytes.Buffer
	for format, w := range map[string]*bytes.Buffer{"svg": &svg, "png": &img} {
		if err := report.Plot(w, format, panels()); err != nil {
			t.Fatal(err)
		}
	}
	dec := xml.NewDecoder(&svg)
	var text strings.Builder
	for {
		tok, err := dec.Token()
		if tok == nil {
			if err.Error() != "EOF" {
				t.Fatal(err)
			}
			break
		}
		if c, ok := tok.(xml.CharData); ok {
			text.Write(c)
		}
	}
	for _, want := range []string{"first & <one>", "second", "empty", "tokens"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the SVG lacks %q", want)
		}
	}
	picture, err := png.Decode(&img)
	if err != nil {
		t.Fatal(err)
	}
	if b := picture.Bounds(); b.Dy() <= b.Dx() {
		t.Errorf("a picture of three panels is %v: expected them below each other", b)
	}
}

func TestPlotRefuses(t *testing.T) {
	if err := report.Plot(&bytes.Buffer{}, "gif", panels()); err == nil {
		t.Error("format gif: expected an error")
	}
	if err := report.Plot(&bytes.Buffer{}, "svg", []report.Panel{{Lines: []report.Line{{X: []float64{1}}}}}); err == nil {
		t.Error("an x without a y: expected an error")
	}
	if err := report.Plot(full{}, "svg", panels()); err == nil {
		t.Error("a full disk: expected an error")
	}
	for path, want := range map[string]string{"a.SVG": "svg", "b/c.png": "png", "a.gif": "", "png": ""} {
		if got, err := report.PlotFormat(path); got != want || (err == nil) != (want != "") {
			t.Errorf("PlotFormat(%s) = %q, %v: expected %q", path, got, err, want)
		}
	}
}

func TestCumulative(t *testing.T) {
	sorted := []float64{1, 2, 3, 4, 5, 6}
	for _, c := range []struct {
		points int
		x, y   []float64
	}{
		{3, []float64{2, 4, 6}, []float64{2. / 6, 4. / 6, 1}},
		{6, sorted, []float64{1. / 6, 2. / 6, 3. / 6, 4. / 6, 5. / 6, 1}},
		{100, sorted, []float64{1. / 6, 2. / 6, 3. / 6, 4. / 6, 5. / 6, 1}},
	} {
		if got := report.Cumulative("", sorted, c.points); !cmp.Equal(got, report.Line{X: c.x, Y: c.y}) {
			t.Errorf("%d points: got %v", c.points, got)
		}
	}
	if got := report.Cumulative("n", nil, 5); len(got.X) != 0 {
		t.Errorf("of nothing: got %v", got)
	}
}
