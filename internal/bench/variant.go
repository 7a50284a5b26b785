package bench

import (
	"fmt"
	"slices"
	"strings"

	"mor/internal/model"
	"mor/internal/strict"
)

// change is a part of the method that a variant adds to a kind.
type change struct {
	name string
	set  func(c *model.Config) bool // false where the kind has no place for it
}

var changes = []change{
	{"kv_sharing", func(c *model.Config) bool {
		if c.Recursion != nil {
			c.Recursion.KVSharing = true
		}
		return c.Recursion != nil
	}},
	{"kv_update", func(c *model.Config) bool {
		if c.Recursion != nil {
			c.Recursion.KVSharing, c.Recursion.KVUpdate = true, true
		}
		return c.Recursion != nil
	}},
	{"encoding", func(c *model.Config) bool {
		if c.Recursion != nil {
			c.Recursion.Encoding = true
		}
		return c.Recursion != nil
	}},
	{"lora", func(c *model.Config) bool {
		if c.Recursion != nil {
			c.Recursion.LoRA = &model.LoRA{Rank: 16, Alpha: 16, Targets: []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}}
		}
		return c.Recursion != nil
	}},
	{"aux_router", func(c *model.Config) bool {
		if c.Expert() {
			c.Router.Balancing, c.Router.BalancingCoef = "aux_router", 1
		}
		return c.Expert()
	}},
	{"rand_router", func(c *model.Config) bool {
		if c.Expert() {
			c.Router.RandRouter, c.Router.Balancing, c.Router.BalancingCoef = true, "none", 0
		}
		return c.Expert()
	}},
	{"loss_free", func(c *model.Config) bool {
		if c.Token() {
			c.Router.Gate, c.Router.Balancing, c.Router.BalancingCoef, c.Router.BalanceUpdateRate = "sigmoid", "loss_free", 0, 0.001
		}
		return c.Token()
	}},
	{"mlp", func(c *model.Config) bool {
		if c.Expert() || c.Token() {
			c.Router.Kind = "mlp"
		}
		return c.Expert() || c.Token()
	}},
	{"moe", func(c *model.Config) bool {
		c.MoE = &model.MoE{NumExperts: 8, ExpertsPerToken: 2, AuxCoef: 0.01}
		c.IntermediateSize /= c.MoE.ExpertsPerToken // the chosen experts compute what one FFN would
		return true
	}},
}

// Changes names what a variant can add to a kind.
func Changes() []string {
	var out []string
	for _, c := range changes {
		out = append(out, c.name)
	}
	return out
}

// Variant returns the configuration that spec names: a kind of model.Kinds, with changes behind plus signs, as in "expert+kv_sharing".
func Variant(size, spec string, n int) (*model.Config, error) {
	parts := strings.Split(spec, "+")
	c, err := model.Preset(size, parts[0], model.MiddleCycle, n)
	if err != nil {
		return nil, err
	}
	for _, name := range parts[1:] {
		i := slices.IndexFunc(changes, func(c change) bool { return c.name == name })
		if i < 0 {
			return nil, fmt.Errorf("kind %s: %q: expected one of %s%s", spec, name, strings.Join(Changes(), ", "), strict.Suggest(name, Changes()))
		}
		if !changes[i].set(c) {
			return nil, fmt.Errorf("kind %s: a model of kind %s has no place for %s", spec, parts[0], name)
		}
	}
	return c, nil
}
