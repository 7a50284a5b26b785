package report

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Panel is one diagram of lines.
type Panel struct {
	Title, X, Y string
	LogX        bool // points with an x of 0 or less are left out
	Lines       []Line
}

// Line is drawn from point to point. X and Y have the same length.
type Line struct {
	Name string
	X, Y []float64
}

// lineColors are told apart by people who see colours differently (Okabe and Ito, Color Universal Design).
func lineColors() []color.RGBA {
	return []color.RGBA{{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {86, 180, 233, 255}, {230, 159, 0, 255}}
}

// Of each panel.
const (
	panelWidth  = 16 * vg.Centimeter
	panelHeight = 7 * vg.Centimeter
)

// PlotFormat is the format of a plot by the ending of its file's name: svg or png.
func PlotFormat(path string) (string, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".svg", ".png":
		return ext[1:], nil
	}
	return "", fmt.Errorf("%s: expected a name that ends in .svg or .png", path)
}

// Plot writes panels below each other, as svg or png.
func Plot(w io.Writer, format string, panels []Panel) error {
	width, height := panelWidth, panelHeight*vg.Length(len(panels))
	var canvas vg.CanvasWriterTo
	switch format {
	case "svg":
		canvas = vgsvg.New(width, height)
	case "png":
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(120))}
	default:
		return fmt.Errorf("plot: format %s: expected svg or png", format)
	}
	whole := draw.New(canvas)
	for i := range panels {
		p, err := panels[i].plot()
		if err != nil {
			return err
		}
		top := height - panelHeight*vg.Length(i)
		p.Draw(draw.Canvas{Canvas: canvas, Rectangle: vg.Rectangle{Min: vg.Point{X: whole.Min.X, Y: top - panelHeight}, Max: vg.Point{X: whole.Max.X - vg.Centimeter/2, Y: top}}})
	}
	_, err := canvas.WriteTo(w)
	return err
}

func (p *Panel) plot() (*plot.Plot, error) {
	out := plot.New()
	out.Title.Text, out.X.Label.Text, out.Y.Label.Text = p.Title, p.X, p.Y
	out.Add(plotter.NewGrid())
	colors := lineColors()
	drawn := 0
	for i := range p.Lines {
		l := &p.Lines[i]
		xys, err := p.points(l)
		if err != nil {
			return nil, err
		}
		if len(xys) == 0 {
			continue
		}
		line, err := plotter.NewLine(xys)
		if err != nil {
			return nil, fmt.Errorf("plot: %s: %w", l.Name, err)
		}
		line.Color, line.Width = colors[i%len(colors)], vg.Points(1.5)
		if i >= len(colors) {
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(2)}
		}
		out.Add(line)
		out.Legend.Add(l.Name, line)
		drawn++
	}
	out.Legend.Top, out.Legend.Left = true, true
	if out.Y.Min > 0 {
		out.Y.Min = 0
	}
	if !p.LogX {
		out.Y.Max += (out.Y.Max - out.Y.Min) / 5 // for the legend
	}
	if p.LogX && drawn > 0 {
		p.logarithmic(out)
	}
	return out, nil
}

// logarithmic draws whole powers of ten, and one at least.
func (p *Panel) logarithmic(out *plot.Plot) {
	out.X.Scale, out.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	out.X.Min = math.Pow(10, math.Floor(math.Log10(out.X.Min)))
	out.X.Max = math.Pow(10, math.Ceil(math.Log10(out.X.Max)))
	if out.X.Max <= out.X.Min {
		out.X.Max = 10 * out.X.Min
	}
}

// points are what can be drawn of a line.
func (p *Panel) points(l *Line) (plotter.XYs, error) {
	if len(l.X) != len(l.Y) {
		return nil, fmt.Errorf("plot: %s: %d x, %d y: expected as many", l.Name, len(l.X), len(l.Y))
	}
	var out plotter.XYs
	for i, x := range l.X {
		if p.LogX && x <= 0 || math.IsNaN(x+l.Y[i]) || math.IsInf(x+l.Y[i], 0) {
			continue
		}
		out = append(out, plotter.XY{X: x, Y: l.Y[i]})
	}
	return out, nil
}

// Cumulative is the line of the shares of sorted values that each value is not exceeded by, in at most points steps.
func Cumulative(name string, sorted []float64, points int) Line {
	l := Line{Name: name}
	n := len(sorted)
	for i := range min(n, points) {
		at := (i+1)*n/min(n, points) - 1
		l.X, l.Y = append(l.X, sorted[at]), append(l.Y, float64(at+1)/float64(n))
	}
	return l
}
