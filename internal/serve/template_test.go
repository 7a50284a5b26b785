package serve

import (
	"strings"
	"testing"
	"time"
)

// TestTemplates: the constructs that chat templates of known models use.
func TestTemplates(t *testing.T) {
	messages := []message{{Role: "system", text: "be brief"}, {Role: "user", text: " hi "}, {Role: "assistant", text: "hello"}, {Role: "user", text: "again"}}
	variables := map[string]string{"bos_token": "<s>", "eos_token": "</s>"}
	for name, c := range map[string]struct{ template, want string }{
		"chatml": {"{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nDefault<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
			"<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\n hi <|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n<|im_start|>user\nagain<|im_end|>\n<|im_start|>assistant\n"},
		"llama2": {"{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}" +
			"{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}" +
			"{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
			"<s>[INST] <<SYS>>\nbe brief\n<</SYS>>\n\n hi [/INST] hello </s><s>[INST] again [/INST]"},
		"llama3": {"{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- set date_string = \"26 Jul 2024\" %}\n{%- endif %}\n{%- for message in messages %}\n    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n",
			"<s><|start_header_id|>system<|end_header_id|>\n\nbe brief<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nhello<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nagain<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
		"namespace": {"{%- set ns = namespace(found=false) -%}\n{%- for m in messages -%}\n{%- if m.role == 'assistant' -%}{%- set ns.found = true -%}{%- endif -%}\n{%- endfor -%}\n{{ ns.found }} {{ messages | length }} {{ messages[-1].content }}", "True 4 again"},
		"blocks":    {"{% if true %}\n  {% if messages %}\nline\n  {% endif %}\n{% endif %}\nend", "line\nend"},
		"no tools":  {"{% if tools %}tools{% else %}none{% endif %}{{ 'x' if tools is none else 'y' }}", "nonex"},
		"tojson":    {"{{ messages[0].content | tojson }}", `"be brief"`},
	} {
		compiled, err := newTemplate(c.template, variables)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := compiled.render(messages, true, nil); got != c.want || err != nil {
			t.Errorf("%s: got %q, %v\nwant %q", name, got, err, c.want)
		}
	}
}

// TestTemplateRefusals: what a template raises is the client's to read; what is no template is refused when it is read.
func TestTemplateRefusals(t *testing.T) {
	compiled, err := newTemplate("{{ raise_exception('roles must alternate') }}", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compiled.render([]message{{Role: "user"}}, true, nil); err == nil || err.Error() != "roles must alternate" {
		t.Errorf("got %v", err)
	}
	for _, text := range []string{"{% for %}", "{% if x %}", "{{ x", "{% include '/etc/passwd' %}"} {
		compiled, err := newTemplate(text, nil)
		if err == nil {
			_, err = compiled.render([]message{{Role: "user"}}, true, nil)
		}
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestStrftime(t *testing.T) {
	at := time.Date(2024, time.July, 6, 15, 4, 5, 0, time.UTC)
	if got := strftime(at, "%d %b %Y, %H:%M:%S %q 100%%"); got != "06 Jul 2024, 15:04:05 %q 100%" {
		t.Errorf("got %q", got)
	}
}
