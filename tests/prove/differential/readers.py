"""What Python's JSON readers make of bodies, and what they find in them.

Frames on stdin: the length of a JSON header and the header, the length of a body and the body, the length of the edited body and that
(lengths: 4 bytes, little-endian; no edited body: 0). The first frame's header is the policy. Answers on stdout: a length and JSON.

The part behind "what a request is" is written for this comparison, on values as json.loads gives them. It knows nothing of bytes.
"""

import json
import re
import struct
import sys


def tokens(value):
    out = []
    put(value, out)
    return " ".join(out)


def put(value, out):
    if value is None:
        out.append("n")
    elif value is True:
        out.append("t")
    elif value is False:
        out.append("f")
    elif isinstance(value, str):
        out.append("s" + value.encode("utf-8", "surrogatepass").hex())
    elif isinstance(value, int):
        out.append("i" + str(value))
    elif isinstance(value, float):
        out.append("d" + struct.pack(">d", value).hex())
    elif isinstance(value, list):
        out.append("[")
        for item in value:
            put(item, out)
        out.append("]")
    else:
        out.append("{")
        for key, item in value.items():
            out.append("k" + key.encode("utf-8", "surrogatepass").hex())
            put(item, out)
        out.append("}")


class Count:
    """Bodies that orjson had no room for at first."""

    no_room = 0


def orjson_loads(orjson, body):
    """orjson gives its parser memory by the length of the text, too little for some dense ones: it refuses them unread. With spaces
    behind it the same text has room."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not str(error).startswith("failed to allocate memory"):
            raise
        Count.no_room += 1
        return orjson.loads(body + b" " * (4 * len(body)))


READERS = {"json": json.loads}
VERSIONS = {"python": sys.version.split()[0]}
if "--all" in sys.argv:
    import orjson
    import pydantic_core

    READERS["pydantic"] = pydantic_core.from_json
    READERS["orjson"] = lambda body: orjson_loads(orjson, body)
    VERSIONS["pydantic-core"] = pydantic_core.__version__
    VERSIONS["orjson"] = orjson.__version__


def read(body):
    """By reader: its tokens, or "!" and its error."""
    found = {}
    for name, reader in READERS.items():
        try:
            found[name] = tokens(reader(body))
        except Exception as error:
            found[name] = "!" + str(error)
    return found


# --- what a request is

PROMPT = {
    "chat.completions": ["messages"],
    "completions": ["prompt", "suffix"],
    "embeddings": ["input", "messages", "content"],
    "responses": ["input", "instructions"],
    "messages": ["messages", "system"],
}
CAPS = {
    "chat.completions": ["max_completion_tokens", "max_tokens"],
    "completions": ["max_tokens"],
    "embeddings": [],
    "responses": ["max_output_tokens"],
    "messages": ["max_tokens"],
}
EVERY_CAP = ["max_completion_tokens", "max_tokens", "max_output_tokens"]
ENFORCED_CAP = {
    "chat.completions": "max_tokens",
    "completions": "max_tokens",
    "responses": "max_output_tokens",
    "messages": "max_tokens",
}
USAGE_OPTION = ["chat.completions", "completions"]
RENDERED = (
    "tools functions tool_choice documents chat_template_kwargs response_format json_schema text output_config "
    "reasoning reasoning_effort reasoning_budget_message thinking guideline tool_prompt"
).split()
STATE = ["conversation", "previous_response_id", "container"]
ACTING = ["mcp_servers", "web_search_options", "plugins"]

MEDIA = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "video_url": "video",
    "input_video": "video",
    "video": "video",
    "audio_url": "audio",
    "input_audio": "audio",
    "audio": "audio",
    "file": "file",
    "file_url": "file",
    "file_data": "file",
    "source": "file",
}
TENSORS = ["image_pil", "image_embeds", "audio_embeds", "video_embeds", "prompt_embeds"]
WORDS = "type index status cache_control detail media_type format phase is_error logprobs".split()
CONTENT = ["content", "output", "summary", "thinking"]
PLACES = ["url", "path"]
LINKS = ["url", "path", "image_url", "video_url", "audio_url", "file_url", "image", "video", "audio", "file"]
BLOBS = ["data", "file_data", "b64_json"]


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def size(text):
    return len(text.encode())


def matches(name, patterns):
    return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in patterns)


def word_of(value):
    return value if isinstance(value, str) and size(value) <= 32 else ""


def without(value, patterns, path, dropped):
    """A copy without what is forbidden, each pattern a list of names; what was left out is added to `dropped`."""
    if isinstance(value, list):
        return [without(item, patterns, path, dropped) for item in value]
    if not isinstance(value, dict):
        return value
    here = [one[0] for one in patterns if len(one) == 1]
    kept = {}
    for key, item in value.items():
        # Readers that do not tell cases apart take `Chat_Template` for the name.
        other = size(key) <= 128 and re.fullmatch("[a-z0-9_]*", key) is None and matches(key.upper().lower(), here)
        if matches(key, here) or other:
            dropped.append((path + key).encode("utf-16-le")[:256].decode("utf-16-le", "surrogatepass"))
        else:
            within = [one[1:] for one in patterns if len(one) > 1 and one[0] == key]
            kept[key] = without(item, within, path + key + ".", dropped) if within else item
    return kept


class Prompt:
    """How much prompt there is, and what must not be there."""

    def __init__(self, policy):
        self.policy = policy
        self.bytes = 0
        self.has_media = False
        self.wrong = []

    def text(self, value):
        if isinstance(value, str):
            self.bytes += size(value)
        elif is_number(value):
            self.bytes += 4

    def json(self, value):
        if isinstance(value, str):
            self.bytes += size(value)
        elif isinstance(value, list):
            for item in value:
                self.json(item)
        elif isinstance(value, dict):
            for key, item in value.items():
                self.bytes += size(key)
                self.json(item)
        else:
            self.bytes += 4

    def content(self, value, path):
        if isinstance(value, list):
            for item in value:
                self.content(item, path)
        elif isinstance(value, dict):
            self.part(value, path, False)
        else:
            self.text(value)

    def messages(self, value):
        if not isinstance(value, list):
            self.content(value, "messages")
            return
        for item in value:
            self.part(item, "messages", True) if isinstance(item, dict) else self.content(item, "messages")

    def part(self, part, path, is_message):
        kind = word_of(part.get("type"))
        if kind == "item_reference":
            self.wrong.append("item_reference")
        if kind.startswith("mcp_"):
            self.wrong.append("mcp item")
        if path == "input" and isinstance(part.get("id"), str) and part.get("type") is None and part.get("role") is None:
            self.wrong.append("item_reference")
        self.wrong += tools_wrong(part.get("tools"), self.policy)
        medium = re.match(r"(?:input_)?(image|audio|video|file)", kind)
        is_file = kind == "" or medium is not None or kind in ("document", "container_upload")
        for key, value in part.items():
            if key not in self.policy["names"]:
                self.bytes += size(key)
                self.json(value)
            elif key in PLACES and isinstance(value, str) and medium is not None and not is_message:
                self.medium(key, value, medium.group(1))
            elif key in MEDIA and (is_message or (key == "source" and isinstance(value, str))):
                self.json(value)
            elif key in MEDIA:
                if value is not None:
                    self.medium(key, value, "image" if key == "source" and kind == "image" else MEDIA[key])
            elif key in TENSORS:
                self.tensor(value)
            elif key in WORDS:
                self.word(value)
            elif key == "output" and isinstance(value, dict) and "type" not in value:
                self.json(value)
            elif key in CONTENT:
                self.content(value, path)
            elif key == "file_id" and is_file:
                self.file_id(value)
            else:
                self.json(value)

    def word(self, value):
        if not isinstance(value, str):
            self.json(value)
        elif size(value) > 32:
            self.bytes += size(value)

    def medium(self, key, value, kind):
        if isinstance(value, list):
            for item in value:
                self.medium(key, item, kind)
            return
        if isinstance(value, str):
            encoded, is_text = size(value), value.startswith("data:text/")
            self.blob(value) if key in BLOBS else self.link(value)
        elif isinstance(value, dict):
            encoded, is_text = self.members(value, key == "source")
            if encoded is None:
                return
        else:
            self.json(value)
            return
        self.has_media = True
        flat = 4 * self.policy["tokens"][kind]
        least = -(-3 * encoded // 4) if is_text else -(-encoded // 100)
        self.bytes += flat if kind == "image" else max(flat, least)

    def members(self, medium, is_source):
        says_text = is_source and medium.get("type") in ("text", "content")
        is_text = word_of(medium.get("media_type")).startswith("text/")
        encoded = 0
        for key, value in medium.items():
            if key not in self.policy["names"]:
                self.bytes += size(key)
            if isinstance(value, str) and (key in LINKS or (key in BLOBS and not says_text)):
                encoded += size(value)
                is_text = is_text or value.startswith("data:text/")
                self.link(value) if key in LINKS else self.blob(value)
            elif key == "file_id":
                self.file_id(value)
            elif key in TENSORS:
                self.tensor(value)
            elif key in CONTENT:
                self.content(value, "")
            elif key in WORDS:
                self.word(value)
            else:
                self.json(value)
        return (None, False) if says_text and encoded == 0 else (encoded, is_text)

    def link(self, value):
        if not value.startswith("data:"):
            self.wrong.append("link " + value[:40])

    def blob(self, value):
        head = value if size(value) <= 4096 else value[:64]
        is_path = head.startswith("/") and not head.startswith("/9j/")
        if is_path or re.fullmatch(r"[A-Za-z0-9_+/=-]*", head) is None:
            self.link(value)

    def tensor(self, value):
        if value is not None:
            self.wrong.append("tensor")

    def file_id(self, value):
        if value is not None:
            self.wrong.append("file_id")


def tools_wrong(tools, policy):
    for tool in tools if isinstance(tools, list) else []:
        if isinstance(tool, dict):
            yield from tools_wrong(tool.get("tools"), policy)
            kind = tool.get("type")
            if kind is not None and not (isinstance(kind, str) and matches(kind, policy["tools"])):
                yield "tool " + str(kind)[:40]


def understand(route, body, policy):
    dropped = []
    kept = without(body, policy["forbidden"], "", dropped)
    # Nothing of what is left out is read.
    body = kept
    prompt = Prompt(policy)
    for name in PROMPT[route]:
        if name in body:
            prompt.messages(body[name]) if name == "messages" else prompt.content(body[name], name)
    for name in RENDERED:
        if name in body:
            prompt.json(body[name])
    wrong = prompt.wrong + list(tools_wrong(body.get("tools"), policy))
    wrong += [name for name in STATE + ACTING if body.get(name) is not None]
    choices = max(1 if body.get(name) is None else body[name] for name in ("n", "best_of"))
    prompts = body.get("prompt")
    listed = route == "completions" and isinstance(prompts, list) and not is_number(prompts[0])
    # Scoring a given text: completions with `echo` generate nothing.
    least = 0 if route == "completions" and body.get("echo") is True else 1
    caps = [body[name] for name in CAPS[route] if is_number(body.get(name)) and body[name] >= least]
    below_one = [int(body[name]) for name in EVERY_CAP if is_number(body.get(name)) and body[name] < 1]
    embeds = route == "embeddings"
    usage = (body.get("stream_options") or {}).get("include_usage") is True
    understood = {
        "model": body["model"],
        "stream": body.get("stream") is True and not embeds,
        "promptBytes": prompt.bytes,
        "hasMedia": prompt.has_media,
        "maxOutputTokens": 0 if embeds else next(iter(caps), None),
        "belowOne": below_one if below_one and not (embeds or caps) else None,
        "outputs": 1 if embeds else choices * (len(prompts) if listed else 1),
        "wantsUsage": usage if route in USAGE_OPTION else True,
        "dropped": dropped,
        "wrong": wrong,
    }
    return understood, kept


def edited(route, kept, understood, changes):
    """The request as the engine should get it."""
    body = dict(kept)
    added = {}
    if "priority" in changes:
        body.pop("priority", None)

    def put_field(name, value):
        (body if name in body else added)[name] = value

    if "model" in changes:
        put_field("model", changes["model"])
    ours = changes.get("maxOutputTokens")
    theirs = understood["maxOutputTokens"]
    if route in ENFORCED_CAP and not (ours is None and theirs is None):
        cap = min(one for one in (ours, theirs) if one is not None)
        for name in EVERY_CAP:
            value = body.get(name)
            enforced = name == ENFORCED_CAP[route] and ours is not None
            if (enforced or is_number(value)) and value != cap:
                put_field(name, cap)
    if changes["includeUsage"] and understood["stream"] and not understood["wantsUsage"]:
        options = body.get("stream_options")
        if not isinstance(options, dict):
            put_field("stream_options", {"include_usage": True})
        elif "include_usage" in options:
            body["stream_options"] = {**options, "include_usage": True}
        else:
            body["stream_options"] = {"include_usage": True, **options}
    if "cacheSalt" in changes:
        put_field("cache_salt", changes["cacheSalt"])
    first = {"priority": changes["priority"]} if "priority" in changes else {}
    return {**first, **added, **body}


def answer(header, body, spliced, policy):
    before = Count.no_room
    found = {"body": read(body)}
    found["noRoom"] = Count.no_room > before
    route = header.get("route")
    if route is not None and found["body"]["json"][0] != "!":
        try:
            understood, kept = understand(route, json.loads(body), policy)
            found["understood"] = understood
            if spliced:
                found["spliced"] = read(spliced)
                found["edited"] = tokens(edited(route, kept, understood, header["changes"]))
        except Exception as error:
            found["understood"] = "!" + repr(error)
    return found


def frame():
    length = sys.stdin.buffer.read(4)
    return None if len(length) < 4 else sys.stdin.buffer.read(struct.unpack("<I", length)[0])


def send(value):
    data = json.dumps(value).encode()
    sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)
    sys.stdout.buffer.flush()


def main():
    policy = json.loads(frame())
    policy["names"] = set(policy["names"])
    policy["forbidden"] = [path.split(".") for path in policy["forbidden"]]
    send(VERSIONS)
    while (header := frame()) is not None:
        send(answer(json.loads(header), frame(), frame(), policy))


main()
