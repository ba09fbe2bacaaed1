//! The templates for files that carry none, and which of them fits a model.

use crate::Tokenizer;

/// Name and source of each.
pub(super) const TEMPLATES: [(&str, &str); 8] = [
    ("llama-3", LLAMA_3),
    ("chatml", CHATML),
    ("gemma", GEMMA),
    ("phi-3", PHI_3),
    ("mistral", MISTRAL),
    ("zephyr", ZEPHYR),
    ("llama-2", LLAMA_2),
    ("plain", PLAIN),
];

pub(super) fn source(name: &str) -> Option<&'static str> {
    TEMPLATES.iter().find(|(known, _)| *known == name).map(|(_, source)| *source)
}

pub(super) fn guess(architecture: &str, tokenizer: &Tokenizer) -> &'static str {
    let has = |name: &str| {
        let id = tokenizer.token_id(name);
        id.is_some_and(|id| tokenizer.is_control(id))
    };
    match architecture {
        _ if has("<|start_header_id|>") => LLAMA_3,
        _ if has("<|im_start|>") => CHATML,
        _ if has("<start_of_turn>") => GEMMA,
        _ if has("<|end|>") && has("<|user|>") => PHI_3,
        _ if has("[INST]") => MISTRAL,
        _ if has("<|user|>") => ZEPHYR,
        // Llama 2 and its kin write their marks as ordinary text.
        "llama" if has("<s>") && has("</s>") => LLAMA_2,
        _ => PLAIN,
    }
}

const LLAMA_3: &str = "\
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' }}
    {{- message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}";

const CHATML: &str = "\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}";

// Gemma knows no system role; what it says goes before the first turn of the user.
const GEMMA: &str = "\
{{- bos_token }}
{%- set pending = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role in ['system', 'developer'] %}
        {%- set pending.system = pending.system + message.content | trim + '\\n\\n' %}
    {%- else %}
        {%- set role = 'model' if message.role == 'assistant' else 'user' %}
        {{- '<start_of_turn>' + role + '\\n' }}
        {%- if role == 'user' %}
            {{- pending.system }}
            {%- set pending.system = '' %}
        {%- endif %}
        {{- message.content | trim + '<end_of_turn>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<start_of_turn>model\\n' }}
{%- endif %}";

const PHI_3: &str = "\
{%- for message in messages %}
    {{- '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>\\n' }}
{%- else %}
    {{- eos_token }}
{%- endif %}";

const MISTRAL: &str = "\
{{- bos_token }}
{%- set pending = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role in ['system', 'developer'] %}
        {%- set pending.system = pending.system + message.content + '\\n\\n' %}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content + eos_token }}
    {%- else %}
        {{- '[INST] ' + pending.system + message.content + ' [/INST]' }}
        {%- set pending.system = '' %}
    {%- endif %}
{%- endfor %}";

const ZEPHYR: &str = "\
{%- for message in messages %}
    {{- '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>\\n' }}
{%- endif %}";

const LLAMA_2: &str = "\
{%- set pending = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role in ['system', 'developer'] %}
        {%- set pending.system = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' %}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content | trim + ' ' + eos_token }}
    {%- else %}
        {{- bos_token + '[INST] ' + pending.system + message.content | trim + ' [/INST]' }}
        {%- set pending.system = '' %}
    {%- endif %}
{%- endfor %}";

const PLAIN: &str = "\
{%- for message in messages %}
    {{- message.role | capitalize + ': ' + message.content | trim + '\\n\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'Assistant:' }}
{%- endif %}";
