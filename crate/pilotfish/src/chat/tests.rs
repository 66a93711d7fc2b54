//! Real templates of the families, shortened where they are long, with what Hugging Face makes of them.

use super::*;

const SMOLLM2: &str =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system
You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}";

fn conversation() -> [Message; 4] {
    [
        Message::system("Be brief."),
        Message::user(" Hi "),
        Message::assistant("Hello"),
        Message::user("Why <b>\"?\"</b>"),
    ]
}

fn render(source: &str, messages: &[Message]) -> Result<String, ChatError> {
    ChatTemplate::new(source, "<bos>", "<eos>").and_then(|template| template.render(messages, true))
}

#[test]
fn smollm2_speaks_for_itself_where_nobody_is_the_system() {
    let text = render(SMOLLM2, &[Message::user("Hi")]).unwrap();
    assert_eq!(
        text,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
    let template = ChatTemplate::new(SMOLLM2, "", "").unwrap();
    assert!(template.supports_system());
    assert_eq!(
        template.render(&conversation()[..2], false).unwrap(),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n"
    );
}

#[test]
fn llama_3_trims_and_asks_for_the_date() {
    const LLAMA3: &str = r#"{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"#;
    let expected = "<bos><|start_header_id|>system<|end_header_id|>\n\nToday Date: DATE\n\nBe brief.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nWhy <b>\"?\"</b><|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n";
    assert_eq!(render(LLAMA3, &conversation()).unwrap(), expected.replace("DATE", "26 Jul 2024"));
    let template = ChatTemplate::new(LLAMA3, "<bos>", "").unwrap();
    let template = template.with_date(Date { year: 2026, month: 11, day: 2 });
    assert_eq!(template.render(&conversation(), true).unwrap(), expected.replace("DATE", "02 Nov 2026"));
}

const GEMMA: &str = r#"{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"#;

const GEMMA_TEXT: &str = "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n\
     <start_of_turn>user\nWhy <b>\"?\"</b><end_of_turn>\n<start_of_turn>model\n";

#[test]
fn gemma_puts_the_system_before_the_person() {
    let template = ChatTemplate::new(GEMMA, "<bos>", "").unwrap();
    assert!(template.supports_system());
    assert_eq!(template.render(&conversation(), true).unwrap(), GEMMA_TEXT);
}

#[test]
fn a_template_that_refuses_turns_says_so_in_its_own_words() {
    let error = render(GEMMA, &[Message::user("a"), Message::user("b")]).unwrap_err();
    assert_eq!(error.code(), "chat.refused");
    let ChatError::Refused { message } = error else { panic!("{error}") };
    assert_eq!(message, "Conversation roles must alternate user/assistant/user/assistant/...");
}

#[test]
fn a_system_message_that_is_refused_goes_to_the_person() {
    // Gemma 2's beginning, with the same turns.
    let refuses = GEMMA.replace(
        "{%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}",
        "{{ raise_exception('System role not supported') }}",
    );
    assert_ne!(refuses, GEMMA);
    let template = ChatTemplate::new(&refuses, "<bos>", "").unwrap();
    assert!(!template.supports_system());
    let folded = "<bos><start_of_turn>user\nBe brief.\n\n Hi <end_of_turn>\n";
    assert_eq!(template.render(&conversation()[..2], false).unwrap(), folded.replace(" Hi ", " Hi"));
    let alone = template.render(&[Message::system("Speak.")], true).unwrap();
    assert_eq!(alone, "<bos><start_of_turn>user\nSpeak.<end_of_turn>\n<start_of_turn>model\n");
}

#[test]
fn a_system_message_that_is_dropped_goes_to_the_person() {
    // Phi-3's first template.
    const PHI3: &str = "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}";
    assert_eq!(
        render(PHI3, &conversation()[..3]).unwrap(),
        "<bos><|user|>\nBe brief.\n\n Hi <|end|>\n<|assistant|>\nHello<|end|>\n"
    );
}

#[test]
fn a_later_system_message_that_is_refused_goes_to_the_person() {
    const FIRST_ONLY: &str = "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('late') }}{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}";
    let messages =
        [Message::system("a"), Message::user("b"), Message::assistant("c"), Message::system("d"), Message::user("e")];
    assert_eq!(render(FIRST_ONLY, &messages).unwrap(), "[system]a[user]b[assistant]c[user]d\n\ne");
}

#[test]
fn mistral_takes_turns_in_brackets() {
    const MISTRAL: &str = r#"{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
"#;
    assert_eq!(
        render(MISTRAL, &conversation()).unwrap(),
        "<bos>[INST]  Hi [/INST] Hello<eos>[INST] Be brief.\n\nWhy <b>\"?\"</b>[/INST]"
    );
}

#[test]
fn qwen_3_hides_what_was_thought() {
    // The parts of Qwen 3's template that a conversation without tools goes through.
    const QWEN3: &str = r"{%- if tools %}
    {{- tools | tojson }}
{%- else %}
    {%- if messages[0].role == 'system' %}
        {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == 'user' and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == 'user') or (message.role == 'system' and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set content = message.content %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in message.content %}
                {%- set content = message.content.split('</think>')[-1].lstrip('\n') %}
                {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<|im_start|>' + message.role + '\n<think>\n' + reasoning_content.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}";
    let thought = "<think>\nHm.\n</think>\n\nHello";
    let messages =
        [Message::user("Hi"), Message::assistant(thought), Message::user("So?"), Message::assistant(thought)];
    let template = ChatTemplate::new(QWEN3, "", "").unwrap();
    assert_eq!(
        template.render(&messages, false).unwrap(),
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n\
         <|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n<think>\nHm.\n</think>\n\nHello<|im_end|>\n"
    );
    assert!(template.render(&conversation(), true).unwrap().starts_with("<|im_start|>system\nBe brief.<|im_end|>\n"));
}

#[test]
fn every_known_form_renders_every_conversation() {
    for (known, expected) in [
        (
            KnownTemplate::ChatMl,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            KnownTemplate::Gemma,
            "<start_of_turn>user\nBe brief.\n\n Hi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            KnownTemplate::Llama3,
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            KnownTemplate::Phi3,
            "<|system|>\nBe brief.<|end|>\n<|user|>\n Hi <|end|>\n<|assistant|>\nHello<|end|>\n<|assistant|>\n",
        ),
        (KnownTemplate::Mistral, "[INST] Be brief.\n\n Hi [/INST] Hello<eos>"),
        (KnownTemplate::Plain, "Be brief.\n\nUser: Hi\nAssistant: Hello\nAssistant:"),
    ] {
        assert_eq!(render(known.source(), &conversation()[..3]).unwrap(), expected, "{known:?}");
    }
    assert_eq!(KnownTemplate::Plain.stop_texts(), ["\nUser:"]);
}

#[test]
fn what_hugging_face_adds_to_jinja_is_there() {
    for (source, expected) in [
        ("{% generation %}a{% endgeneration %}", "a"),
        ("b {%- generation -%} a {%- endgeneration %} c", "ba c"),
        ("{{ {'a': [1, 2.5, '<é>', none, true]} | tojson }}", r#"{"a": [1, 2.5, "<é>", null, true]}"#),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ {} | tojson(ensure_ascii=False) }}", "{}"),
        ("{{ tools is none or tools is not defined }}", "True"),
        ("{{ messages[0].content.strip().upper() }}", "HI"),
        ("{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}", "user"),
        ("  {% if true %}\n  x\n  {% endif %}\ny\n", "  x\ny"),
        ("{{ '<b>' }}", "<b>"),
    ] {
        assert_eq!(render(source, &[Message::user(" hi ")]).as_deref(), Ok(expected), "{source}");
    }
}

#[test]
fn faulty_templates_are_typed_errors() {
    let hi = [Message::user("hi")];
    for (source, code) in [
        ("{% for m in messages %}", "chat.syntax"),
        ("{{ ", "chat.syntax"),
        ("{% no_such_tag %}", "chat.syntax"),
        ("{% generation", "chat.syntax"),
        ("{{ messages[0].no_such.thing }}", "chat.failed"),
        ("{{ no_such_function() }}", "chat.failed"),
        ("{{ 1 / 0 }}", "chat.failed"),
        ("{{ raise_exception('no') }}", "chat.refused"),
        ("{% include 'chat' %}", "chat.failed"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "chat.failed"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
            "chat.too_many_steps",
        ),
    ] {
        let error = render(source, &hi).unwrap_err();
        assert_eq!(error.code(), code, "{source}: {error}");
    }
    assert_eq!(render(SMOLLM2, &[]), Err(ChatError::Empty));
}

#[test]
fn messages_travel_as_json() {
    let json = r#"[{"role":"system","content":"Be brief."},{"role":"assistant","content":"Ok"}]"#;
    let messages: Vec<Message> = serde_json::from_str(json).unwrap();
    assert_eq!(messages, [Message::system("Be brief."), Message::assistant("Ok")]);
    assert_eq!(serde_json::to_string(&messages).unwrap(), json);
    assert!(serde_json::from_str::<Message>(r#"{"role":"nobody","content":""}"#).is_err());
}
