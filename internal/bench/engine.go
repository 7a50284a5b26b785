package bench

import (
	"fmt"

	"mor/internal/infer"
	"mor/internal/model"
	"mor/internal/token"
)

// newEngine returns an engine whose texts do not depend on earlier ones and have all the memory that they need, unless change says otherwise. Without a
// tokenizer it takes any.
func newEngine(m *model.Model, tok *token.Tokenizer, change func(o *infer.EngineOptions)) (*infer.Engine, error) {
	if tok == nil {
		var err error
		if tok, err = anyTokenizer(m.Config.VocabSize); err != nil {
			return nil, err
		}
	}
	o := infer.DefaultEngineOptions()
	o.PrefixReuse, o.CacheBytes = false, 1<<40
	change(&o)
	return infer.NewEngine(m, tok, o)
}

// anyTokenizer has as many tokens as a model, none of which ends a text.
func anyTokenizer(vocab int) (*token.Tokenizer, error) {
	v := token.Vocab{Tokens: make([]string, vocab), Pre: "gpt-2"}
	for i := range v.Tokens {
		v.Tokens[i] = fmt.Sprintf("t%d", i)
	}
	return token.New(v)
}
