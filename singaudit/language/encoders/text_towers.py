"""Text towers of transformers inside open_clip's models, by the published name: known here, never fetched.

A configuration of open_clip names the repository that its text tower began as. What that repository would say of the
architecture is written down here for those in use; the weights are the model's own, each of which has to fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from singaudit.disk import PrivateFolder

_CONFIG = "open_clip_config.json"
_TOWER = "text_tower"
_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
}
_BERT = {
    **_BASE,
    "model_type": "bert",
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
_ROBERTA = {
    **_BASE, "model_type": "roberta", "vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1,
    "layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
}  # fmt: skip
_XLM = {**_ROBERTA, "model_type": "xlm-roberta", "vocab_size": 250002}
_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_CASED = {**_BERT, "vocab_size": 28996}
KNOWN_TEXT_TOWERS: dict[str, Mapping[str, Any]] = {
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract": _BERT,
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext": _BERT,
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract": _BERT,
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext": _BERT,
    "microsoft/BiomedNLP-BiomedBERT-large-uncased-abstract": {**_BERT, **_LARGE},
    "microsoft/BiomedNLP-PubMedBERT-large-uncased-abstract": {**_BERT, **_LARGE},
    "cambridgeltl/SapBERT-from-PubMedBERT-fulltext": _BERT,
    "ncbi/MedCPT-Query-Encoder": _BERT,
    "emilyalsentzer/Bio_ClinicalBERT": _CASED,
    "dmis-lab/biobert-v1.1": _CASED,
    "dmis-lab/biobert-base-cased-v1.1": _CASED,
    "dmis-lab/biobert-base-cased-v1.2": _CASED,
    "allenai/scibert_scivocab_uncased": {**_BERT, "vocab_size": 31090},
    "bert-base-uncased": _BERT,
    "google-bert/bert-base-uncased": _BERT,
    "bert-large-uncased": {**_BERT, **_LARGE},
    "google-bert/bert-large-uncased": {**_BERT, **_LARGE},
    "bert-base-cased": _CASED,
    "google-bert/bert-base-cased": _CASED,
    "bert-base-multilingual-cased": {**_BERT, "vocab_size": 119547},
    "google-bert/bert-base-multilingual-cased": {**_BERT, "vocab_size": 119547},
    "roberta-base": _ROBERTA,
    "FacebookAI/roberta-base": _ROBERTA,
    "roberta-large": {**_ROBERTA, **_LARGE},
    "FacebookAI/roberta-large": {**_ROBERTA, **_LARGE},
    "xlm-roberta-base": _XLM,
    "FacebookAI/xlm-roberta-base": _XLM,
    "xlm-roberta-large": {**_XLM, **_LARGE},
    "FacebookAI/xlm-roberta-large": {**_XLM, **_LARGE},
}
"""By repository: what its config.json says of the network, as published."""


def is_known(name: Any) -> bool:
    """Whether the architecture of a text tower is known by the name of its repository."""
    return isinstance(name, str) and name in KNOWN_TEXT_TOWERS


def with_text_tower(folder: Path, document: Mapping[str, Any]) -> PrivateFolder | None:
    """A private folder like ``folder``, in which the text tower's name is that of a configuration on this disk.

    ``document`` is the folder's open_clip_config.json. None where no tower is named, and ``folder`` itself serves.
    """
    named = document["model_cfg"]["text_cfg"].get("hf_model_name")
    if not named:
        return None
    home = PrivateFolder()
    for path in folder.iterdir():
        if path.suffix in (".json", ".txt", ".model") and path.name != _CONFIG:
            (home.path / path.name).symlink_to(path.resolve())
    (home.path / _TOWER).mkdir()
    (home.path / _TOWER / "config.json").write_text(json.dumps(KNOWN_TEXT_TOWERS[named]), encoding="utf-8")
    text = {**document["model_cfg"]["text_cfg"], "hf_model_name": str(home.path / _TOWER)}
    patched = {**document, "model_cfg": {**document["model_cfg"], "text_cfg": text}}
    (home.path / _CONFIG).write_text(json.dumps(patched), encoding="utf-8")
    return home
