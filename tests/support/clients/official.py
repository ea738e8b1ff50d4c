"""The official clients of Python, each case with every field of every answer checked (strict response validation).

official.py URL KEY SPENT_KEY HASTY_OPENAI_KEY HASTY_ANTHROPIC_KEY TOOL_MODEL: prints one JSON object, by case what came of it.
"""

import json
import sys
import time

import anthropic
import openai

URL, KEY, SPENT, HASTY_OPENAI, HASTY_ANTHROPIC, TOOL_MODEL = sys.argv[1:7]
MESSAGES = [{"role": "user", "content": "What is the weather in Paris?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SPEECH = ("speech.wav", b"\7" * 20_000)
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def openai_client(key=KEY, strict=True, **options):
    return openai.OpenAI(base_url=f"{URL}/v1", api_key=key, _strict_response_validation=strict, **options)


def anthropic_client(key=KEY, **options):
    return anthropic.Anthropic(base_url=URL, api_key=key, _strict_response_validation=True, **options)


def azure_client():
    return openai.AzureOpenAI(
        azure_endpoint=URL, api_key=KEY, api_version="2024-10-21", _strict_response_validation=True
    )


TOOL = {"name": "weather", "parameters": SCHEMA}


@case
def openai_chat():
    answer = openai_client().chat.completions.create(model="demo", messages=MESSAGES, max_tokens=4)
    return [answer.usage.completion_tokens, answer.choices[0].finish_reason, bool(answer._request_id)]


@case
def openai_stream():
    chunks = list(
        openai_client().chat.completions.create(
            model="demo", messages=MESSAGES, max_tokens=4, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return [text, chunks[-1].usage.completion_tokens]


@case
def openai_tools():
    client = openai_client()
    request = {"model": TOOL_MODEL, "tools": [{"type": "function", "function": TOOL}]}
    first = client.chat.completions.create(messages=MESSAGES, **request).choices[0].message
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"}
    messages = [*MESSAGES, first.model_dump(exclude_none=True), result]
    return [
        json.loads(first.tool_calls[0].function.arguments),
        client.chat.completions.create(messages=messages, **request).choices[0].message.content,
    ]


@case
def openai_tools_stream():
    tools = [{"type": "function", "function": TOOL}]
    with openai_client().chat.completions.stream(model=TOOL_MODEL, messages=MESSAGES, tools=tools) as stream:
        call = stream.get_final_completion().choices[0].message.tool_calls[0]
    return [call.function.name, json.loads(call.function.arguments)]


@case
def openai_responses_tools():
    client = openai_client()
    request = {"model": TOOL_MODEL, "tools": [{"type": "function", "strict": False, **TOOL}]}
    first = client.responses.create(input=MESSAGES, **request)
    result = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": "sunny"}
    called = [item.model_dump(exclude_none=True) for item in first.output]
    with client.responses.stream(input=MESSAGES, **request) as stream:
        streamed = stream.get_final_response().output[0]
    return [
        first.output[0].name,
        streamed.arguments == first.output[0].arguments,
        client.responses.create(input=[*MESSAGES, *called, result], **request).output_text,
    ]


@case
def openai_responses_stored():
    # The simulator leaves fields out of what it stores.
    client = openai_client(strict=False)
    first = client.responses.create(model="demo", input="hello", max_output_tokens=2)
    again = client.responses.retrieve(first.id)
    items = list(client.responses.input_items.list(first.id))
    more = client.responses.create(
        model="demo", input="more", previous_response_id=first.id, max_output_tokens=2
    )
    client.responses.delete(first.id)
    try:
        client.responses.retrieve(first.id)
    except openai.NotFoundError as error:
        return [again.id == first.id, len(items), bool(more.output_text), error.code]


@case
def openai_completions_and_embeddings():
    client = openai_client()
    text = client.completions.create(model="demo", prompt="hello", max_tokens=3).choices[0].text
    return [text, len(client.embeddings.create(model="demo", input=["a", "b"]).data)]


@case
def openai_models():
    client = openai_client()
    listed = [model.id for model in client.models.list()]
    return [listed, client.models.retrieve("org/name").id]


@case
def openai_audio_and_images():
    client = openai_client()
    heard = client.audio.transcriptions.create(model="demo", file=SPEECH)
    verbose = client.audio.transcriptions.create(model="demo", file=SPEECH, response_format="verbose_json")
    said = client.audio.speech.create(model="demo", input="hello", voice="alloy").read()
    made = client.images.generate(model="demo", prompt="a lane", n=2)
    return [heard.text, heard.usage.seconds, verbose.language, len(said), len(made.data)]


@case
def openai_errors():
    kinds = []
    for call in (
        lambda: openai_client("nobody").models.list(),
        lambda: openai_client().chat.completions.create(model="nothing", messages=MESSAGES),
        lambda: openai_client().chat.completions.create(model="demo", messages=MESSAGES, max_tokens=-1),
    ):
        try:
            call()
        except openai.APIStatusError as error:
            kinds.append([type(error).__name__, error.code])
    return kinds


@case
def azure():
    client = azure_client()
    answer = client.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=1)
    slashed = client.chat.completions.create(model="org/name", messages=MESSAGES, max_tokens=1)
    heard = client.audio.transcriptions.create(model="demo", file=SPEECH)
    vectors = client.embeddings.create(model="demo", input="a").data
    return [answer.model, slashed.model, heard.text, len(vectors), len(client.models.list().data)]


ANTHROPIC_TOOL = {"name": "weather", "input_schema": SCHEMA}


@case
def anthropic_messages():
    client = anthropic_client()
    answer = client.messages.create(model="demo", messages=MESSAGES, max_tokens=4)
    with client.messages.stream(model="demo", messages=MESSAGES, max_tokens=4) as stream:
        text = "".join(stream.text_stream)
        used = stream.get_final_message().usage.output_tokens
    return [answer.content[0].text, answer.stop_reason, text, used]


@case
def anthropic_tools():
    client = anthropic_client()
    request = {"model": TOOL_MODEL, "tools": [ANTHROPIC_TOOL], "max_tokens": 64}
    first = client.messages.create(messages=MESSAGES, **request)
    with client.messages.stream(messages=MESSAGES, **request) as stream:
        streamed = stream.get_final_message().content[0]
    result = {"type": "tool_result", "tool_use_id": first.content[0].id, "content": "sunny"}
    called = [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = client.messages.create(messages=[*MESSAGES, *called], **request)
    return [first.stop_reason, first.content[0].input, streamed.input, last.content[0].text]


@case
def anthropic_counts_and_models():
    client = anthropic_client()
    counted = client.messages.count_tokens(model="demo", messages=MESSAGES).input_tokens
    pages = [model.id for model in client.models.list(limit=1)]
    return [counted > 1, pages, client.models.retrieve("org/name").lifecycle]


@case
def anthropic_errors():
    kinds = []
    for call in (
        lambda: anthropic_client("nobody").messages.create(model="demo", messages=MESSAGES, max_tokens=1),
        lambda: anthropic_client().messages.create(model="nothing", messages=MESSAGES, max_tokens=1),
        lambda: anthropic_client("nobody").models.list(),
    ):
        try:
            call()
        except anthropic.APIStatusError as error:
            kinds.append([type(error).__name__, error.body["type"], error.body["error"]["type"], bool(error.request_id)])
    return kinds


def spent(call, kind):
    try:
        call()
    except kind as error:
        return error.response.headers.get("x-should-retry")


def hasty(call):
    call()
    begun = time.monotonic()
    call()
    return time.monotonic() - begun


def chat_with(key):
    return lambda: openai_client(key).chat.completions.create(model="demo", messages=MESSAGES, max_tokens=1)


def message_with(key):
    return lambda: anthropic_client(key).messages.create(model="demo", messages=MESSAGES, max_tokens=1)


@case
def openai_spent():
    return spent(chat_with(SPENT), openai.RateLimitError)


@case
def anthropic_spent():
    return spent(message_with(SPENT), anthropic.RateLimitError)


@case
def openai_waits():
    return hasty(chat_with(HASTY_OPENAI))


@case
def anthropic_waits():
    return hasty(message_with(HASTY_ANTHROPIC))


results = {}
for name, function in CASES.items():
    try:
        results[name] = function()
    except Exception as error:  # What it was is what the test shows.
        results[name] = f"{type(error).__name__}: {error} {error.__cause__ or ''}"[:1_000]
print(json.dumps(results))
