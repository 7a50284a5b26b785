package strict

import (
	"strings"
	"testing"
)

type inner struct {
	Temperature float64 `json:"temperature"`
}

type outer struct {
	Layers int      `json:"layers"`
	Router *inner   `json:"router"`
	Many   []inner  `json:"many"`
	Names  []string `json:"names"`
}

func TestJSON(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"layers": 3, "router": {"temperature": 2}, "many": [{"temperature": 1}], "names": ["x"]}`, ""},
		{`{"router": null}`, ""},
		{`{"layer": 3}`, `layer: unknown key: did you mean "layers"?`},
		{`{"Layers": 3}`, `Layers: unknown key: did you mean "layers"?`},
		{`{"router": {"tempreature": 2}}`, `router.tempreature: unknown key: did you mean "temperature"?`},
		{`{"many": [{"x": 2}]}`, `many.x: unknown key`},
		{`{"zzzzzz": 1}`, `zzzzzz: unknown key`},
		{`{"layers": 1, "layers": 2}`, `layers: the key stands twice`},
		{`{"layers": "x"}`, `layers: found a string, expected int`},
		{`{"layers": 1} x`, `text after the object`},
		{`{"layers": 1`, `not valid JSON`},
		{``, `not valid JSON`},
	} {
		var v outer
		err := JSON([]byte(c.in), &v)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.in, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want %q", c.in, err, c.want)
		}
	}
}

func FuzzJSON(f *testing.F) {
	f.Add([]byte(`{"layers": 3, "router": {"temperature": 2}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var v outer
		_ = JSON(data, &v)
	})
}
