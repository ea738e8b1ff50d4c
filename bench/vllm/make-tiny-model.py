"""Writes the folder of a tiny Llama with a byte tokenizer: make-tiny-model.py DIR

There are no weights in it: vLLM makes random ones with `--load-format dummy`.
"""

import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

directory = sys.argv[1]

# A token is a byte, so a prompt has as many tokens as bytes.
words = ["<s>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
tokenizer = Tokenizer(
    models.BPE(vocab={word: id for id, word in enumerate(words)}, merges=[], unk_token="<unk>")
)
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()

fast = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
)
fast.chat_template = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
fast.save_pretrained(directory)

LlamaConfig(
    architectures=["LlamaForCausalLM"],
    vocab_size=len(words),
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=8192,
    bos_token_id=0,
    eos_token_id=1,
).save_pretrained(directory)
