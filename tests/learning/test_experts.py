import numpy as np
import pytest
import torch

from tdro.encoder import build_encoder
from tdro.errors import InputError
from tdro.learning.experts import Experts
from tdro.settings import EncoderSettings


@pytest.fixture
def folders(tiny_llm, tmp_path):
    """Two models of one shape with other numbers."""
    found = []
    for seed in (0, 1):
        model = build_encoder(EncoderSettings(name_or_path=str(tiny_llm), layers=1))
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            parameter.data.add_(torch.randn(parameter.shape, generator=generator) / 10)
        found.append(tmp_path / str(seed))
        model.save(str(found[-1]))
    return found


def parameters(model):
    return torch.cat([value.detach().flatten() for value in model.parameters()])


def test_an_average_is_one_of_parameters(folders):
    experts = Experts(folders)
    one, other = (parameters(experts.merged(np.eye(2)[place])).clone() for place in (0, 1))
    assert not torch.equal(one, other)
    merged = parameters(experts.merged(np.array([0.25, 0.75])))
    assert torch.allclose(merged, 0.25 * one + 0.75 * other, atol=1e-6)


def test_an_average_embeds_and_survives_saving(folders, tmp_path):
    from sentence_transformers import SentenceTransformer

    merged = Experts(folders).merged(np.array([0.5, 0.5]))
    merged.save(str(tmp_path / "merged"))
    again = SentenceTransformer(str(tmp_path / "merged"))
    texts = ["badle fesin", "goran"]
    assert np.allclose(merged.encode(texts), again.encode(texts), atol=1e-6)


def test_models_of_other_shapes_are_refused(folders, tiny_llm, tmp_path):
    build_encoder(EncoderSettings(name_or_path=str(tiny_llm), layers=2)).save(str(tmp_path / "two"))
    with pytest.raises(InputError, match="another shape"):
        Experts([folders[0], tmp_path / "two"])
